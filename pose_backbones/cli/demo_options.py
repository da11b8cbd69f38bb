"""Command-line options of `pose-backbones demo`."""

import argparse
import ipaddress

from ..errors import ConfigError
from ..utils.option_values import DETECTORS, TORCHVISION
from .options import check_counts

#: model that is selected at first
DEFAULT_MODEL = 'moganet-s_coco-256x192'
#: default of --detector
DEFAULT_DETECTOR = 'rtmdet-m'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `pose-backbones demo`.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Returns:
        The options.

    Raises:
        ConfigError: If an option is invalid.
    """
    parser = argparse.ArgumentParser(
        description='Open a local web page that estimates the poses in an image or a short clip. '
        "Requires Gradio: pip install 'pose_backbones[demo]'. Only this machine can open the page, "
        'unless --host is set. Ctrl-C ends it and removes the uploaded files.'
    )
    parser.add_argument(
        '--model',
        metavar='NAME|CONFIG',
        help='model that is selected at first, and loaded before the page is served (default: '
        f'{DEFAULT_MODEL}, loaded on first use)',
    )
    parser.add_argument(
        '--weights', metavar='FILE|URL', help='checkpoint of --model (default: released weights)'
    )
    parser.add_argument(
        '--detector',
        default=DEFAULT_DETECTOR,
        metavar='NAME|CONFIG',
        help=f'person detector: {", ".join(DETECTORS)}; {TORCHVISION}NAME; or an MMDetection '
        f'config (default: {DEFAULT_DETECTOR})',
    )
    parser.add_argument('--detector-weights', metavar='FILE|URL', help='checkpoint of the detector')
    parser.add_argument(
        '--device', help='device, such as cpu or cuda:1 (default: a GPU if available)'
    )
    parser.add_argument(
        '--max-frames',
        type=int,
        default=900,
        metavar='N',
        help='longest clip that is accepted (default: 900 frames)',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        metavar='IP',
        help='IP address on which the page is served (default: 127.0.0.1, only for this machine). '
        'With another one, anyone who can reach this machine can use the page',
    )
    parser.add_argument('--port', type=int, default=7860, help='port (default: 7860)')
    args = parser.parse_args(argv)
    check_counts(args, 'max_frames')
    if not 1 <= args.port <= 65535:
        raise ConfigError(f'--port {args.port}: expected 1 to 65535')
    try:
        ipaddress.ip_address(args.host)
    except ValueError as error:
        raise ConfigError(
            f'--host {args.host}: expected an IP address, such as 127.0.0.1'
        ) from error
    if args.weights and not args.model:
        raise ConfigError('--weights requires --model')
    return args
