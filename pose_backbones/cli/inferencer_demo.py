"""Command line of `demo/inferencer_demo.py`: MMPose's demo, which overwrites no files."""

import argparse
import os
import runpy
from pathlib import Path

from ..errors import WorkDirError
from ..utils.files import check_writable_dir, is_url


def main(argv: list[str] | None = None) -> None:
    """Check the output directories, then run MMPose's demo.

    Args:
        argv: Arguments to check. Default: `sys.argv[1:]`, which MMPose's demo parses in any case.

    Raises:
        WorkDirError: If a file would be overwritten.
    """
    import mmpose

    check_outputs(argv)
    demo = Path(mmpose.__file__).parent / '.mim/demo/inferencer_demo.py'
    runpy.run_path(str(demo), run_name='__main__')


def check_outputs(argv: list[str] | None) -> None:
    """Check that MMPose's demo overwrites no files in its output directories.

    The demo saves each drawn image under the name of the input, and replaces existing files. If
    `--vis-out-dir` is the directory of the inputs, it would replace the inputs.

    Args:
        argv: Arguments of the demo. Default: `sys.argv[1:]`.

    Raises:
        WorkDirError: If a file would be overwritten, or a directory is not writable.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('inputs', nargs='?', default='')
    parser.add_argument('--vis-out-dir', default='')
    parser.add_argument('--pred-out-dir', default='')
    args = parser.parse_known_args(argv)[0]
    names = [os.path.basename(args.inputs)]
    if os.path.isdir(args.inputs):
        names = os.listdir(args.inputs)
    for option, folder, suffix in (
        ('--vis-out-dir', args.vis_out_dir, None),
        ('--pred-out-dir', args.pred_out_dir, '.json'),
    ):
        if not folder or is_url(folder):
            continue
        if suffix is None and os.path.splitext(folder)[1]:  # the path of a file
            folder, name = os.path.split(folder)
            outputs = [Path(folder, name)]
        else:
            outputs = [
                Path(folder, name if suffix is None else os.path.splitext(name)[0] + suffix)
                for name in names
                if name
            ]
        check_writable_dir(Path(folder), option)
        for path in outputs:
            if os.path.lexists(path):
                raise WorkDirError(
                    f'{option} {folder}: {path} already exists and would be overwritten: '
                    'choose another directory, or remove the file'
                )
