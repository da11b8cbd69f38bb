"""SVG charts for the report page.

Every mark of a chart has a `<title>` with its numbers, which browsers show as a tooltip without a
script. Colors are CSS classes of the page, so that charts follow its dark mode.

Libraries that were considered and do not fit a page with the Content-Security-Policy
`default-src 'none'`: altair and plotly draw with JavaScript; pygal needs a script for its
tooltips; matplotlib writes SVG without tooltips and with fixed colors.
"""

import math
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from ..errors import shorten
from .formatting import number

# Lengths are in units of the view box. A chart is as wide as its column, so that one unit is
# about one pixel.
WIDTH = 360
#: Bar charts: left and right end of the bars, and height of a row.
_BAR_LEFT, _BAR_RIGHT, _ROW = 112, 312, 22
_LABEL_LENGTH = 17  # characters beside a bar
#: Plots with two axes: left and top end, and width of the plot area.
_LEFT, _TOP, _SIZE = 44, 8, 290
_HEIGHT = _SIZE * 0.72
_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)


class _Svg:
    """An SVG image to which shapes are added.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        height: Height of the chart; its width is `WIDTH`.
    """

    def __init__(self, title: str, description: str, height: float):
        self._root = ElementTree.Element('svg')
        self._root.attrib.update(
            {
                'viewBox': f'0 0 {WIDTH} {height:g}',
                'role': 'img',
                'aria-label': f'{title}. {description}',
            }
        )
        ElementTree.SubElement(self._root, 'title').text = title
        ElementTree.SubElement(self._root, 'desc').text = description

    def _add(self, tag: str, css: str | None, **attributes: float | str) -> ElementTree.Element:
        """Add an element; an underscore in the name of an attribute stands for a hyphen."""
        element = ElementTree.SubElement(self._root, tag)
        if css is not None:
            element.set('class', css)
        for name, value in attributes.items():
            text = value if isinstance(value, str) else _coordinate(value)
            element.set(name.replace('_', '-'), text)
        return element

    def _tooltip(self, element: ElementTree.Element, tooltip: str) -> None:
        ElementTree.SubElement(element, 'title').text = tooltip

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = 'start',
        css: str | None = None,
        **attributes: str,
    ) -> None:
        """Add a line of text; `anchor` is the part of it at `x`: start, middle or end."""
        self._add('text', css, x=x, y=y, text_anchor=anchor, **attributes).text = text

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """Add a straight line."""
        self._add('line', css, x1=x1, y1=y1, x2=x2, y2=y2)

    def rect(
        self, x: float, y: float, width: float, height: float, tooltip: str, css: str, **more: str
    ) -> None:
        """Add a rectangle."""
        width = max(width, 0)
        self._tooltip(self._add('rect', css, x=x, y=y, width=width, height=height, **more), tooltip)

    def dot(self, x: float, y: float, radius: float, tooltip: str) -> None:
        """Add a filled circle."""
        self._tooltip(self._add('circle', 'dot', cx=x, cy=y, r=radius), tooltip)

    def polyline(self, points: Sequence[tuple[float, float]], css: str, tooltip: str = '') -> None:
        """Add a line through several points."""
        path = ' '.join(f'{_coordinate(x)},{_coordinate(y)}' for x, y in points)
        element = self._add('polyline', css, points=path)
        if tooltip:
            self._tooltip(element, tooltip)

    def axes(self, x_label: str, y_label: str) -> None:
        """Add a grid and axes from 0 to 1, with their labels."""
        self.text(_LEFT + _SIZE / 2, _TOP + _HEIGHT + 32, x_label, 'middle')
        middle = _TOP + _HEIGHT / 2
        self.text(12, middle, y_label, 'middle', transform=f'rotate(-90 12 {middle:.1f})')
        for tick in _TICKS:
            x, y = _point(tick, tick)
            self.line(_LEFT, y, _LEFT + _SIZE, y, 'grid')
            self.text(_LEFT - 5, y + 4, f'{tick:g}', 'end', 'small')
            self.text(x, _TOP + _HEIGHT + 15, f'{tick:g}', 'middle', 'small')

    def markup(self) -> Markup:
        """Return the `<svg>` element; all text in it is escaped."""
        return Markup(ElementTree.tostring(self._root, encoding='unicode'))


def _coordinate(value: float) -> str:
    return f'{value:.1f}'.removesuffix('.0')


def _point(x: float, y: float) -> tuple[float, float]:
    """Return where values between 0 and 1 are in a plot with two axes."""
    return _LEFT + _SIZE * x, _TOP + _HEIGHT * (1 - y)


def _plot(title: str, description: str, x_label: str, y_label: str) -> _Svg:
    """Return a plot with axes from 0 to 1."""
    svg = _Svg(title, description, _TOP + _HEIGHT + 40)
    svg.axes(x_label, y_label)
    return svg


def bars(
    title: str,
    description: str,
    rows: Sequence[tuple[str, float, str]],
    maximum: float = 1,
    reference: int | None = None,
) -> Markup:
    """Draw horizontal bars.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        rows: Name, value (a NaN has no bar) and further text for the tooltip of each bar.
        maximum: Value of a bar of the full length.
        reference: Index of a row whose value is marked by a line through all rows.
    """
    scale = (_BAR_RIGHT - _BAR_LEFT) / (maximum or 1)
    height = _ROW * len(rows) + 6
    svg = _Svg(title, description, height)
    for index, (name, value, more) in enumerate(rows):
        y = 3 + _ROW * index
        length = 0 if math.isnan(value) else scale * value
        svg.text(_BAR_LEFT - 6, y + 15, shorten(name, _LABEL_LENGTH), 'end')
        svg.rect(_BAR_LEFT, y + 3, length, _ROW - 6, f'{name}: {number(value)}. {more}', 'bar')
        svg.text(_BAR_LEFT + length + 5, y + 15, number(value))
    if reference is not None and not math.isnan(rows[reference][1]):
        x = _BAR_LEFT + scale * rows[reference][1]
        svg.line(x, 0, x, height, 'mark')
    return svg.markup()


def stacked_bars(
    title: str, description: str, rows: Sequence[tuple[str, Sequence[int]]], kinds: Sequence[str]
) -> Markup:
    """Draw horizontal bars of 100 %, split into parts.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        rows: Name of each bar, and a count for each of `kinds`; a bar without counts is empty.
        kinds: Names of the parts. The CSS class of a part is `k-` and its name.
    """
    svg = _Svg(title, description, _ROW * len(rows) + 6)
    for index, (name, values) in enumerate(rows):
        x, y, total = _BAR_LEFT, 3 + _ROW * index, sum(values)
        svg.text(_BAR_LEFT - 6, y + 15, shorten(name, _LABEL_LENGTH), 'end')
        for kind, value in zip(kinds, values):
            if not value:
                continue
            percent = 100 * value / total
            length = (WIDTH - 4 - _BAR_LEFT) * value / total
            tooltip = f'{name}, {kind}: {value:,} of {total:,} ({percent:.1f}%)'
            svg.rect(x, y + 2, length, _ROW - 4, tooltip, f'k-{kind.replace(" ", "-")}')
            if length > 34:
                svg.text(x + length / 2, y + 15, f'{percent:.0f}%', 'middle', 'on')
            x += length
    return svg.markup()


def reliability(
    title: str, description: str, scores: np.ndarray, oks: np.ndarray, counts: np.ndarray
) -> Markup:
    """Draw the mean OKS of each bin of scores, and the line where both are equal.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        scores: (B,), mean score of each bin.
        oks: (B,), mean OKS of each bin.
        counts: (B,), number of detections of each bin; empty bins have no bar.
    """
    svg = _plot(title, description, 'score', 'mean OKS')
    width = _SIZE / len(counts)
    for index, (score, value, n) in enumerate(zip(scores, oks, counts)):
        if n:
            x, y = _point(index / len(counts), value)
            tooltip = f'{n:,} detections with a mean score of {score:.2f}: mean OKS {value:.2f}'
            svg.rect(x + 1, y, width - 2, _HEIGHT * value, tooltip, 'bar')
    svg.line(*_point(0, 0), *_point(1, 1), 'mark')
    return svg.markup()


def density(title: str, description: str, counts: np.ndarray) -> Markup:
    """Draw how many detections there are by score and OKS.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        counts: (B, B) numbers of detections by score (rows) and OKS (columns).
    """
    svg = _plot(title, description, 'score', 'OKS')
    bins = len(counts)
    for i, j in zip(*np.nonzero(counts)):
        opacity = 0.12 + 0.88 * math.sqrt(counts[i, j] / counts.max())
        x, y = _point(i / bins, (j + 1) / bins)
        svg.rect(
            x,
            y,
            _SIZE / bins,
            _HEIGHT / bins,
            f'{counts[i, j]:,} detections with scores from {i / bins:.1f} to {(i + 1) / bins:.1f} '
            f'and OKS from {j / bins:.1f} to {(j + 1) / bins:.1f}',
            'bar',
            fill_opacity=f'{opacity:.2f}',
        )
    return svg.markup()


def precision_recall(
    title: str, description: str, recalls: np.ndarray, lines: Sequence[tuple[str, np.ndarray]]
) -> Markup:
    """Draw precision-recall curves.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        recalls: (R,).
        lines: Name and (R,) precisions of each curve, which is left out if they are NaN. The
            last word of the name is its label.
    """
    svg = _plot(title, description, 'recall', 'precision')
    for index, (name, precisions) in enumerate(lines):
        if np.isnan(precisions).any():
            continue
        points = [_point(x, y) for x, y in zip(recalls, precisions)]
        svg.polyline(points, f'line dash-{index}', name)
        for (x, y), recall, value in list(zip(points, recalls, precisions))[::10]:
            svg.dot(x, y, 2.5, f'{name}: precision {value:.3f} at a recall of {recall:.1f}')
        end = max((x for (x, _), value in zip(points, precisions) if value > 0), default=0)
        x, y = max(end - 5, _LEFT + 28), _TOP + _HEIGHT * (0.6 + 0.1 * index)
        svg.text(x, y, name.split()[-1], 'end', 'small')
    return svg.markup()


def training_curve(
    title: str, description: str, steps: Sequence[float], values: Sequence[float]
) -> Markup:
    """Draw a value over the steps of a training run, from 0 to its maximum.

    Args:
        title: Title of the chart.
        description: What the chart shows, for screen readers.
        steps: Step of each point.
        values: Value of each point, finite.
    """
    top, bottom = 8, 158
    maximum, last = max(*values, 1e-12), max(*steps, 1)
    svg = _Svg(title, description, 194)
    for share, label in ((1, f'{maximum:.2g}'), (0.5, f'{maximum / 2:.2g}'), (0, '0')):
        y = bottom - (bottom - top) * share
        svg.line(_LEFT, y, _LEFT + _SIZE, y, 'grid')
        svg.text(_LEFT - 5, y + 4, label, 'end', 'small')
    svg.text(_LEFT, bottom + 16, '0', 'middle', 'small')
    svg.text(_LEFT + _SIZE, bottom + 16, f'{last:,}', 'end', 'small')
    svg.text(_LEFT + _SIZE / 2, bottom + 30, 'step', 'middle')
    points = [
        (_LEFT + _SIZE * step / last, bottom - (bottom - top) * value / maximum)
        for step, value in zip(steps, values)
    ]
    svg.polyline(points, 'line')
    for (x, y), step, value in zip(points, steps, values):
        svg.dot(x, y, 3 if len(points) < 60 else 1.5, f'step {step:,}: {value:.3g}')
    return svg.markup()
