"""Names of files, and files that are there as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_url(name) -> bool:
    """Whether something is named by an address, and not by a path."""
    return isinstance(name, str) and '://' in name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Have a file written beside the one that it replaces when it is whole.

    Args:
        path: The file.

    Yields:
        Where to write. After an error, what was written is gone, and `path`
        is as it was.
    """
    draft = path.with_name(f'{path.name}.part')
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
