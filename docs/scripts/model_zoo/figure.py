"""Figure of AP against FLOPs, `docs/model_zoo.png`."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pose_backbones.utils.files import open_regular
from pose_backbones.utils.images import open_image
from pose_backbones.zoo import Family

#: key of the digest of the data in the PNG metadata
_KEY = 'Data'
_MARKERS = {'256x192': 'o', '384x288': 's', '448x320': '^'}


def points(families: Iterable[Family]) -> list[tuple]:
    """Return the points of the figure: one for each model with an AP.

    Args:
        families: The families.

    Returns:
        Tuples of collection, title, input size, FLOPs in billions (including attention), and AP in
        percent.
    """
    return [
        (
            model.collection,
            model.title,
            model.size,
            round(model.total_flops / 1e9, 3),
            round(100 * model.metrics['AP'], 1),
        )
        for family in families
        for model in family.models
        if 'AP' in model.metrics
    ]


def digest(data: list[tuple]) -> str:
    """Return the digest of the points of the figure.

    Args:
        data: Points, from `points`.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def shown_digest(path: Path) -> str | None:
    """Return the digest of the points that an existing figure shows.

    Args:
        path: Path of the PNG file.

    Returns:
        The digest; None if the file does not exist or was not written by `draw`.
    """
    if not path.is_file():
        return None
    with open_regular(path) as file, open_image(file) as image:
        image.load()
        return image.info.get(_KEY)


def draw(data: list[tuple], path: Path) -> None:
    """Draw the figure, with one colour per collection and one marker per input size.

    Args:
        data: Points, from `points`.
        path: Path of the PNG file. Its metadata contain the digest of the points.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(8, 5), layout='constrained')
    axes = figure.add_subplot()
    colours = {}
    for kind, title, size, flops, score in data:
        colour = colours.setdefault(kind, f'C{len(colours)}')
        axes.plot(flops, score, _MARKERS[size], color=colour, markersize=6)
        axes.annotate(
            title.rpartition('-')[2],
            (flops, score),
            fontsize=8,
            textcoords='offset points',
            xytext=(5, 3),
            color=colour,
        )
    for kind, colour in colours.items():
        for size in _MARKERS:
            line = sorted(
                (x, y)
                for family, _, input_size, x, y in data
                if (family, input_size) == (kind, size)
            )
            axes.plot(*zip(*line) if line else ((), ()), color=colour, linewidth=0.8, alpha=0.5)
    axes.set_xscale('log')
    ticks = [2, 3, 5, 10, 20, 30, 50, 90]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel='FLOPs (G), attention included', ylabel='AP on COCO val2017 (upstream)')
    axes.grid(alpha=0.3)
    handles = [Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
    handles += [
        Line2D([], [], color='grey', marker=marker, linestyle='', label=size)
        for size, marker in _MARKERS.items()
    ]
    axes.legend(handles=handles, loc='lower right', fontsize=9)
    figure.savefig(path, dpi=100, format='png', metadata={_KEY: digest(data)})
