"""Errors that a user meets, and how close names are suggested.

Each carries one message: the value that was given, what was expected and
what to do. The tools print it as one line and end with status 2; from Python
they are ordinary exceptions, with the built-in class as a second base.
"""

import difflib
from collections.abc import Iterable, Mapping


class PoseBackbonesError(Exception):
    """Base of the errors that the tools show without a traceback."""


class ConfigError(PoseBackbonesError, ValueError):
    """A config, or an option given beside it, cannot work."""


class DatasetError(PoseBackbonesError, ValueError):
    """Files of a data set are missing, unreadable or do not fit."""


class ImageError(DatasetError):
    """One image cannot be used, whatever is the matter with the others."""


class CheckpointError(PoseBackbonesError, RuntimeError):
    """A checkpoint is missing, damaged, unsafe or of another model."""


class WorkDirError(PoseBackbonesError, RuntimeError):
    """A folder holds results that would be lost, or cannot be written."""


class TrainingError(PoseBackbonesError, RuntimeError):
    """Training cannot go on: its loss or weights are no longer finite."""


class LaunchError(PoseBackbonesError, RuntimeError):
    """Processes, devices or nodes do not fit the machine."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or else its class."""
    return str(error).strip().split('\n')[0] or type(error).__name__


def closest(name: str, choices: Iterable[str] | Mapping[str, str], count: int = 3) -> str:
    """Say which of `choices` are like `name`.

    Args:
        name: What was asked for.
        choices: What there is; of a mapping, the keys are compared and the
            values shown.
        count: How many to name at most.

    Returns:
        `"; did you mean A or B?"`, or an empty string where nothing is near.
    """
    if not isinstance(choices, Mapping):
        choices = {choice: choice for choice in choices}
    by_fold = {key.casefold(): shown for key, shown in choices.items()}
    near = difflib.get_close_matches(name.casefold(), by_fold, count, 0.5)
    if not near:
        return ''
    return f'; did you mean {" or ".join(by_fold[fold] for fold in near)}?'
