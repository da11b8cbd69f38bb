"""Find the file of a URL: in the cache, in the user's mirror, or by downloading it.

The cache is PyTorch's directory of checkpoints. See docs/weights.md.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha256 as new_sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import torch
from mmengine.logging import print_log

from ..errors import CheckpointError, WorkDirError
from ..utils.files import atomic_write, check_regular_file, is_url, os_error_reason
from ..utils.lock import lock_file
from ..utils.release import HTTP, HUB, Release
from . import hugging_face
from .checksums import expected_digits, mismatch
from .mirrors import HUB_OFFLINE, MIRROR, OFFLINE, is_offline, mirrored, path_in_mirror
from .reading import DamagedCheckpointError, read_file
from .transfer import TransferError, discard, transfer

__all__ = ['Release', 'cached_file', 'find_cached', 'local_file', 'read_url', 'verify_cached']

#: ending of the name of a damaged file, which is kept and not used
_REJECTED = '.rejected'
_HINT = 'set TORCH_HOME to a directory with enough space that you can write to'


class _UnavailableError(CheckpointError):
    """A file is not cached and cannot be downloaded."""


def read_url(
    url: str,
    map_location: Any = None,
    model_dir: str | None = None,
    progress: bool = True,
    release: Release | None = None,
) -> Any:
    """Read the checkpoint of a URL as data. It is downloaded, unless it is cached.

    In a distributed run, each process calls this function; one of them downloads the file while the
    others wait.

    Args:
        url: See `Release`.
        map_location: See `read_file`.
        model_dir: See `cached_file`.
        progress: Whether to show a progress bar.
        release: Further URLs and the SHA-256 of the file. Default: only the URL is known.

    Returns, Raises:
        See `read_file` and `local_file`. A damaged download is renamed in the cache: its name then
        ends with `.rejected`. The message has both values of the SHA-256 if one is expected.
    """
    release = release or Release((url,))
    try:
        file = local_file(release, model_dir, progress)
    except _UnavailableError as error:
        raise CheckpointError(
            f'{error}; or pass the path of the file. To train without initial weights, use '
            '--cfg-options model.backbone.init_cfg=None'
        ) from error
    own_url = next((each for each in release.urls if file == _own_file(each, model_dir)), None)
    name = url if own_url or url.startswith('file://') else f'{url} ({file})'
    status = None
    with suppress(OSError):  # reading it raises an error with its name
        status = file.stat()
    try:
        return read_file(file, map_location, name)
    except DamagedCheckpointError as error:
        if own_url is None or status is None:
            raise  # of torch.hub with the correct hash, in a mirror, or of huggingface_hub
        raise DamagedCheckpointError(
            f'{error}{_reject_cached(file, status, _file_name(own_url), release.sha256)}'
        ) from error


def local_file(
    source: str | PathLike | Release, model_dir: str | None = None, progress: bool = True
) -> Path:
    """Return the path of a file; download it if it is neither on the disk nor in the cache.

    The order is: the cache; the user's mirror (see `mirrors`); the URLs. Downloads are resumed,
    verified and locked, see `transfer`; files in a mirror are verified as well.

    Args:
        source: Path, URL, or `Release`. See there for the URLs.
        model_dir: See `cached_file`. Files of `hf://` are in the cache of huggingface_hub.
        progress: Whether to show a progress bar.

    Returns:
        The path. Files of paths, of `file://` and in a mirror directory are not copied.

    Raises:
        CheckpointError: If there is no such file, or no URL can be downloaded, for example because
            the SHA-256 differs or downloads are switched off. The message has the reason for each
            URL, and where to put the file.
        ConfigError: If a URL or a setting in the environment is invalid.
    """
    if not isinstance(source, Release):
        if not is_url(source):
            path = Path(source).expanduser()
            check_regular_file(path, 'checkpoint', CheckpointError)
            return path
        source = Release((fspath(source),))
    found = find_cached(source, model_dir)
    if found is not None:
        return found
    reasons = []
    for name, get in _places(source, model_dir, progress):
        try:
            file = get()
        except (TransferError, CheckpointError) as error:
            reasons.append(str(error) if name == source.urls[0] else f'{name}: {error}')
        except WorkDirError as error:
            raise CheckpointError(f'{source.urls[0]} cannot be cached: {error}') from error
        else:
            for reason in reasons:
                print_log(f'{source.urls[0]}: {reason}', 'current', logging.WARNING)
            return file
    raise _unavailable(source, model_dir, reasons)


def find_cached(release: Release, model_dir: str | None = None) -> Path | None:
    """Return the path of a file that needs no download, without checking its content.

    Args:
        release: Its URLs.
        model_dir: See `cached_file`.

    Returns:
        The path of the first URL that is cached or is the `file://` URL of an existing file, or
        None.
    """
    for url in release.urls:
        if url.startswith(HTTP):
            file: Path | None = cached_file(url, model_dir)
        elif url.startswith(HUB):
            file = hugging_face.find_cached(url)
        else:
            file = Path(unquote(urlsplit(url).path))
            if len(release.urls) == 1:
                return file  # reading it raises an error with its name
        if file is not None and file.is_file():
            return file
    return None


def verify_cached(release: Release, model_dir: str | None = None) -> tuple[Path, str] | None:
    """Check the content of a cached file, which is never changed.

    Args:
        release: Its URLs and SHA-256.
        model_dir: See `cached_file`.

    Returns:
        The file and what was checked: its SHA-256, the first digits of it in the file name, or, if
        neither is known, whether it is a complete checkpoint. None if the file is not cached.

    Raises:
        CheckpointError: If the file is damaged. The message has both values of the SHA-256.
    """
    file = find_cached(release, model_dir)
    if file is None or not file.is_file():
        return None
    names = [_file_name(url.partition('@')[0]) for url in release.urls]
    name = next((name for name in names if file.name.endswith(name)), names[0])
    problem = mismatch(file, name, release.sha256)
    if problem is not None:
        raise CheckpointError(f'{file} is damaged: {problem}. Remove it to download it again')
    if release.sha256 is not None:
        return file, 'SHA-256'
    digits = expected_digits(name)
    if digits is not None:
        return file, f'the first {len(digits)} digits of its SHA-256'
    read_file(file)
    return file, 'complete, no SHA-256 is known'


def cached_file(url: str, model_dir: str | None = None) -> Path:
    """Return the path to which a URL is or will be downloaded.

    URLs with the same file name are cached in different files. A file without the hash of the URL,
    as `torch.hub` names it, is used if its name contains the first digits of the SHA-256 of its
    content.

    Args:
        url: URL with `http://` or `https://`.
        model_dir: Directory of the downloads. Default: `checkpoints` in `torch.hub.get_dir()`.

    Returns:
        The path.
    """
    own = _own_file(url, model_dir)
    hub_file = own.with_name(_file_name(url))
    if expected_digits(hub_file.name) and hub_file.is_file():
        problem = mismatch(hub_file, hub_file.name)
        if problem is None:
            return hub_file
        if not own.is_file():
            print_log(f'{hub_file} is not the file of {url}, since {problem}', 'current')
    return own


def _own_file(url: str, model_dir: str | None) -> Path:
    folder = Path(model_dir or f'{torch.hub.get_dir()}/checkpoints')
    return folder / f'{new_sha256(url.encode()).hexdigest()[:16]}-{_file_name(url)}'


def _file_name(url: str) -> str:
    return re.sub(r'[^\w.+-]', '_', unquote(urlsplit(url).path).rsplit('/', 1)[-1])[-120:]


def _places(
    release: Release, model_dir: str | None, progress: bool
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Iterate over the places of a file: its name, and a function that returns the path."""
    for url in release.urls:
        if url.startswith('file://'):
            continue
        is_hub = url.startswith(HUB)
        web_url = hugging_face.HubFile.parse(url).web_url if is_hub else url
        for place in mirrored(web_url):
            if isinstance(place, Path):
                yield str(place), partial(_verified, place, release)
            elif not is_offline():
                yield place, partial(_download, place, web_url, release, model_dir, progress)
    for url in release.urls:
        if url.startswith('file://'):
            yield url, partial(_existing, url)
        elif url.startswith(HUB) and not is_offline(is_hub=True):
            yield url, partial(_fetch_from_hub, url, release)
        elif url.startswith(HTTP) and not is_offline():
            yield url, partial(_download, url, url, release, model_dir, progress)


def _existing(url: str) -> Path:
    path = Path(unquote(urlsplit(url).path))
    check_regular_file(path, 'checkpoint', CheckpointError)
    return path


def _verified(file: Path, release: Release) -> Path:
    """Return a file of the user if its SHA-256 is the expected one."""
    problem = mismatch(file, file.name, release.sha256)
    if problem is not None:
        raise CheckpointError(f'{problem}. The file was not changed')
    return file


def _fetch_from_hub(url: str, release: Release) -> Path:
    return _verified(hugging_face.fetch(url), release)


def _download(
    place: str, url: str, release: Release, model_dir: str | None, progress: bool
) -> Path:
    """Download a file into the cache, unless another process does it meanwhile.

    Args:
        place: URL that is downloaded: that of the file or of its copy in a mirror.
        url: URL of the file, which determines the path in the cache.
        release, model_dir, progress: See `local_file`.
    """
    file = _own_file(url, model_dir)
    with lock_file(file.with_name(f'{file.name}.lock'), _HINT) as is_locked:
        if file.is_file():
            return file
        # Without a lock, several processes may download the file.
        draft = file.with_name(f'{file.name}{"" if is_locked else f".{os.getpid()}"}.part')
        name = _file_name(url)
        is_verified = expected_digits(name, release.sha256) is not None
        try:
            resumed = transfer(place, draft, progress, is_verified)
            problem = mismatch(draft, name, release.sha256)
            if problem is not None and resumed:  # parts of two versions, or of a damaged draft
                kept = _reject(draft, file)
                print_log(
                    f'{place}: {problem}. The resumed download is not used, and kept as {kept}; it '
                    'starts again',
                    'current',
                    logging.WARNING,
                )
                discard(draft)  # its description
                transfer(place, draft, progress, is_verified)
                problem = mismatch(draft, name, release.sha256)
            # The name of a published file can be wrong.
            if problem is not None and release.sha256 is None and _is_complete(draft):
                print_log(f'{place}: {problem}', 'current', logging.WARNING)
            elif problem is not None:
                kept = _reject(draft, file)
                discard(draft)  # its description
                raise TransferError(f'{problem}. It is not used, and kept as {kept}')
        except WorkDirError as error:
            discard(draft)  # a full disk is not left full
            raise WorkDirError(f'{error}. Free some space, or {_HINT}') from error
        with atomic_write(file, draft=draft):
            pass
        discard(draft)  # its description
        return file


def _reject_cached(file: Path, status: os.stat_result, name: str, sha256: str | None) -> str:
    """Rename a damaged file of the cache, and return what is to be added to the error.

    Args:
        file: Its path, which can be that of another file by now.
        status: Status of the damaged file.
        name: See `mismatch`.
        sha256: See `mismatch`.
    """
    try:
        with lock_file(file.with_name(f'{file.name}.lock'), _HINT):
            if not os.path.samestat(status, file.stat()):
                return f'. Another process has replaced the downloaded file {file}: start again'
            problem = mismatch(file, name, sha256)
            kept = _reject(file, file)
    except FileNotFoundError:
        return f'. Another process has renamed the downloaded file {file}'
    except (OSError, WorkDirError) as error:
        reason = os_error_reason(error) if isinstance(error, OSError) else error
        return f'. The downloaded file {file} cannot be renamed: {reason}. Remove it'
    values = f'. I{problem[1:]}' if problem else ''
    return f'{values}. The downloaded file is not used again, and kept as {kept}'


def _reject(draft: Path, file: Path) -> Path:
    """Rename a damaged file, and return its new path. No other file is replaced.

    Args:
        draft: The damaged file.
        file: Path of the file in the cache, which determines the name.
    """
    kept, number = file.with_name(f'{file.name}{_REJECTED}'), 1
    while os.path.lexists(kept):
        number += 1
        kept = file.with_name(f'{file.name}.{number}{_REJECTED}')
    draft.rename(kept)
    return kept


def _is_complete(file: Path) -> bool:
    try:
        read_file(file)
    except CheckpointError:
        return False
    return True


def _unavailable(release: Release, model_dir: str | None, reasons: list[str]) -> CheckpointError:
    """Return the error for a file that cannot be downloaded, with what the user can do."""
    url = next((url for url in release.urls if not url.startswith('file://')), None)
    if url is None:
        return CheckpointError('; '.join(reasons))
    is_hub = url.startswith(HUB)
    web_url = hugging_face.HubFile.parse(url).web_url if is_hub else url
    path = path_in_mirror(web_url)
    advice = f'put it into a directory that {MIRROR} names, as {path}'
    if not is_hub:
        advice = f'save it as {_own_file(url, model_dir)}, or {advice}'
    if is_offline(is_hub):
        setting = OFFLINE if is_offline() else HUB_OFFLINE
        reason = ''.join(f'; {text}' for text in reasons)
        return _UnavailableError(
            f'checkpoint not cached: {url}, and {setting} is set{reason}. Download it '
            f'on another machine and {advice}'
        )
    return _UnavailableError(
        f'checkpoint out of reach: {url} ({"; ".join(reasons)}). Use another URL; or, without a '
        f'network connection, download it on another machine and {advice}'
    )
