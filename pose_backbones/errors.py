"""Exceptions of the package, and suggestions of similar names.

The message of each error contains the offending value, what was expected, and what to do. The
command-line tools print it as one line and exit with status 2. From Python, they are ordinary
exceptions, each of which also derives from a built-in exception class.
"""

import difflib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path


class PoseBackbonesError(Exception):
    """Base class of the errors that the command-line tools print without a traceback."""


class ConfigError(PoseBackbonesError, ValueError):
    """A config, or an option that overrides it, is invalid."""


class DatasetError(PoseBackbonesError, ValueError):
    """The files of a dataset are missing, unreadable or inconsistent."""


class ImageError(DatasetError):
    """A single image cannot be used; other images are not affected."""


class CheckpointError(PoseBackbonesError, RuntimeError):
    """A checkpoint is missing, damaged, unsafe, or does not match the model."""


class ExportError(PoseBackbonesError, RuntimeError):
    """A model cannot be exported, or an exported model is damaged or deviates from PyTorch."""


class WorkDirError(PoseBackbonesError, RuntimeError):
    """An output directory cannot be written, or contains results that would be overwritten."""


class TrainingError(PoseBackbonesError, RuntimeError):
    """The loss, the weights or the predictions of a model are not finite."""


class LaunchError(PoseBackbonesError, RuntimeError):
    """The requested processes, devices or nodes do not match the machine."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none.

    For an assertion without a message, the name is followed by the assertion.
    """
    message = str(error).strip().split('\n')[0]
    if message:
        return message
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, AssertionError) and frames and frames[-1].line:
        place = f'{Path(frames[-1].filename).name}:{frames[-1].lineno}'
        return f'AssertionError in {place}: {frames[-1].line}'
    return type(error).__name__


def shorten(text: str, length: int = 80) -> str:
    """Return a text for a message in one line of at most `length` characters."""
    text = ' '.join(line.strip() for line in text.splitlines())
    return text if len(text) <= length else f'{text[: length - 1]}…'


def shown(value: object, length: int = 80) -> str:
    """Return the representation of a value for a message, see `shorten`."""
    return shorten(repr(value), length)


def shown_name(name: object, length: int = 100) -> str:
    """Return a name from a file for a message, with quotes only if it is not printable.

    See `shorten`.
    """
    text = name if isinstance(name, str) and name.isprintable() else repr(name)
    return shorten(text, length)


def list_names(names: Iterable, length: int = 300) -> str:
    """Return names from a file for a message, separated by commas, see `shorten`."""
    return shorten(', '.join(shown_name(name) for name in names), length)


def closest(name: str, choices: Iterable[str] | Mapping[str, str], count: int = 3) -> str:
    """Suggest names that are similar to `name`, for the end of an error message.

    Args:
        name: The name that was not found.
        choices: The names that exist. For a mapping, the keys are compared and the values are
            shown.
        count: Maximum number of suggestions.

    Returns:
        `"; did you mean A or B?"`, or an empty string if no choice is similar.
    """
    near = similar(name, choices, count)
    return f'; did you mean {" or ".join(near)}?' if near else ''


def similar(name: str, choices: Iterable[str] | Mapping[str, str], count: int = 3) -> list[str]:
    """Return the names that are similar to `name`, the most similar first, see `closest`."""
    if not isinstance(choices, Mapping):
        choices = {choice: choice for choice in choices}
    by_fold = {key.casefold(): text for key, text in choices.items()}
    near = difflib.get_close_matches(name.casefold(), by_fold, count, 0.5)
    return [by_fold[fold] for fold in near]
