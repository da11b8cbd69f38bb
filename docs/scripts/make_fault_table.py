"""Generate docs/annotation_faults.md: what the checker says about files with one fault each."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from pose_backbones.cli import check
from pose_backbones.cli.entry_point import USER_ERROR
from pose_backbones.errors import PoseBackbonesError
from tests.helpers import damaged_coco

PAGE = Path(__file__).parents[1] / 'annotation_faults.md'
#: kind of file → further arguments of the command
KINDS = {
    'annotations': [],
    'detections': ['--annotations', 'truth.json'],
    'results': ['--annotations', 'truth.json'],
}
HEAD = """# Faults in COCO files

The output of `pose-backbones check` for {count} files with one fault each, which are generated from
valid annotations, detections and keypoint results. The exit status is 1 if a file has an error or a
warning, and 2 if it cannot be read: it is not JSON, or has no list of images, annotations or
categories, or malformed names or limbs of the keypoints. [Your own
keypoints](your_own_data.md#check-the-files) states which tools stop at an error.

This page was written by `PYTHONPATH=. python docs/scripts/make_fault_table.py`.
"""


def run(kind: str, content: object) -> tuple[int, list[str]]:
    """Run `pose-backbones check` for a file in the current directory.

    Args:
        kind: `annotations`, `detections` or `results`.
        content: Content of the file: text, or what is converted to JSON.

    Returns:
        The exit status, and the lines of the output after the first, which has the numbers.
    """
    path = Path(f'{kind}.json')
    path.write_text(content if isinstance(content, str) else damaged_coco.dumps(content))
    with redirect_stdout(StringIO()) as output:
        try:
            status = check.main([str(path), *KINDS[kind]])
        except PoseBackbonesError as error:  # the command prints it
            return USER_ERROR, [f'error: {error}']
    return status, [line.strip() for line in output.getvalue().splitlines()[1:]]


def rows() -> Iterator[tuple[str, str, int, list[str]]]:
    """Yield the kind of each file, its fault, the exit status, and the output."""
    start = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path('truth.json').write_text(damaged_coco.dumps(damaged_coco.annotations()))
            for kind in KINDS:
                for name, content in getattr(damaged_coco, f'damaged_{kind}')():
                    yield kind, name, *run(kind, content)
        finally:
            os.chdir(start)


def _cell(text: str) -> str:
    """Return text as code of a table."""
    return f'`` {text} ``'.replace('|', r'\|') if text.strip() else ''


def page() -> str:
    """Return the text of the page."""
    entries = list(rows())
    lines = [HEAD.format(count=len(entries))]
    for kind in KINDS:
        lines += [f'## {kind.capitalize()}', '', '| fault | status | output |', '| --- ' * 3 + '|']
        lines += [
            f'| {_cell(name)} | {status} | {"<br>".join(map(_cell, output))} |'
            for entry_kind, name, status, output in entries
            if entry_kind == kind
        ]
        lines.append('')
    return '\n'.join(lines).rstrip('\n') + '\n'


if __name__ == '__main__':
    PAGE.write_text(page())
