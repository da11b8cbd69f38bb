"""Numbers as text for the report."""

import math

NOT_AVAILABLE = 'n/a'


def number(value: float, digits: int = 3, sign: str = '-') -> str:
    """Format a number with fixed decimals, NaN as `n/a`; `sign` as in a format string."""
    return NOT_AVAILABLE if math.isnan(value) else f'{value:{sign}.{digits}f}'


def percent(part: float, whole: float) -> str:
    """Format a share as a percentage with one decimal; `n/a` of nothing."""
    return f'{100 * part / whole:.1f}%' if whole else NOT_AVAILABLE


def count(value: int, singular: str, plural: str | None = None) -> str:
    """Format a count with its noun: `1 person`, `1,234 people`."""
    return f'{value:,} {singular if value == 1 else plural or singular + "s"}'
