"""`torch.save`, with what the system says of a full disk."""

import io
from pathlib import Path
from typing import Any

import torch

__all__ = ['write_file']


def write_file(content: Any, path: Path) -> None:
    """Save an object with `torch.save`, without a second copy in memory.

    Args:
        content: What is saved.
        path: Of the file; write beside the final name and rename, see
            `pose_backbones.utils.files.atomic_write`.

    Raises:
        OSError: If the system refuses to write; PyTorch's own error, which
            follows, does not say why.
    """
    file = _Writer(path)
    try:
        with file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        if file.refused is None:
            raise
        raise file.refused from error


class _Writer(io.BufferedWriter):
    """A file that remembers what the system has refused to write."""

    refused: OSError | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, 'w'))

    def write(self, content) -> int:
        if self.refused is not None:  # PyTorch goes on after an error
            raise self.refused
        try:
            return super().write(content)
        except OSError as error:
            self.refused = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.refused = self.refused or error
            raise
