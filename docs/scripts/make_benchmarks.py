"""Generate the tables and the plots of docs/benchmarks.md from docs/benchmarks/*.json.

The files are written by the scripts in `benchmarks/` with `--json`.
"""

import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parents[1]
RECORDS = _DOCS / 'benchmarks'
PAGE = _DOCS / 'benchmarks.md'
FIGURE = _DOCS / 'benchmarks.png'
_PRECISIONS = ('fp32', 'bf16')


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))


def _read(name: str) -> Any:
    return _load(RECORDS / f'{name}.json')


def _row(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _head(titles: list[str], texts: int = 1) -> list[str]:
    """Return the head of a table whose first columns are texts, and the others numbers."""
    return [_row(titles), _row(['---'] * texts + ['---:'] * (len(titles) - texts))]


def _milliseconds(seconds: list[float]) -> str:
    return f'{1e3 * statistics.median(seconds):.0f}'


def _machine(machine: dict) -> str:
    return (
        f'{machine["processor"]} ({", ".join(machine["instructions"])}), {machine["cores"]} cores, '
        f'load {machine["load"]} at the start; Python {machine["python"]}, PyTorch '
        f'{machine["torch"]}, OpenVINO {machine["openvino"]}, MMPose {machine["mmpose"]}'
    )


def _groups(rows: list[dict]) -> dict[tuple, dict[str, dict]]:
    """Return model, batch and threads → precision → measurements."""
    groups: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        key = row['model'], row['batch'], row['threads']
        groups.setdefault(key, {})[row['precision']] = row
    return groups


def _share(row: dict) -> float:
    """Return the share of the peak of the fastest round, in percent."""
    return 100 * row['flops'] / min(row['exported']) / row['peak']


def _memory_share(row: dict) -> float:
    """Return the share of the time of the fastest round that copying the tensors takes, percent."""
    return 100 * row['bytes'] / row['bandwidth'] / min(row['exported'])


def _exported_rows() -> list[dict]:
    """Return the measurements of exported models, which several runs have made."""
    paths = sorted(RECORDS.glob('exported*.json'))
    return [row for path in paths for row in _load(path)['rows']]


def exported() -> Iterator[str]:
    """Return the table of exported models."""
    yield f'Measured on: {_machine(_read("exported")["machine"])}.'
    yield ''
    titles = ['model', 'batch', 'threads', 'PyTorch, ms']
    for precision in _PRECISIONS:
        titles += [f'{precision}, ms', 'ratio', '% of peak', '% memory']
    yield from _head(titles)
    for (model, batch, threads), group in _groups(_exported_rows()).items():
        first = next(iter(group.values()))
        cells = [model, str(batch), str(threads), _milliseconds(first['reference'])]
        for precision in _PRECISIONS:
            row = group.get(precision)
            cells += (
                [
                    _milliseconds(row['exported']),
                    f'{row["ratio"]:.2f}',
                    f'{_share(row):.0f}',
                    f'{_memory_share(row):.0f}',
                ]
                if row
                else [''] * 4
            )
        yield _row(cells)


def inference() -> Iterator[str]:
    """Return the table of the inferencers."""
    contents = [_load(path) for path in sorted(RECORDS.glob('inference_*.json'))]
    yield f'Measured on: {_machine(contents[0]["machine"])}.'
    yield ''
    yield from _head(['model', 'inferencer', 'crops per second', 'ratio', 'peak memory, MiB'], 2)
    for content in contents:
        slowest = content['variants']['mmpose']
        for name, variant in content['variants'].items():
            rate = variant['people'] / variant['seconds']
            yield _row(
                [
                    content['model'],
                    name,
                    f'{rate:.1f}',
                    f'{slowest["seconds"] / variant["seconds"]:.2f}',
                    f'{variant["peak"] / 2**20:.0f}',
                ]
            )


def busy() -> Iterator[str]:
    """Return the table of a busy machine."""
    rows = _read('busy')
    policies = list(dict.fromkeys(row['policy'] for row in rows))
    yield from _head(['task', 'busy processes', 'threads', *policies])
    cells: dict[tuple, list[str]] = {}
    for row in rows:
        key = row['task'], str(row['busy']), str(row['threads'])
        cells.setdefault(key, []).append(f'{statistics.median(row["rates"]):.1f}')
    for key, values in cells.items():
        yield _row([*key, *values])


def testing() -> Iterator[str]:
    """Return the table of the tests."""
    contents = [_load(path) for path in sorted(RECORDS.glob('testing_*.json'))]
    yield f'Measured on: {_machine(contents[0]["machine"])}.'
    yield ''
    yield from _head(['model', 'weights', 'variant', 'ms per box', 'ratio', 'AP'], 3)
    for content in contents:
        for name, variant in content['variants'].items():
            milliseconds = 1e3 * variant['seconds'] / content['boxes']
            average_precision = variant['metrics']['coco/AP']
            yield _row(
                [
                    content['model'],
                    content['weights'],
                    name,
                    f'{milliseconds:.1f}',
                    f'{variant["ratio"]:.2f}',
                    f'{average_precision:.6f}' if content['weights'] != 'random' else '',
                ]
            )


def training_step() -> Iterator[str]:
    """Return the table of training steps."""
    content = _read('training_step')
    yield f'Measured on: {_machine(content["machine"])}.'
    yield ''
    variants = ('default', 'train.py')
    titles = ['model', 'batch', *(f'{name}, ms' for name in variants), 'ratio']
    yield from _head([*titles, *(f'{name}, MiB' for name in variants)])
    for row in content['rows']:
        times = [_milliseconds(row['seconds'][name]) for name in variants]
        memory = [f'{row["peak"][name] / 2**20:.0f}' for name in variants]
        yield _row([row['model'], str(row['batch']), *times, f'{row["ratio"]:.2f}', *memory])


def multi_level_head() -> Iterator[str]:
    """Return the table of heads on the feature maps of all stages."""
    content = _read('multi_level_head')
    yield f'Measured on: {_machine(content["machine"])}.'
    yield ''
    yield from _head(
        ['feature maps', 'task', 'batch', 'MMPose, ms', 'MultiLevelHeatmapHead, ms', 'ratio'], 2
    )
    for row in content['rows']:
        times = map(_milliseconds, row['seconds'])
        yield _row([row['maps'], row['task'], str(row['batch']), *times, f'{row["ratio"]:.2f}'])


def accuracy() -> Iterator[str]:
    """Return the table of AP and crops per second."""
    content = _read('accuracy')
    yield f'Measured on: {_machine(content["machine"])}.'
    yield ''
    precisions = list(content['rows'][0]['seconds'])
    titles = [f'{precision}, crops per second' for precision in precisions]
    yield from _head(['model', 'AP upstream', *titles])
    for row in content['rows']:
        rates = [f'{_rate(row, precision):.1f}' for precision in precisions]
        yield _row([row['model'], f'{100 * row["average_precision"]:.1f}', *rates])


def _rate(row: dict, precision: str) -> float:
    """Return the crops per second, the median of the rounds."""
    return row['batch'] / statistics.median(row['seconds'][precision])


TABLES = {
    'accuracy': accuracy,
    'exported': exported,
    'inference': inference,
    'testing': testing,
    'training_step': training_step,
    'multi_level_head': multi_level_head,
    'busy': busy,
}


def with_tables(page: str) -> str:
    """Return the page with the tables of the current records."""
    for name, table in TABLES.items():
        lines = '\n'.join(table())
        page, count = re.subn(
            rf'(<!-- {name} -->\n).*?(<!-- /{name} -->)',
            lambda match, lines=lines: f'{match[1]}{lines}\n{match[2]}',
            page,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f'{PAGE} has {count} places for the table {name}: expected 1')
    return page


def draw() -> None:
    """Draw all plots of the page."""
    import matplotlib

    matplotlib.use('Agg')
    draw_ratios()
    draw_accuracy()
    draw_scaling()


def draw_ratios() -> None:
    """Draw the ratios of the exported models."""
    import matplotlib.pyplot as plt

    groups = _groups(_exported_rows())
    labels = [f'{model.removeprefix("td-hm_")}, batch {batch}' for model, batch, _ in groups]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(labels) + 1.2), layout='constrained')
    for offset, precision in zip((-0.2, 0.2), _PRECISIONS):
        values = [
            group[precision]['ratio'] if precision in group else 0 for group in groups.values()
        ]
        positions = [index + offset for index in range(len(values))]
        bars = axes.barh(positions, values, 0.4, label=f'OpenVINO {precision}')
        axes.bar_label(bars, fmt='%.1f', padding=2)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.axvline(1, color='gray', linewidth=1)
    axes.set_xlabel('times as fast as PyTorch in float32, unfused')
    axes.margins(x=0.08)
    figure.legend(loc='outside upper right', ncols=2)
    figure.savefig(FIGURE, dpi=120)
    plt.close(figure)


def draw_accuracy() -> None:
    """Draw AP over crops per second."""
    import matplotlib.pyplot as plt

    rows = _read('accuracy')['rows']
    figure, axes = plt.subplots(figsize=(8, 5), layout='constrained')
    for precision, marker in zip(rows[0]['seconds'], 'os'):
        for package, color in (('pose_backbones', 'tab:blue'), ('mmpose', 'tab:orange')):
            part = [row for row in rows if row['package'] == package]
            rates = [_rate(row, precision) for row in part]
            values = [100 * row['average_precision'] for row in part]
            label = f'{package.replace("mmpose", "MMPose")}, {precision}'
            axes.scatter(rates, values, marker=marker, color=color, label=label)
            if precision == 'bf16':
                for row, rate, value in zip(part, rates, values):
                    name = row['model'].removeprefix('td-hm_').partition('_')[0]
                    axes.annotate(name, (rate, value), (4, 4), textcoords='offset points')
    axes.set(xlabel='crops per second, with the flip test', ylabel='AP on COCO val2017, upstream')
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(FIGURE.with_name('accuracy.png'), dpi=110)
    plt.close(figure)


def draw_scaling() -> None:
    """Draw crops per second over the batch size, the input size, boxes and processes."""
    import matplotlib.pyplot as plt

    content = _read('scaling')
    titles = {
        'batch': 'batch size',
        'input size': 'pixels of the input',
        'boxes': 'boxes per image (PoseInferencer)',
        'processes': 'processes with one thread each',
    }
    figure, grid = plt.subplots(2, 2, figsize=(9, 6), layout='constrained')
    for (quantity, title), axes in zip(titles.items(), grid.flat):
        series: dict[str, list[tuple[float, float]]] = {}
        for row in content['rows']:
            if row['quantity'] == quantity:
                series.setdefault(row['variant'], []).append((row['value'], row['rate']))
        for variant, points in series.items():
            axes.plot(*zip(*points), marker='o', label=variant)
        axes.set(xlabel=title, ylabel='crops per second', ylim=(0, None))
        axes.grid(alpha=0.3)
    grid.flat[0].legend()
    figure.savefig(FIGURE.with_name('scaling.png'), dpi=100)
    plt.close(figure)


def main() -> None:
    """Write the tables and the plots."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
    draw()


if __name__ == '__main__':
    main()
