"""Training curves from the logs of a run: `plot_training.py`."""

import argparse
import json
from pathlib import Path

from ..utils.errors import DatasetError


def read_scalars(work_dir: str) -> tuple[list[dict], list[dict]]:
    """Collect what a run has logged, over all its resumptions.

    Args:
        work_dir: Of the run; each start has a folder of its time in it.

    Returns:
        Training entries (`step`, `loss`, `lr`, …) and evaluation entries
        (`step`, `coco/AP`, …), a later start's in place of an earlier one's
        of the same step.

    Raises:
        DatasetError: If nothing was logged there.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    training, evaluation = {}, {}
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            target = training if 'loss' in entry else evaluation
            target[entry['step']] = entry
    if not training:
        raise DatasetError(
            f'no training log under {work_dir}: expected '
            '<time>/vis_data/scalars.json')
    return ([training[step] for step in sorted(training)],
            [evaluation[step] for step in sorted(evaluation)])


def plot_training(work_dir: str, out: str) -> None:
    """Plot loss, learning rate and AP against the training step.

    Args:
        work_dir: Of the run.
        out: The picture, `.png`, `.svg` or `.pdf`.
    """
    from matplotlib.figure import Figure

    training, evaluation = read_scalars(work_dir)
    steps = [entry['step'] for entry in training]
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.add_subplot()
    axes.plot(steps, [entry['loss'] for entry in training],
              color='tab:blue', label='loss')
    axes.set(xlabel='step', ylabel='loss (heat maps)', ylim=(0, None))
    axes.grid(alpha=0.3)
    second = axes.twinx()
    if 'acc_pose' in training[0]:
        second.plot(steps, [entry['acc_pose'] for entry in training],
                    color='tab:orange', label='accuracy in training')
    points = [(entry['step'], entry['coco/AP']) for entry in evaluation
              if 'coco/AP' in entry]
    if points:
        second.plot(*zip(*points), 'o-', color='tab:green',
                    label='AP on the validation images')
        second.annotate(f'{points[-1][1]:.3f}', points[-1],
                        textcoords='offset points', xytext=(-4, 6),
                        ha='right', color='tab:green')
    second.set(ylim=(0, 1), ylabel='accuracy, AP')
    lines = [*axes.get_lines(), *second.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines],
                loc='center right')
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/plot_training.py`."""
    parser = argparse.ArgumentParser(
        description='Plot the curves of a training run.',
        prog='plot_training.py')
    parser.add_argument('work_dir', help='of the run')
    parser.add_argument(
        '--out', metavar='FILE',
        help='the picture (default: training.png in the work dir)')
    args = parser.parse_args(argv)
    out = args.out or str(Path(args.work_dir) / 'training.png')
    plot_training(args.work_dir, out)
    print(f'curves in {out}')
