"""Check argument types and ranges, with the name and the value in the error message."""

import math
import os
import sys
from collections.abc import Mapping, Sequence

from ..errors import ConfigError


def check_flag(name: str, value: bool) -> None:
    """Check that an argument is a bool.

    Args:
        name: Name of the argument, for the error message.
        value: Its value.

    Raises:
        TypeError: If the value is not True or False.
    """
    if not isinstance(value, bool):
        raise TypeError(f'{name} is {value!r}: expected True or False')


def check_positive_int(name: str, value: int) -> None:
    """Check that an argument is an integer of at least 1, see `check_int`."""
    check_int(name, value, 1)


def check_int(name: str, value: int, least: int) -> None:
    """Check that an argument is an integer of at least `least`.

    Args:
        name, value: See `check_flag`.
        least: Minimum value.

    Raises:
        TypeError: If the value is not an integer, such as `7.0` or `True`.
        ValueError: If it is less than `least`.
    """
    message = f'{name} is {value!r}: expected an integer of at least {least}'
    if not _is_int(value):
        raise TypeError(message)
    if value < least:
        raise ValueError(message)


def check_ints(
    name: str, values: Sequence[int], count: int, least: int = 1, each: str = 'one per stage'
) -> None:
    """Check that an argument is a sequence of a given number of integers.

    Args:
        name, values: See `check_flag`.
        count: Expected number of integers.
        least: Minimum value of each.
        each: What each integer applies to, for the error message.

    Raises:
        TypeError: If the value is not a sequence of integers.
        ValueError: If the number of integers differs, or one is less than `least`.
    """
    message = f'{name} is {values!r}: expected {count} integers of at least {least}, {each}'
    if not _is_sequence(values) or not all(map(_is_int, values)):
        raise TypeError(message)
    if len(values) != count or min(values) < least:
        raise ValueError(message)


def check_stages(arch: Mapping, count: int) -> None:
    """Check that an architecture has a width and a depth for each stage.

    Args:
        arch: Mapping with the keys `embed_dims` and `depths`.
        count: Number of stages.

    Raises:
        TypeError, ValueError: See `check_ints`.
    """
    for key in ('embed_dims', 'depths'):
        check_ints(f'arch[{key!r}]', arch[key], count)


def check_number(name: str, value: float, expected: str = 'a number') -> None:
    """Check that an argument is a finite number.

    Args:
        name, value: See `check_flag`.
        expected: The expected value, for the error message.

    Raises:
        TypeError: If the value is not a number; a bool is not a number.
        ValueError: If it is infinite or NaN.
    """
    message = f'{name} is {value!r}: expected {expected}'
    if not is_number(value):
        raise TypeError(message)
    if not math.isfinite(value):
        raise ValueError(message)


def check_positive_numbers(
    name: str, values: Sequence[float], count: int, each: str = 'one per stage'
) -> None:
    """Check that an argument is a sequence of a given number of positive, finite numbers.

    Args:
        name, values, count, each: See `check_ints`.

    Raises:
        TypeError: If the value is not a sequence of numbers.
        ValueError: If the number of values differs, or one is not positive and finite.
    """
    message = f'{name} is {values!r}: expected {count} positive numbers, {each}'
    if not _is_sequence(values) or not all(map(is_number, values)):
        raise TypeError(message)
    if len(values) != count or not all(0 < value < math.inf for value in values):
        raise ValueError(message)


def check_rate(name: str, value: float, expected: str = 'a probability, 0 <= rate < 1') -> None:
    """Check that an argument is a probability below 1.

    Args:
        name, value, expected: See `check_number`.

    Raises:
        TypeError: If the value is not a number.
        ValueError: If it is negative, or 1 or more.
    """
    check_number(name, value, expected)
    if not 0 <= value < 1:
        raise ValueError(f'{name} is {value!r}: expected {expected}')


def is_number(value) -> bool:
    """Return whether a value is an int or a float, but not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_int(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sequence(value) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def check_display(option: str, instead: str) -> None:
    """Check that windows can be shown; without a display, OpenCV ends the process.

    Args:
        option: Name of the option that shows windows, for the message.
        instead: Option that saves the images.

    Raises:
        ConfigError: If the process has no display, as on a server.
    """
    names = ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM')
    if sys.platform == 'linux' and not any(os.environ.get(name) for name in names):
        raise ConfigError(f'{option}: there is no display (DISPLAY is not set): use {instead}')
