"""What `demo/inferencer_demo.py` runs: MMPose's own demo, with a check."""

import argparse
import os
import runpy
from pathlib import Path

from ..errors import WorkDirError
from ..utils.files import check_writable_dir, is_url


def main(argv: list[str] | None = None) -> None:
    """Entry point of `demo/inferencer_demo.py`.

    Args:
        argv: The arguments; None stands for those of the command line, which
            are what MMPose's demo reads.

    Raises:
        WorkDirError: If a file would be overwritten.
    """
    import mmpose

    check_outputs(argv)
    demo = Path(mmpose.__file__).parent / '.mim/demo/inferencer_demo.py'
    runpy.run_path(str(demo), run_name='__main__')


def check_outputs(argv: list[str] | None) -> None:
    """Refuse folders in which MMPose's demo would overwrite files.

    It draws each input under the input's own name, and replaces what is
    there: with `--vis-out-dir` the folder of the images, those themselves.

    Args:
        argv: Of the demo.

    Raises:
        WorkDirError: With the first file, or if a folder cannot be written.
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
        if suffix is None and os.path.splitext(folder)[1]:  # of one file
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
                    f'{option} {folder}: {path} is there already and would '
                    'be overwritten: choose another folder, or remove it'
                )
