"""Pieces of HTML. All text passes through `text`, which escapes it."""

import math
from collections.abc import Iterable, Sequence
from html import escape

EMPTY = 'n/a'  # where there is no value
SOFT = '\u00ad'  # where a word may be broken


class Html(str):
    """What is markup already."""

    __slots__ = ()


def text(value) -> Html:
    """A value as it may stand in HTML; `Html` stays as it is."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *content, **attributes) -> Html:
    """An element.

    Args:
        name: Of it.
        content: Texts and elements.
        attributes: Their names with `_` for `-`; a last `_` is left out
            (`class_`); None leaves the attribute out.

    Returns:
        The element.
    """
    given = ''.join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = ''.join(map(text, content))
    return Html(f'<{name}{given}>{inside}</{name}>')


def join(parts: Iterable) -> Html:
    """Elements one after the other."""
    return Html('\n'.join(map(text, parts)))


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence], name: str | None = None
) -> Html:
    """A table; the first cell of a row is its header.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells, as texts.
        name: Its id.

    Returns:
        The table in a frame that scrolls if it has to.
    """
    body = [
        tag('tr', tag('th', row[0], scope='row'), *[tag('td', cell) for cell in row[1:]])
        for row in rows
    ]
    return tag(
        'div',
        tag(
            'table',
            tag('caption', caption),
            tag('thead', tag('tr', *[tag('th', cell, scope='col') for cell in head])),
            tag('tbody', join(body)),
            id=name,
        ),
        class_='scroll',
        tabindex='0',
        role='region',
        aria_label=caption,
    )


def details(summary: str, content: Html) -> Html:
    """What a reader opens."""
    return tag('details', tag('summary', summary), content)


def share(part: float, whole: float) -> str:
    """A percentage, of one decimal."""
    return f'{100 * part / whole:.1f}%' if whole else EMPTY


def figure(value: float, digits: int = 3) -> str:
    """A number; `EMPTY` for NaN."""
    return EMPTY if math.isnan(value) else f'{value:.{digits}f}'


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 person`, `1,234 people`."""
    return f'{number:,} {one if number == 1 else many or one + "s"}'


def plot(chart: Html, caption: str) -> Html:
    """A chart with what it says."""
    return tag('figure', chart, tag('figcaption', caption), class_='plot')


def columns(*parts: Html) -> Html:
    """Side by side where there is room."""
    return tag('div', *[tag('div', part) for part in parts], class_='two')
