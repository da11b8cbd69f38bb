"""Download checkpoints from URLs into PyTorch's cache."""

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log

from .reading import DamagedCheckpointError, read_file

__all__ = ['cached_file', 'read_url']

#: file name with the first digits of the SHA-256 of the content, as OpenMMLab and PyTorch
#: publish them: NAME-d930a429_20230724.pth, NAME-0676ba61.pth
_WITH_HASH = re.compile(r'.+-([0-9a-f]{8,64})(?:_\d{8})?\.\w+')


def read_url(
    url: str, map_location: Any = None, model_dir: str | None = None, progress: bool = True
) -> Any:
    """Download a checkpoint, unless it is cached, and read it as data.

    Args:
        url: `http://`, `https://`, or `file://`, which is read in place.
        map_location: See `read_file`.
        model_dir: Directory of the downloads. Default: `checkpoints` in `torch.hub.get_dir()`.
        progress: Whether to show a progress bar.

    Returns, Raises:
        See `read_file`. Raises `OSError` if the URL cannot be reached. A damaged download is
        removed.
    """
    if url.startswith('file://'):
        return read_file(unquote(urlsplit(url).path), map_location, url)

    def load() -> Any:
        file = cached_file(url, model_dir)
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=progress)
        try:
            return read_file(file, map_location, url)
        except DamagedCheckpointError as error:
            if not file.name.startswith(_digest(url)):
                raise  # a file of torch.hub with the correct hash, which is kept
            file.unlink(missing_ok=True)
            raise DamagedCheckpointError(
                f'{error}. The downloaded file, {file}, was removed'
            ) from error

    if get_world_size() == 1:
        return load()
    # The first process downloads the file while the others wait.
    checkpoint = load() if get_rank() == 0 else None
    torch.distributed.barrier()
    return load() if checkpoint is None else checkpoint


def cached_file(url: str, model_dir: str | None = None) -> Path:
    """Return the path to which a URL is or will be downloaded.

    URLs with the same file name are cached in different files. A file without the hash of the URL,
    as `torch.hub` names it, is used if its name contains the first digits of the SHA-256 of its
    content.

    Args:
        url: URL of a checkpoint.
        model_dir: See `read_url`.

    Returns:
        The path.
    """
    folder = Path(model_dir or f'{torch.hub.get_dir()}/checkpoints')
    name = re.sub(r'[^\w.+-]', '_', unquote(urlsplit(url).path).rsplit('/', 1)[-1])[-120:]
    hub_file = folder / name
    match = _WITH_HASH.fullmatch(name)
    if match and not match[1].isdigit() and hub_file.is_file():
        if _sha256(hub_file).startswith(match[1]):
            return hub_file
        print_log(
            f'{hub_file} is not the file of {url}, since its SHA-256 does not start with '
            f'{match[1]}: downloading the file again',
            'current',
        )
    return folder / f'{_digest(url)}-{name}'


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _sha256(file: Path) -> str:
    with file.open('rb') as opened:
        return (
            hashlib.file_digest(opened, 'sha256').hexdigest()
            if hasattr(hashlib, 'file_digest')
            else hashlib.sha256(opened.read()).hexdigest()
        )
