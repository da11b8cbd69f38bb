"""Write checkpoints with `torch.save`, and report the operating system's error if that fails."""

import io
from pathlib import Path
from typing import Any

import torch

__all__ = ['write_file']


def write_file(content: Any, path: Path) -> None:
    """Save an object with `torch.save`, without a second copy in memory.

    Args:
        content: The object.
        path: Path of the file. To replace a file atomically, see
            `pose_backbones.utils.files.atomic_write`.

    Raises:
        OSError: If the file cannot be written. The error that PyTorch itself raises does not
            contain the reason.
    """
    file = _Writer(path)
    try:
        with file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        if file.os_error is None:
            raise
        raise file.os_error from error


class _Writer(io.BufferedWriter):
    """File that keeps the first error of the operating system."""

    os_error: OSError | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, 'w'))

    def write(self, content: Any) -> int:
        if self.os_error is not None:  # PyTorch continues to write after an error.
            raise self.os_error
        try:
            return super().write(content)
        except OSError as error:
            self.os_error = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.os_error = self.os_error or error
            raise
