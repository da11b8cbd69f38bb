"""Generate docs/mmpose_models.md: the models of MMPose that the tests run, and those that raise."""

from collections.abc import Sequence
from pathlib import Path

from measure_mmpose_exports import read_exports

from tests.helpers.mmpose_models import REFUSED, ROWS

PAGE = Path(__file__).parents[1] / 'mmpose_models.md'
BEGIN, END = '<!-- table -->', '<!-- end -->'
HEADS = (
    ('config', 'model', 'data', 'training step', '`tools/test.py`', 'exported (pixels)'),
    ('config', 'model', 'error of', 'instead'),
)


def tables() -> str:
    """Return the two tables in Markdown."""
    exports = read_exports()
    rows = [
        (
            f'`{row.config}`',
            row.kind,
            row.data,
            'tested' if row.trains else '',
            'tested',
            _exported(exports.get(row.config)),
        )
        for row in ROWS
    ]
    refused = [(f'`{row.config}`', row.kind, f'`{row.by}`', row.instead) for row in REFUSED]
    return (
        f'{_table(HEADS[0], rows)}\n\n## Models that raise an error\n\n{_table(HEADS[1], refused)}'
    )


def _exported(result: dict | str | None) -> str:
    if result is None:
        return 'not measured'
    if isinstance(result, str):
        return f'error: {result}'
    if 'mean' in result:
        return f'mean {result["mean"]:.2g}'
    return f'{result["pixels"]:.2g} ({result["stable"]:.0%})'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ['---'] * len(head), *rows)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def page(text: str) -> str:
    """Return the text of the page with the current tables."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f'{before}{BEGIN}\n\n{tables()}\n\n{END}{after}'


if __name__ == '__main__':
    PAGE.write_text(page(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
