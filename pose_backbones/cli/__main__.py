"""The `pose-backbones` command, also `python -m pose_backbones.cli`."""

import argparse
import sys
from importlib import import_module

from ..version import __version__
from .entry_point import run

#: name of a command → (module in `pose_backbones.cli`, description)
COMMANDS = {
    'train': ('train', 'train a model'),
    'test': ('test', 'evaluate a checkpoint'),
    'infer': ('infer', 'predict poses in images and videos'),
    'demo': ('demo', 'open a local web page that estimates poses'),
    'models': ('models', 'list the models that can be used by name'),
    'check': ('check', 'check annotations, detections or results'),
    'report': ('report', 'write an HTML report about a test run'),
    'convert': ('convert', 'convert a checkpoint of another project'),
    'export': ('export', 'export a model to OpenVINO, ONNX or torch.export'),
    'weights': ('weights', 'download, list and verify released weights'),
    'flops': ('flops', 'count the parameters and FLOPs of a model'),
    'memory': ('memory', 'measure memory and time of activation checkpointing'),
    'plot': ('plot_training', 'plot the curves of a training run'),
    'draw': ('draw_results', 'draw predictions and ground truth side by side'),
    'convert-dataset': (
        'convert_dataset',
        'convert an export of YOLO, Label Studio, CVAT, DeepLabCut or SLEAP to COCO',
    ),
    'dataset-info': ('make_dataset_info', 'write a dataset metainfo file'),
    'synthesize': ('make_synthetic_coco', 'generate a synthetic dataset'),
    'doctor': ('doctor', 'find out what is wrong with an installation'),
}
#: commands whose options are in a module of their own: `--help`, and errors in the options, do not
#: wait for the import of PyTorch
PARSED_FIRST = ('train', 'test', 'infer', 'demo', 'convert', 'flops', 'memory')


def main(argv: list[str] | None = None) -> None:
    """Run a command in this process and exit with its status.

    Args:
        argv: The name of the command and its arguments. Default: `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(
        prog='pose-backbones',
        description='Pose estimation models for MMPose.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='commands:\n'
        + '\n'.join(f'  {name:17}{text}' for name, (_, text) in COMMANDS.items())
        + '\n\npose-backbones COMMAND --help shows the arguments of a command',
    )
    parser.add_argument('--version', action='version', version=__version__)
    parser.add_argument('command', nargs='?', choices=COMMANDS, metavar='COMMAND')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, metavar='...')
    args = parser.parse_args(argv)
    if args.command is None:
        parser.error(f'expected a COMMAND: {", ".join(COMMANDS)}')
    sys.argv = [f'{parser.prog} {args.command}', *args.arguments]

    def command(arguments: list[str] | None) -> object:
        name = f'.{COMMANDS[args.command][0]}'
        if args.command in PARSED_FIRST:
            import_module(f'{name}_options', __package__).parse_args(arguments)
        return import_module(name, __package__).main(arguments)

    run(command)


if __name__ == '__main__':
    main()
