"""Command-line options of `tools/convert_checkpoint.py`."""

import argparse

ENDINGS = ('.pth', '.safetensors')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/convert_checkpoint.py`."""
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of another release (MMPose 0.x, ImageNet, mmpretrain, '
        'timm) to current names, and verify it by loading it strictly. Training and testing also '
        'load such files without conversion. Of a distillation (DWPose), the student is written.'
    )
    parser.add_argument('source', metavar='SRC', help='file or URL')
    parser.add_argument('destination', metavar='DST', help=f'file to write, {" or ".join(ENDINGS)}')
    parser.add_argument(
        '--config',
        help='verify with the model of this config (default: with the architecture of the weights)',
    )
    parser.add_argument(
        '--key',
        metavar='ENTRY',
        help='read the weights from this entry of the file, such as state_dict_ema',
    )
    parser.add_argument(
        '--dataset',
        metavar='NAME',
        help='dataset of a ViTPose+ checkpoint whose expert and head to convert: coco, aic, mpii, '
        'ap10k, apt36k or wholebody; needs --config',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing DST')
    return parser.parse_args(argv)
