"""Command `export` (`tools/export.py`): export a model to OpenVINO, ONNX or torch.export."""

import argparse

from ..deploy.export import check_export, export_model
from ..deploy.precisions import PRECISIONS
from ..deploy.runtimes import BACKENDS
from ..inference.loading import load_model


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/export.py`."""
    parser = argparse.ArgumentParser(
        description='Export a model, with normalization and decoding, to a directory that '
        'can be used without PyTorch. The exported model is compared with PyTorch.'
    )
    parser.add_argument('model', metavar='NAME|CONFIG', help='model name, or a config file')
    parser.add_argument(
        '--weights', metavar='FILE', help='checkpoint (default: released weights of the name)'
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='directory to create')
    parser.add_argument(
        '--backend', choices=tuple(BACKENDS), default='openvino', help='default: openvino'
    )
    parser.add_argument(
        '--precision',
        choices=tuple(PRECISIONS),
        default='fp32',
        help='default: fp32; OpenVINO also has bf16 (fast on CPUs with bfloat16 instructions) and '
        'fp16 (files of half the size)',
    )
    flip = parser.add_mutually_exclusive_group()
    flip.add_argument(
        '--flip-test',
        action='store_true',
        default=None,
        help='average with the predictions for the mirrored crops or images (default: as in the '
        'config)',
    )
    flip.add_argument('--no-flip-test', action='store_false', dest='flip_test')
    parser.add_argument(
        '--image-size',
        type=_read_size,
        metavar='WxH',
        help='fixed width and height of the images, for a bottom-up model (default: any, as in the '
        'config)',
    )
    return parser.parse_args(argv)


def _read_size(text: str) -> tuple[int, int]:
    width, separator, height = text.partition('x')
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r}: expected WxH, such as 1024x768')
    return int(width), int(height)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/export.py`."""
    args = parse_args(argv)
    check_export(args.out, args.backend, args.precision, args.image_size)
    model = load_model(args.model, args.weights)
    exported, difference = export_model(
        model, args.out, args.backend, args.precision, args.flip_test, image_size=args.image_size
    )
    print(f'{exported.folder}: {args.backend}, {args.precision}, compared with PyTorch:')
    print(f'  {difference}')
