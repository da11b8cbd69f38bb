"""Command `export` (`tools/export.py`): export a model to OpenVINO, ONNX or torch.export."""

import argparse

from ..deploy.precisions import PRECISIONS
from ..deploy.runtimes import BACKENDS
from ..errors import ConfigError


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
        help='default: fp32; OpenVINO also has bf16 (fast on CPUs with bfloat16 instructions), '
        'fp16 (files of half the size) and int8 (quantized with NNCF)',
    )
    parser.add_argument(
        '--calibration',
        metavar='DIR',
        help='for int8: directory or pattern of images like those of the application (default: '
        'synthetic people)',
    )
    parser.add_argument(
        '--calibration-boxes',
        metavar='FILE.json',
        help='for --calibration: COCO file with the bounding boxes of people (default: the whole '
        'image is the box of one person)',
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
    for option, value, required, is_given in (
        ('--calibration', args.calibration, '--precision int8', args.precision == 'int8'),
        ('--calibration-boxes', args.calibration_boxes, '--calibration', args.calibration),
    ):
        if value and not is_given:
            raise ConfigError(f'{option} requires {required}')
    from ..deploy.export import check_export, export_model  # after the options: imports PyTorch
    from ..inference.calibration import calibration_crops
    from ..inference.loading import load_model

    check_export(args.out, args.backend, args.precision, args.image_size)
    model = load_model(args.model, args.weights)
    crops = None
    if args.calibration:
        crops = calibration_crops(model, args.calibration, args.calibration_boxes)
    exported, difference = export_model(
        model,
        args.out,
        args.backend,
        args.precision,
        args.flip_test,
        calibration=crops,
        image_size=args.image_size,
    )
    original = 'fp32' if args.precision == 'int8' else 'PyTorch'
    print(f'{exported.folder}: {args.backend}, {args.precision}, compared with {original}:')
    print(f'  {difference}')
