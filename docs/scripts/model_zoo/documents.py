"""Documents that are generated from the metafiles."""

from collections.abc import Iterable
from pathlib import Path

from pose_backbones.errors import ConfigError
from pose_backbones.zoo import Family, Model

from .tables import READING, link, sections, unique

BEGIN, END = '<!-- models -->', '<!-- /models -->'
_GENERATED = '<!-- Generated from {0} by docs/scripts/make_model_zoo.py: edit {0}. -->'


def family_readme(family: Family, root: Path) -> str:
    """Return the README of a family's directory.

    Args:
        family: The family.
        root: Root directory of the repository. The README links to backbone files that exist there.

    Returns:
        The README in Markdown.
    """
    folder = Path('configs', family.name)
    lines = [_GENERATED.format('metafile.yml'), '', f'# {_names(family)}', '']
    for collection in family.collections:
        paper, backbone = collection['Paper'], collection['Backbone']
        code = (
            f'[backbone]({link(backbone, folder)})'
            if (root / backbone).is_file()
            else "MMPose's backbone"
        )
        lines += [
            f'**{collection["Name"]}**: [{paper["Title"]}]({paper["URL"]}) '
            f'([original code]({collection["Code"]["URL"]}), {code}). '
            f'{collection["Description"]}',
            '',
        ]
    first = family.models[0]
    weights = ', pretrained=True' if first.weights else ''
    data = link('README.md', folder) + '#training-and-testing-on-coco'
    lines += [
        '## Models',
        '',
        READING,
        '',
        *sections(family, folder),
        '## Training and testing',
        '',
        f'Run these commands in the repository. [README]({data}) describes where to put the data.',
        '',
        '```bash',
        f'CONFIG={first.config}',
        'bash tools/dist_train.sh $CONFIG 8',
        'python tools/test.py $CONFIG CHECKPOINT',
        '```',
        '',
        'From Python:',
        '',
        '```python',
        'import pose_backbones',
        '',
        f"model = pose_backbones.build('{first.name}'{weights})",
        '```',
        '',
    ]
    notes = [note for entry in family.collections for note in entry.get('Notes', ())]
    if notes:
        lines += ['## Notes', '', *(f'- {note}' for note in notes), '']
    return '\n'.join(lines)


def model_zoo(families: Iterable[Family]) -> str:
    """Return the page of all models, `docs/model_zoo.md`.

    Args:
        families: The families.

    Returns:
        The page in Markdown.
    """
    folder = Path('docs')
    lines = [
        _GENERATED.format('configs/*/metafile.yml'),
        '',
        '# Model zoo',
        '',
        '![AP against FLOPs, one marker per model](model_zoo.png)',
        '',
        '*AP on COCO val2017 as stated by the sources, against measured FLOPs including '
        'attention.*',
        '',
        READING,
        '',
        'In Python, use `pose_backbones.list_models()`, `get_config(name)` and '
        '`build(name, num_keypoints=…, pretrained=…)`. The name of a model is the name of its '
        'config without `.py`. They find the models of MMPose, too: '
        "`list_models(source='mmpose')`.",
        '',
    ]
    for family in families:
        readme = link(f'configs/{family.name}/README.md', folder)
        lines += [
            f'## {_names(family)}',
            '',
            f'Paper, notes and licences: [{family.name}]({readme}).',
            '',
            *sections(family, folder),
        ]
    return '\n'.join(lines)


def summary(families: Iterable[Family]) -> str:
    """Return the table of README.md, with one row per collection.

    Args:
        families: The families.

    Returns:
        The table in Markdown, between its markers.
    """
    lines = [
        BEGIN,
        '| family | models | inputs | params | FLOPs | AP |',
        '| --- | --- | --- | :-: | :-: | :-: |',
    ]
    for family in families:
        for collection in family.collections:
            name = collection['Name']
            models = [
                model for model in family.models if model.collection == name and not model.is_demo
            ]
            titles = unique(_short(model.title, name) for model in models)
            columns = (
                f'[{name}](configs/{family.name}/README.md)',
                ', '.join(titles),
                ', '.join(sorted({model.size for model in models})),
                _range([model.params / 1e6 for model in models], ' M'),
                _range([model.total_flops / 1e9 for model in models], ' G'),
                _range([100 * value for value in _scores(models)]),
            )
            lines.append(f'| {" | ".join(columns)} |')
    return '\n'.join([*lines, END])


def _scores(models: Iterable[Model]) -> list[float]:
    """Return the AP of the released models or, if there are none, of the source's own results."""
    return [model.metrics['AP'] for model in models if model.metrics] or [
        model.stated['val']['AP'] for model in models if 'AP' in model.stated.get('val', {})
    ]


def replace_summary(text: str, families: Iterable[Family]) -> str:
    """Replace the table in README.md.

    Args:
        text: Text of README.md.
        families: The families.

    Returns:
        The new text.

    Raises:
        ConfigError: If the text does not contain each marker exactly once, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ConfigError(
            f'README.md: expected {BEGIN} and {END} exactly once each, around the table of models'
        )
    return before + summary(families) + after


def _names(family: Family) -> str:
    return ' and '.join(item['Name'] for item in family.collections)


def _short(title: str, collection: str) -> str:
    """Return the title of a model without the name of its collection."""
    head, dash, tail = title.partition('-')
    return tail if dash and collection.startswith(head) else title


def _range(values: list[float], unit: str = '') -> str:
    """Format the minimum and the maximum with one decimal."""
    if not values:
        return 'none'
    ends = unique(f'{value:.1f}' for value in (min(values), max(values)))
    return ' to '.join(ends) + unit
