"""Checks of arguments: the name, the value, and what was expected."""

import math
from collections.abc import Mapping, Sequence


def check_flag(name: str, value: bool) -> None:
    """Refuse what is not True or False.

    Args:
        name: Of the argument, for the message.
        value: What was given.

    Raises:
        TypeError: If it is no bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f'{name} is {value!r}: expected True or False')


def check_positive_int(name: str, value: int) -> None:
    """Refuse what is not a whole number of at least 1.

    Args:
        name, value: See `check_flag`.

    Raises:
        TypeError: If it is no whole number; `7.0` and `True` are none.
        ValueError: If it is less than 1.
    """
    message = f'{name} is {value!r}: expected a whole number of at least 1'
    if not _is_int(value):
        raise TypeError(message)
    if value < 1:
        raise ValueError(message)


def check_ints(
    name: str, values: Sequence[int], count: int, least: int = 1, each: str = 'one a stage'
) -> None:
    """Refuse what is not so many whole numbers.

    Args:
        name, values: See `check_flag`.
        count: How many.
        least: The least that each may be.
        each: What each is for.

    Raises:
        TypeError: If it is no sequence, or not of whole numbers.
        ValueError: If there are more or fewer, or one is less.
    """
    message = f'{name} is {values!r}: expected {count} whole numbers of at least {least}, {each}'
    if not _is_sequence(values) or not all(map(_is_int, values)):
        raise TypeError(message)
    if len(values) != count or min(values) < least:
        raise ValueError(message)


def check_stages(arch: Mapping, count: int) -> None:
    """Refuse an architecture without a width and a depth for each stage.

    Args:
        arch: With `embed_dims` and `depths`.
        count: How many stages.

    Raises:
        TypeError, ValueError: As `check_ints`.
    """
    for key in ('embed_dims', 'depths'):
        check_ints(f'arch[{key!r}]', arch[key], count)


def check_number(name: str, value: float, expected: str = 'a number') -> None:
    """Refuse what is not a finite number.

    Args:
        name, value: See `check_flag`.
        expected: What was, for the message.

    Raises:
        TypeError: If it is no number; `True` is none.
        ValueError: If it is infinite or not a number (nan).
    """
    message = f'{name} is {value!r}: expected {expected}'
    if not is_number(value):
        raise TypeError(message)
    if not math.isfinite(value):
        raise ValueError(message)


def check_positive_numbers(
    name: str, values: Sequence[float], count: int, each: str = 'one a stage'
) -> None:
    """Refuse what is not so many positive, finite numbers.

    Args:
        name, values, count, each: See `check_ints`.

    Raises:
        TypeError: If it is no sequence, or not of numbers.
        ValueError: If there are more or fewer, or one is not positive.
    """
    message = f'{name} is {values!r}: expected {count} positive numbers, {each}'
    if not _is_sequence(values) or not all(map(is_number, values)):
        raise TypeError(message)
    if len(values) != count or not all(0 < value < math.inf for value in values):
        raise ValueError(message)


def check_rate(name: str, value: float, expected: str = 'a probability, 0 <= rate < 1') -> None:
    """Refuse what is not a probability below 1.

    Args:
        name, value, expected: See `check_number`.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is negative, or 1 or more.
    """
    check_number(name, value, expected)
    if not 0 <= value < 1:
        raise ValueError(f'{name} is {value!r}: expected {expected}')


def is_number(value) -> bool:
    """Whether a value is an int or a float; a bool is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_int(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sequence(value) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
