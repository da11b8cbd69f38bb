"""List the models that can be used by name: `pose-backbones models`."""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ..errors import ConfigError, shorten
from ..zoo.metafile import Model, read_models
from ..zoo.mmpose import MMPoseModel, read_mmpose_models, read_sizes
from ..zoo.names import MMPOSE, OWN, PREFIX, SOURCES, full_name, short_names, suggest

_COLUMNS = ('name', 'result upstream', 'params, M', 'FLOPs, G', 'input', 'data', 'licence')
#: part of the name of a metric that is a distance → its unit
_UNITS = {'EPE': 'pixels', 'MPJPE': 'mm', 'MRRPE': 'mm'}
_TITLES = dict(zip(SOURCES, ('Models of this package', 'Models of MMPose')))


@dataclass(frozen=True)
class Row:
    """A model in the list.

    Args:
        name: Name with which the config is found, see `full_name`.
        source: One of `SOURCES`.
        short_names: Other names.
        task: Task, such as `'Body 2D Keypoint'`.
        data: Dataset that the model is trained on.
        metrics: Dataset → metric → value, as stated upstream: shares, such as AP, in percent,
            distances in the units of `_UNITS`.
        input: Height and width of the input in pixels.
        params: Number of parameters.
        flops: Multiply-adds for one image.
        weights: URL of the released weights.
        licence: Licence of the weights; None if it is not stated.
    """

    name: str
    source: str
    short_names: tuple[str, ...]
    task: str
    data: str
    metrics: Mapping[str, Mapping[str, float]]
    input: tuple[int, int] | None
    params: int | None
    flops: int | None
    weights: str | None
    licence: str | None

    def matches(self, words: Iterable[str]) -> bool:
        """Return whether all words occur in the names, the task or the data; in any case."""
        names = (self.name.removeprefix(f'{MMPOSE}{PREFIX}'), *self.short_names)
        names = tuple(f'{self.source}{PREFIX}{name}' for name in names)
        texts = (*names, self.task, self.data, *self.metrics)
        text = ' '.join(texts).lower()
        return all(word.lower() in text for word in words)

    def cells(self) -> list[str]:
        """Return the cells of the row in the table."""
        name = self.name
        if self.short_names:
            name += f' ({", ".join(self.short_names)})'
        return [
            name,
            self._result(),
            '' if self.params is None else f'{self.params / 1e6:.1f}',
            '' if self.flops is None else f'{self.flops / 1e9:.1f}',
            '' if self.input is None else '{}x{}'.format(*self.input),
            shorten(self.data, 30),
            (self.licence or 'not stated') if self.weights else 'no weights',
        ]

    def _result(self) -> str:
        """Return the first metric, on the first dataset."""
        for dataset, metrics in self.metrics.items():
            for metric, value in metrics.items():
                number = f'{value:.1f}' if value >= 10 else f'{value:.2f}'
                unit = f' {_unit(metric)}'.rstrip()
                return f'{metric} {number}{unit} ({dataset})'
        return ''


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `pose-backbones models`."""
    parser = argparse.ArgumentParser(
        prog='pose-backbones models',
        description='List models of this package and of MMPose. Results are those that the authors '
        'of a model state, in percent unless a unit is given. A name in brackets is a short name. '
        'Names can be used in place of the path of a config in all tools and in Python.',
    )
    parser.add_argument(
        'words',
        nargs='*',
        metavar='WORD',
        help='list only models in whose name, task or data all words occur, such as: rtmpose hand',
    )
    parser.add_argument('--source', choices=SOURCES, help='default: both')
    parser.add_argument(
        '--weights', action='store_true', help='list only models with released weights'
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return parser.parse_args(argv)


def _unit(metric: str) -> str:
    """Return the unit of a metric; an empty string for a share, in percent."""
    name = metric.split('-')
    return next((unit for key, unit in _UNITS.items() if key in name), '')


def _in_percent(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics with all shares in percent; upstream, most are fractions, some percentages."""
    return {
        name: round(100 * value, 6) if not _unit(name) and value <= 1 else value
        for name, value in metrics.items()
    }


def _own(model: Model) -> Row:
    height, width = map(int, model.size.split('x'))
    results = {'val2017': model.metrics} if model.metrics else model.stated
    metrics = {
        model.data if name == 'val2017' else name: _in_percent(row) for name, row in results.items()
    }
    return Row(
        name=model.name,
        source=OWN,
        short_names=(),
        task=model.task or '',
        data=model.data,
        metrics=metrics,
        input=(height, width),
        params=model.params,
        flops=model.total_flops,
        weights=model.weights,
        licence=model.licence.get('Weights'),
    )


def _mmpose(model: MMPoseModel, size: Mapping) -> Row:
    return Row(
        name=full_name(model.name, MMPOSE),
        source=MMPOSE,
        short_names=tuple(short_names(model.name)),
        task=model.task.replace('_', ' '),
        data=model.data or '',
        metrics={dataset: _in_percent(row) for dataset, row in model.metrics.items()},
        input=tuple(size['input']) if size else None,
        params=size.get('params'),
        flops=size.get('flops'),
        weights=model.weights,
        licence=None,
    )


def find_rows(source: str | None = None) -> list[Row]:
    """Return the models of a package, or of both.

    Args:
        source: One of `SOURCES`. Default: both.

    Returns:
        The models, sorted by name, those of this package first.

    Raises:
        ConfigError: If MMPose is not installed.
    """
    rows: list[Row] = []
    if source in (None, OWN):
        rows += map(_own, read_models().values())
    if source in (None, MMPOSE):
        sizes = read_sizes()
        rows += (
            _mmpose(model, sizes.get(name, {})) for name, model in read_mmpose_models().items()
        )
    return sorted(rows, key=lambda row: (SOURCES.index(row.source), row.name.lower()))


def table(rows: list[Row]) -> list[str]:
    """Return the lines of a table for each package, with aligned columns."""
    cells = [row.cells() for row in rows]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *cells)]
    lines = []
    for source in SOURCES:
        part = [line for row, line in zip(rows, cells) if row.source == source]
        if not part:
            continue
        lines += ['', f'{_TITLES[source]}: {len(part)}', '']
        for line in (list(_COLUMNS), *part):
            texts = (
                text.rjust(width) if 2 <= index <= 3 else text.ljust(width)
                for index, (text, width) in enumerate(zip(line, widths))
            )
            lines.append('  '.join(texts).rstrip())
    return lines[1:]


def main(argv: list[str] | None = None) -> None:
    """Entry point of `pose-backbones models`.

    Raises:
        ConfigError: If no model matches, or MMPose is not installed.
    """
    args = parse_args(argv)
    rows = [
        row
        for row in find_rows(args.source)
        if row.matches(args.words) and (row.weights or not args.weights)
    ]
    if not rows:
        raise ConfigError(
            f'no model matches {" ".join(args.words)!r}: expected words of names, tasks or data'
            f'{suggest(" ".join(args.words), SOURCES)}'
        )
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print('\n'.join(table(rows)))
