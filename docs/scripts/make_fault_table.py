"""Generate docs/annotation_faults.md: what the checker says about files with one fault each."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pose_backbones.errors import DatasetError
from pose_backbones.structures.coco import CocoFile
from pose_backbones.structures.coco_checker import (
    check_annotations,
    check_detections,
    check_results,
)
from tests.helpers import damaged_coco

PAGE = Path(__file__).parents[1] / 'annotation_faults.md'
#: kind of file → function that checks it together with valid annotations
CHECKS = {
    'annotations': lambda file, truth: check_annotations(file),
    'detections': check_detections,
    'results': check_results,
}
HEAD = """# Faults in COCO files

The findings of `pose-backbones check` (see [Your own keypoints](your_own_data.md#check-the-files))
for {count} files with one fault each, which are generated from valid annotations, detections and
keypoint results. The exit status is 2 if a file cannot be read, and 1 if it has an error or a
warning. An error stops training, testing, the report and `make_dataset_info.py` with this line;
they print warnings and continue.

This page was written by `PYTHONPATH=. python docs/scripts/make_fault_table.py`.
"""


def messages(kind: str, content: object) -> tuple[int, list[str]]:
    """Check a file in the current directory.

    Args:
        kind: `annotations`, `detections` or `results`.
        content: Content of the file: text, or what is converted to JSON.

    Returns:
        The exit status of `pose-backbones check`, and the messages.
    """
    path = Path(f'{kind}.json')
    path.write_text(content if isinstance(content, str) else damaged_coco.dumps(content))
    try:
        found = CHECKS[kind](CocoFile(path, kind), CocoFile('truth.json'))
    except DatasetError as error:
        return 2, [f'error: {error}']
    return int(bool(found)), [
        f'{"error" if finding.is_error else "warning"}: {finding}' for finding in found
    ]


def rows() -> Iterator[tuple[str, str, int, str]]:
    """Yield the kind of each file, its fault, the exit status, and the messages."""
    start = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path('truth.json').write_text(damaged_coco.dumps(damaged_coco.annotations()))
            for kind in CHECKS:
                for name, content in getattr(damaged_coco, f'damaged_{kind}')():
                    status, lines = messages(kind, content)
                    yield kind, name, status, ' '.join(lines)
        finally:
            os.chdir(start)


def _cell(text: str) -> str:
    """Return text as code of a table."""
    return f'`` {text} ``'.replace('|', r'\|') if text.strip() else ''


def page() -> str:
    """Return the text of the page."""
    entries = list(rows())
    lines = [HEAD.format(count=len(entries))]
    for kind in CHECKS:
        lines += [f'## {kind.capitalize()}', '', '| fault | status | message |', '| --- ' * 3 + '|']
        lines += [
            f'| {_cell(name)} | {status} | {_cell(text)} |'
            for entry_kind, name, status, text in entries
            if entry_kind == kind
        ]
        lines.append('')
    return '\n'.join(lines).rstrip('\n') + '\n'


if __name__ == '__main__':
    PAGE.write_text(page())
