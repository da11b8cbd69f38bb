"""Check entries of a checkpoint, with error messages that contain the path and the entry."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from ..errors import CheckpointError, list_names, shown


def load_from_hint(source: str) -> str:
    """Return advice for a checkpoint from which a run cannot be resumed."""
    return f'To start a new training from its weights: --load-from {source}'


def list_keys(keys: Iterable) -> str:
    """Return the keys of a dict in one line of limited length."""
    return list_names(keys) or 'nothing'


def malformed_error(source: str, name: str, value, expected: str) -> CheckpointError:
    """Return the error for a malformed entry of a checkpoint.

    Args:
        source: Path of the checkpoint.
        name: Name of the entry.
        value: The entry.
        expected: What is expected, for the message.
    """
    text = f'a tensor {tuple(value.shape)}' if torch.is_tensor(value) else shown(value, 60)
    return CheckpointError(
        f'{source} is damaged or not a checkpoint of MMEngine: {name} is {text}; expected '
        f'{expected}'
    )


def mismatch_error(source: str, text: str) -> CheckpointError:
    """Return the error for a checkpoint of another model, optimizer or schedule.

    Args:
        source: Path of the checkpoint.
        text: The difference, for the message.
    """
    return CheckpointError(f'{source} does not match the config: {text}. {load_from_hint(source)}')


def check_entry_type(value, kind: type | tuple, source: str, name: str) -> None:
    """Check the class of an entry.

    Args:
        value: The entry.
        kind: The expected class or classes.
        source: Path of the checkpoint, for the message.
        name: Name of the entry.

    Raises:
        CheckpointError: If it has another class.
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise malformed_error(source, name, value, ' or '.join(class_.__name__ for class_ in kinds))


def check_count(value, source: str, name: str, end: int = 2**63) -> None:
    """Check that an entry is an integer of at least 0.

    Args:
        value: The entry.
        source: Path of the checkpoint, for the message.
        name: Name of the entry.
        end: The integer must be less than this.

    Raises:
        CheckpointError: If it is something else.
    """
    if type(value) is not int or not 0 <= value < end:
        raise malformed_error(source, name, value, 'an integer of at least 0')


def check_keys(saved, expected, source: str, name: str) -> None:
    """Check that a dict has the expected keys.

    Args:
        saved: The dict, from a checkpoint.
        expected: The keys.
        source: Path of the checkpoint, for the message.
        name: Name of the entry.

    Raises:
        CheckpointError: If it is no dict or has other keys.
    """
    check_entry_type(saved, dict, source, name)
    expected = list(expected)
    if set(saved) != set(expected):
        raise CheckpointError(
            f'{source} does not match the config: {name} has {list_keys(saved)}; the config has '
            f'{list_keys(expected)}'
        )


def pair_entries(
    saved, current_items: Sequence, source: str, name: str, what: str
) -> Iterator[tuple[str, dict, object]]:
    """Iterate over the dicts in a list of a checkpoint and the corresponding objects of the run.

    Args:
        saved: The list, from a checkpoint.
        current_items: The objects of the run.
        source: Path of the checkpoint, for error messages.
        name: Name of the list.
        what: Description of its items, in the plural.

    Yields:
        Name of an item, the dict of the checkpoint, and the object of the run.

    Raises:
        CheckpointError: If the list has another length or class, or an item is no dict.
    """
    check_entry_type(saved, list, source, name)
    if len(saved) != len(current_items):
        raise mismatch_error(
            source,
            f'it was trained with {len(saved)} {what}, but the config has {len(current_items)}',
        )
    for number, (item, current) in enumerate(zip(saved, current_items)):
        place = f'{name}[{number}]'
        check_entry_type(item, dict, source, place)
        yield place, item, current


def raise_not_plain(source: str, name: str, value) -> None:
    """Raise a `CheckpointError` for an entry that is not plain data, see `malformed_error`."""
    raise malformed_error(source, name, value, 'plain data')


def is_number(value) -> bool:
    """Return whether a value is an int, float or NumPy number, but not a bool."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def is_scalar(value) -> bool:
    """Return whether a value is a number or a tensor with one element."""
    return is_number(value) or (torch.is_tensor(value) and value.numel() == 1)


def values_equal(first, second) -> bool:
    """Return whether two values are equal; arrays, lists and tuples are compared by their items."""
    first, second = to_lists(first), to_lists(second)
    if isinstance(first, dict) and isinstance(second, dict):
        return set(first) == set(second) and all(
            values_equal(first[key], second[key]) for key in first
        )
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(values_equal, first, second))
    return bool(first == second)


def to_lists(value):
    """Convert an array or tensor to a list."""
    return value.tolist() if isinstance(value, (np.ndarray, torch.Tensor)) else value
