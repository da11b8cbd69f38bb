"""Read MMEngine's training logs and plot their curves."""

import json
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DatasetError
from ..utils.arguments import is_number
from ..utils.files import atomic_write, check_output_file, convert_write_errors, read_text

_LARGEST = 2**53  # larger numbers are not plotted
_SUFFIXES = ('.png', '.svg', '.pdf')
_MAX_POINTS = 300  # per `Curve`
#: last parts of the names of validation metrics that are plotted
_METRICS = ('AP', 'AR', 'PCK', 'Mean')


@dataclass(frozen=True)
class Curve:
    """A logged value over the steps of a training run.

    Args:
        name: Name of the value.
        data: Data that it was computed on, such as 'training images'.
        steps: Training steps.
        values: Value at each step, finite.
    """

    name: str
    data: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class TrainingLog:
    """Curves of a training run.

    Args:
        curves: Loss, accuracy and validation metrics with at least two points.
        problem: Error message if the log could not be read; otherwise None.
    """

    curves: list[Curve]
    problem: str | None = None


def read_scalars(work_dir: str) -> tuple[list[dict], list[dict]]:
    """Read the scalars that a training run has logged, including resumed runs.

    Args:
        work_dir: Work directory of the run, with a timestamped directory for each start.

    Returns:
        Training entries (`step`, `loss`, `lr`, …) and evaluation entries (`step`, `coco/AP`, …),
        sorted by step. If several starts logged the same step, the latest entry is used.

    Raises:
        DatasetError: If there is no log with a loss, or a line is not an entry of MMEngine's log.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    training, evaluation = {}, {}
    for file in files:
        for line in read_text(file, 'log').splitlines():
            entry = _read_entry(file, line)
            target = training if 'loss' in entry else evaluation
            target[entry['step']] = entry
    if not training:
        raise DatasetError(
            f'no training log under {work_dir}: expected <time>/vis_data/scalars.json'
        )
    return (
        [training[step] for step in sorted(training)],
        [evaluation[step] for step in sorted(evaluation)],
    )


def last_validation(work_dir: str) -> int | None:
    """Return the step of the validation with which the newest log of a training run ends.

    Args:
        work_dir: Work directory of the run.

    Returns:
        The step; None if there is no log, or its last line is a training entry or incomplete.
    """
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))[-1:]:
        try:
            entry = _read_entry(file, read_text(file, 'log').splitlines()[-1])
        except (DatasetError, IndexError):
            return None
        return None if 'loss' in entry else entry['step']
    return None


def _read_entry(file: Path, line: str) -> dict:
    try:
        entry = json.loads(line)
        if (
            all(
                is_number(entry[key])
                for key in ('step', *({'loss', 'acc_pose', 'coco/AP'} & set(entry)))
            )
            and abs(entry['step']) < _LARGEST
            and not any(
                isinstance(value, int) and abs(value) > _LARGEST for value in entry.values()
            )
        ):
            return entry
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise DatasetError(
        f'{file} has the line {line[:80]!r}: expected an entry of '
        "MMEngine's log, with a step and numbers"
    )


def read_log(work_dir: Path | None) -> TrainingLog:
    """Read loss, accuracy and validation metrics of a training run.

    Args:
        work_dir: Work directory of the run; None if there is no log.

    Returns:
        The curves. Long curves are reduced to 300 evenly spaced points.
    """
    if work_dir is None:
        return TrainingLog([])
    try:
        training, evaluation = read_scalars(str(work_dir))
    except DatasetError as error:
        return TrainingLog([], str(error))
    logged = dict.fromkeys(name for entry in evaluation for name in entry)
    curves = [
        _curve('Loss', 'training images', training, 'loss'),
        _curve('Accuracy', 'training images', training, 'acc_pose'),
        *[
            _curve(name, 'validation images', evaluation, name)
            for name in logged
            if name.rpartition('/')[2] in _METRICS
        ],
    ]
    return TrainingLog([curve for curve in curves if len(curve.steps) > 1])


def _curve(name: str, data: str, entries: list[dict], key: str) -> Curve:
    points = [
        (entry['step'], entry[key])
        for entry in entries
        if isinstance(entry.get(key), (int, float)) and np.isfinite(entry[key])
    ]
    count = min(len(points), _MAX_POINTS)
    kept = np.unique(np.linspace(0, len(points) - 1, count).round().astype(int))
    return Curve(name, data, [points[i][0] for i in kept], [points[i][1] for i in kept])


def _finite(entry: dict, key: str) -> float:
    """Return a value if it can be plotted, otherwise NaN, which leaves a gap."""
    value = entry.get(key, nan)
    return value if abs(value) < _LARGEST else nan


def plot_training(work_dir: str, out: str, overwrite: bool = False) -> None:
    """Plot loss, accuracy and validation AP against the training step.

    Args:
        work_dir: Work directory of the run.
        out: Path of the figure, with the suffix `.png`, `.svg` or `.pdf`.
        overwrite: Whether to replace an existing file.

    Raises:
        ConfigError: If `out` has another suffix.
        DatasetError: See `read_scalars`.
        WorkDirError: If `out` already exists or cannot be written.
    """
    from matplotlib.figure import Figure

    if not out.endswith(_SUFFIXES):
        raise ConfigError(f'--out {out}: expected a name that ends with {" or ".join(_SUFFIXES)}')
    check_output_file(out, '--out', (), overwrite)
    training, evaluation = read_scalars(work_dir)
    steps = [entry['step'] for entry in training]
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.add_subplot()
    axes.plot(steps, [_finite(entry, 'loss') for entry in training], color='tab:blue', label='loss')
    axes.set(xlabel='step', ylabel='loss', ylim=(0, None))
    axes.grid(alpha=0.3)
    second = axes.twinx()
    if any('acc_pose' in entry for entry in training):
        second.plot(
            steps,
            [_finite(entry, 'acc_pose') for entry in training],
            color='tab:orange',
            label='training accuracy',
        )
    points = [
        (entry['step'], entry['coco/AP'])
        for entry in evaluation
        if isfinite(_finite(entry, 'coco/AP'))
    ]
    if points:
        second.plot(*zip(*points), 'o-', color='tab:green', label='validation AP')
        second.annotate(
            f'{points[-1][1]:.3f}',
            points[-1],
            textcoords='offset points',
            xytext=(-4, 6),
            ha='right',
            color='tab:green',
        )
    second.set(ylim=(0, 1), ylabel='accuracy, AP')
    lines = [*axes.get_lines(), *second.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines], loc='center right')
    path = Path(out)
    with convert_write_errors(out, '--out'):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            figure.savefig(draft, dpi=120, format=path.suffix[1:])
