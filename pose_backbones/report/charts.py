"""Charts as SVG in the page; each mark has its numbers as a tooltip."""

import math
from collections.abc import Sequence

import numpy as np

from .markup import Html, figure, join, tag

#: units; a chart is as wide as its column, and 1 unit about 1 pixel
WIDTH = 360
_LABEL, _RIGHT, _ROW = 112, 312, 22


def _svg(title: str, about: str, height: float, *content) -> Html:
    return tag(
        'svg',
        tag('title', title),
        tag('desc', about),
        *content,
        viewBox=f'0 0 {WIDTH} {height:g}',
        role='img',
        aria_label=f'{title}. {about}',
    )


def _text(x: float, y: float, words, anchor: str = 'start', kind: str | None = None) -> Html:
    return tag('text', words, x=_at(x), y=_at(y), text_anchor=anchor, class_=kind)


def _at(value: float) -> str:
    return f'{value:.1f}'.removesuffix('.0')


def _box(x: float, y: float, w: float, h: float, about: str, kind: str, **more) -> Html:
    return tag(
        'rect',
        tag('title', about),
        x=_at(x),
        y=_at(y),
        width=_at(max(w, 0)),
        height=_at(h),
        class_=kind,
        **more,
    )


def _short(name: str, most: int = 17) -> str:
    return name if len(name) <= most else name[: most - 1] + '…'


def bars(
    title: str,
    about: str,
    rows: Sequence[tuple[str, float, str]],
    most: float = 1,
    digits: int = 3,
    mark: int | None = None,
) -> Html:
    """Horizontal bars.

    Args:
        title, about: For those who cannot see it.
        rows: Name, value (NaN draws nothing) and more for the tooltip.
        most: The value of a bar as long as there is room.
        digits: Of the values beside the bars.
        mark: A row whose value is marked down the chart.

    Returns:
        The chart.
    """
    scale, parts = (_RIGHT - _LABEL) / (most or 1), []
    height = _ROW * len(rows) + 6
    for number, (name, value, more) in enumerate(rows):
        y = 3 + _ROW * number
        length = 0 if math.isnan(value) else scale * value
        parts += [
            _text(_LABEL - 6, y + 15, _short(name), 'end'),
            _box(
                _LABEL, y + 3, length, _ROW - 6, f'{name}: {figure(value, digits)}. {more}', 'bar'
            ),
            _text(_LABEL + length + 5, y + 15, figure(value, digits)),
        ]
    if mark is not None and not math.isnan(rows[mark][1]):
        x = _at(_LABEL + scale * rows[mark][1])
        parts.append(tag('line', x1=x, x2=x, y1=0, y2=_at(height), class_='mark'))
    return _svg(title, about, height, *parts)


def stacks(
    title: str, about: str, rows: Sequence[tuple[str, Sequence[float]]], kinds: Sequence[str]
) -> Html:
    """Horizontal bars of 100%, in parts.

    Args:
        title, about: For those who cannot see it.
        rows: Name and a count for each of `kinds`.
        kinds: Names, which are their classes too.

    Returns:
        The chart; an empty row draws nothing.
    """
    parts = []
    for number, (name, values) in enumerate(rows):
        x, y, whole = _LABEL, 3 + _ROW * number, sum(values)
        parts.append(_text(_LABEL - 6, y + 15, _short(name), 'end'))
        for kind, value in zip(kinds, values):
            length = (WIDTH - 4 - _LABEL) * value / whole if whole else 0
            if not length:
                continue
            percent = 100 * value / whole
            parts.append(
                _box(
                    x,
                    y + 2,
                    length,
                    _ROW - 4,
                    f'{name}, {kind}: {value:,} of {whole:,} ({percent:.1f}%)',
                    f'k-{kind.replace(" ", "-")}',
                )
            )
            if length > 34:
                parts.append(_text(x + length / 2, y + 15, f'{percent:.0f}%', 'middle', 'on'))
            x += length
    return _svg(title, about, _ROW * len(rows) + 6, *parts)


def legend(kinds: Sequence[tuple[str, str]]) -> Html:
    """Colours of `stacks` with what they mean.

    Args:
        kinds: Name and explanation.
    """
    return tag(
        'dl',
        *[
            tag(
                'div',
                tag('dt', tag('span', class_='key k-' + kind.replace(' ', '-')), kind),
                tag('dd', about),
            )
            for kind, about in kinds
        ],
        class_='legend',
    )


_LEFT, _TOP, _SIZE = 44, 8, 290


def _frame(x_name: str, y_name: str, ticks: Sequence[float], height: float) -> list[Html]:
    """Axes from 0 to 1, or of other values that are labelled so."""
    parts = [
        _text(_LEFT + _SIZE / 2, _TOP + height + 32, x_name, 'middle'),
        tag(
            'text',
            y_name,
            text_anchor='middle',
            transform=(f'translate(12 {_at(_TOP + height / 2)}) rotate(-90)'),
        ),
    ]
    for tick in ticks:
        x, y = _LEFT + _SIZE * tick, _TOP + height * (1 - tick)
        parts += [
            tag('line', x1=_LEFT, x2=_LEFT + _SIZE, y1=_at(y), y2=_at(y), class_='grid'),
            _text(_LEFT - 5, y + 4, f'{tick:g}', 'end', 'small'),
            _text(x, _TOP + height + 15, f'{tick:g}', 'middle', 'small'),
        ]
    return parts


def reliability(
    title: str, about: str, score: np.ndarray, oks: np.ndarray, counts: np.ndarray
) -> Html:
    """Mean OKS of each bin of scores, beside the line of equal values.

    Args:
        title, about: For those who cannot see it.
        score, oks: (B,), means of the bins.
        counts: (B,), of their detections.
    """
    height = _SIZE * 0.72
    parts = _frame('score', 'mean OKS', (0, 0.2, 0.4, 0.6, 0.8, 1), height)
    width = _SIZE / len(counts)
    for number, (mean, value, n) in enumerate(zip(score, oks, counts)):
        if not n:
            continue
        parts.append(
            _box(
                _LEFT + width * number + 1,
                _TOP + height * (1 - value),
                width - 2,
                height * value,
                f'{n:,} detections of mean score {mean:.2f}: mean OKS {value:.2f}',
                'bar',
            )
        )
    parts.append(
        tag('line', x1=_LEFT, y1=_at(_TOP + height), x2=_LEFT + _SIZE, y2=_TOP, class_='mark')
    )
    return _svg(title, about, _TOP + height + 40, *parts)


def density(title: str, about: str, cells: np.ndarray) -> Html:
    """How many detections there are by score and OKS.

    Args:
        title, about: For those who cannot see it.
        cells: (B, B) counts, scores in rows; darker is more.
    """
    height = _SIZE * 0.72
    parts = _frame('score', 'OKS', (0, 0.2, 0.4, 0.6, 0.8, 1), height)
    bins = len(cells)
    w, h = _SIZE / bins, height / bins
    for i, j in zip(*np.nonzero(cells)):
        strength = 0.12 + 0.88 * math.sqrt(cells[i, j] / cells.max())
        parts.append(
            _box(
                _LEFT + w * i,
                _TOP + height - h * (j + 1),
                w,
                h,
                f'{cells[i, j]:,} detections of scores {i / bins:.1f} to '
                f'{(i + 1) / bins:.1f} and OKS {j / bins:.1f} to '
                f'{(j + 1) / bins:.1f}',
                'bar',
                fill_opacity=f'{strength:.2f}',
            )
        )
    return _svg(title, about, _TOP + height + 40, *parts)


def curves(
    title: str, about: str, recalls: np.ndarray, lines: Sequence[tuple[str, np.ndarray]]
) -> Html:
    """Precision over recall.

    Args:
        title, about: For those who cannot see it.
        recalls: (R,).
        lines: Name and (R,) precisions of each; a name's last word stands
            in the chart.
    """
    height = _SIZE * 0.72
    parts = _frame('recall', 'precision', (0, 0.2, 0.4, 0.6, 0.8, 1), height)
    for number, (name, values) in enumerate(lines):
        points = [(_LEFT + _SIZE * x, _TOP + height * (1 - y)) for x, y in zip(recalls, values)]
        path = ' '.join(f'{_at(x)},{_at(y)}' for x, y in points)
        parts.append(tag('polyline', tag('title', name), points=path, class_=f'line dash-{number}'))
        parts += [
            tag(
                'circle',
                tag('title', f'{name}: precision {value:.3f} at a recall of {recall:.1f}'),
                cx=_at(x),
                cy=_at(y),
                r=2.5,
                class_='dot',
            )
            for (x, y), recall, value in list(zip(points, recalls, values))[::10]
        ]
        drop = max((x for (x, _), value in zip(points, values) if value > 0), default=0)
        parts.append(
            _text(
                max(drop - 5, _LEFT + 28),
                _TOP + height * (0.6 + 0.1 * number),
                name.split()[-1],
                'end',
                'small',
            )
        )
    return _svg(title, about, _TOP + height + 40, *parts)


def curve(
    title: str, about: str, steps: Sequence[float], values: Sequence[float], digits: int = 3
) -> Html:
    """A value over the steps of a training, from 0 up.

    Args:
        title, about: For those who cannot see it.
        steps, values: Of its points, finite.
        digits: Of the labels.
    """
    height, bottom = 150, 158
    most, last = max(*values, 1e-12), max(*steps, 1)
    points = [
        (_LEFT + _SIZE * step / last, bottom - height * value / most)
        for step, value in zip(steps, values)
    ]
    path = ' '.join(f'{_at(x)},{_at(y)}' for x, y in points)
    dots = [
        tag(
            'circle',
            tag('title', f'step {step:,}: {value:.{digits}g}'),
            cx=_at(x),
            cy=_at(y),
            r=3 if len(points) < 60 else 1.5,
            class_='dot',
        )
        for (x, y), step, value in zip(points, steps, values)
    ]
    axes = join(
        [
            *[
                tag('line', x1=_LEFT, x2=_LEFT + _SIZE, y1=y, y2=y, class_='grid')
                for y in (8, 83, 158)
            ],
            _text(_LEFT - 5, 12, f'{most:.2g}', 'end', 'small'),
            _text(_LEFT - 5, 87, f'{most / 2:.2g}', 'end', 'small'),
            _text(_LEFT - 5, 162, '0', 'end', 'small'),
            _text(_LEFT, 174, '0', 'middle', 'small'),
            _text(_LEFT + _SIZE, 174, f'{last:,}', 'end', 'small'),
            _text(_LEFT + _SIZE / 2, 188, 'step', 'middle'),
        ]
    )
    return _svg(title, about, 194, axes, tag('polyline', points=path, class_='line'), *dots)
