"""Read the tables of results on the pages of the original projects.

usage: python tests/golden/figures.py FAMILY=PAGE...   (FAMILY: see PAGES)

Each PAGE is a copy of the page of the family in `PAGES`. The numbers and the URLs of the releases
are written to `published_figures.json`, which the tests compare with the metafiles.
"""

import json
import re
import sys
from pathlib import Path

FILE = Path(__file__).with_name('published_figures.json')
PAGES = {
    'moganet': 'https://github.com/Westlake-AI/MogaNet/blob/main/pose_estimation/README.md',
    'uniformer': 'https://github.com/open-mmlab/mmpose/blob/main/projects/uniformer/README.md',
    'mspn': 'https://github.com/megvii-research/MSPN/blob/master/README.md',
    'hrcomer': 'https://github.com/CR320/ConvNeXtPose/blob/main/README.md',
}
#: column header → name in the metafiles
NAMES = {
    'AP<sup>50</sup>': 'AP@0.5',
    'AP<sup>75</sup>': 'AP@0.75',
    'AP<sup>M</sup>': 'AP (M)',
    'AP<sup>L</sup>': 'AP (L)',
    'AR<sup>50</sup>': 'AR@0.5',
    'AR<sup>75</sup>': 'AR@0.75',
    'AR<sup>M</sup>': 'AR (M)',
    'AR<sup>L</sup>': 'AR (L)',
    'AP .5': 'AP@0.5',
    'AP .75': 'AP@0.75',
}
CHECK_MARK = '&#10004;'


def read_page(text: str) -> list[dict]:
    """Read the rows of all tables of models.

    Args:
        text: A page in Markdown.

    Returns:
        A dict for each row: `section` (the heading above it), `model`, `size`, `split`,
        `ensemble`, `multi_scale`, `params`, `flops`, `urls`, and `figures` (name in the metafiles
        → percent). Entries that a table does not have are omitted.
    """
    rows, section, heads = [], '', []
    for line in text.splitlines():
        if line.startswith('#'):
            section, heads = line.strip('# '), []
        cells = [cell.strip() for cell in re.split(r'(?<!\\)\|', line.strip())[1:-1]]
        if len(cells) < 6:
            heads = []
        elif not heads:
            heads = cells
        elif '---' not in line:
            rows.append(_row(section, dict(zip(heads, cells, strict=True))))
    return rows


def _row(section: str, cells: dict[str, str]) -> dict:
    title = cells.get('Backbone') or cells['Model']
    row = dict(section=section, model=re.sub(r'\[(.+?)\]\(.*|<sup>.*|\*\*', r'\1', title))
    for key, head in (
        ('size', 'Input Size'),
        ('split', 'Split'),
        ('params', 'Params'),
        ('flops', 'FLOPs'),
    ):
        if head in cells:
            row[key] = cells[head]
    if '<sup>' in title:
        row['ensemble'] = True
    if 'Multi-Scale Test' in cells:
        row['multi_scale'] = cells['Multi-Scale Test'] == cells['Flipping Test'] == CHECK_MARK
    urls = re.findall(r'\]\((https://[^)]+)\)', ' '.join(cells.values()))
    if urls:
        row['urls'] = [url for url in urls if '/configs/' not in url]
    row['figures'] = {
        NAMES.get(head, head): float(cell)
        for head, cell in cells.items()
        if re.fullmatch(r'\d+\.\d', cell)
    }
    return row


def main(arguments: list[str]) -> None:
    """Update the file. Families whose pages are not passed are unchanged."""
    content = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for argument in arguments:
        family, _, page = argument.partition('=')
        rows = read_page(Path(page).read_text())
        content[family] = dict(source=PAGES[family], rows=rows)
        print(f'{family}: {len(rows)} rows')
    lines = []
    for family in PAGES:
        rows = ',\n'.join(f'    {json.dumps(row)}' for row in content[family]['rows'])
        lines.append(
            f'  {json.dumps(family)}: {{"source": {json.dumps(content[family]["source"])}, '
            f'"rows": [\n{rows}]}}'
        )
    FILE.write_text('{\n' + ',\n'.join(lines) + '\n}\n')


if __name__ == '__main__':
    main(sys.argv[1:])
