"""Transfer a file over HTTP: resume it, retry dropped connections, verify its length.

`urllib` is used, with the proxies of the environment. A transfer writes a draft and, beside it, a
JSON file with what identifies the version of the file on the server, so that a later process can
resume it.
"""

import http.client
import json
import shutil
import socket
import ssl
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from ..errors import WorkDirError
from ..utils.files import convert_write_errors, os_error_reason
from ..version import __version__
from .reading import page_kind

__all__ = ['TransferError', 'discard', 'transfer']

#: seconds without data after which a connection is given up
STALLED = 30.0
#: seconds between the attempts that transfer no further data
WAITS = (1.0, 2.0, 4.0)
_CHUNK = 1 << 20  # bytes
_HEAD = 512  # bytes that show whether a file is a web page
#: status codes of servers that may answer later
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_PARTIAL, _OUT_OF_RANGE = 206, 416


class TransferError(Exception):
    """A file cannot be transferred. The message is the reason.

    Attributes:
        is_temporary: Whether another attempt may succeed.
    """

    def __init__(self, reason: str, is_temporary: bool = False):
        super().__init__(reason)
        self.is_temporary = is_temporary


@dataclass(frozen=True)
class _Version:
    """What identifies the version of a file on a server.

    Attributes:
        url: URL of the file.
        length: Size in bytes.
        etag, last_modified: Headers of the response.
    """

    url: str
    length: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    @property
    def is_identified(self) -> bool:
        """Whether another version of the file would differ in a header."""
        return bool(self.etag or self.last_modified)

    @property
    def validator(self) -> str | None:
        """Value of the header If-Range, which must not be a weak ETag."""
        is_strong = self.etag and not self.etag.startswith('W/')
        return self.etag if is_strong else self.last_modified

    def equals(self, known: '_Version') -> bool:
        """Return whether a part of the file belongs to a known version.

        Responses to If-Range may leave out headers.
        """
        return (
            self.length == known.length
            and self.etag in (None, known.etag)
            and self.last_modified in (None, known.last_modified)
        )


class _Redirects(HTTPRedirectHandler):
    """Follow redirects, but not from HTTPS to an unencrypted connection."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        allowed = ('https',) if req.type == 'https' else ('http', 'https')
        if urlsplit(newurl).scheme.lower() not in allowed:
            raise TransferError(f'redirected from {req.type} to {newurl}, which is not followed')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, draft: Path, progress: bool = True, is_verified: bool = False) -> bool:
    """Transfer a file to a draft, which may exist from an interrupted transfer.

    A connection that is dropped, or transfers no data for `STALLED` seconds, is opened again. The
    transfer ends after four attempts without further data.

    Args:
        url: URL with `http://` or `https://`.
        draft: The file to write. An existing one is continued if the server has the same version of
            the file (ETag, Last-Modified, size) and supports ranges; otherwise it is replaced.
        progress: Whether to show a progress bar.
        is_verified: Whether the caller compares a checksum. Otherwise, an existing draft is
            replaced if the server sends neither ETag nor Last-Modified.

    Returns:
        Whether a part of the file is from an earlier connection.

    Raises:
        TransferError: If the file cannot be transferred. What was received is kept in the draft, to
            be continued.
        WorkDirError: If the draft cannot be written.
    """
    size = _size(draft)
    failures, resumed = 0, False
    while True:
        try:
            resumed = _attempt(url, draft, progress, is_verified) or resumed
            break
        except TransferError as error:
            if not error.is_temporary:
                raise
            failures = 0 if _size(draft) > size else failures + 1
            if failures > len(WAITS):
                raise TransferError(f'{error}, in {failures} attempts') from error
            size = max(size, _size(draft))
            time.sleep(WAITS[max(failures - 1, 0)])
    _check_content(draft)
    return resumed


def discard(draft: Path) -> None:
    """Remove a draft and its description, if they exist.

    Args:
        draft: See `transfer`.
    """
    for file in (draft, _description(draft)):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _attempt(url: str, draft: Path, progress: bool, is_verified: bool) -> bool:
    """Transfer the rest of a file with one connection; return whether it was continued."""
    known = _read_version(draft, url, is_verified)
    start = _size(draft) if known else 0
    if known and start and start == known.length:
        return True
    try:
        with closing(_open(url, start, known)) as response:
            if start and response.status == _PARTIAL:
                version = _version(url, response, _total(response, start))
                if known and version.equals(known):
                    _receive(response, draft, start, known, progress)
                    return True
            elif response.status == _PARTIAL:
                raise TransferError('the server sends a part of the file, which was not requested')
            else:
                version = _version(url, response, _content_length(response))
                _receive(response, draft, 0, version, progress)
                return False
    except (OSError, http.client.HTTPException) as error:
        if not (start and isinstance(error, HTTPError) and error.code == _OUT_OF_RANGE):
            raise _convert(error) from error
    discard(draft)  # the file on the server has changed
    return _attempt(url, draft, progress, is_verified)


def _open(url: str, start: int, known: _Version | None) -> http.client.HTTPResponse:
    headers = {'User-Agent': f'pose_backbones/{__version__}', 'Accept-Encoding': 'identity'}
    if start and known:
        headers['Range'] = f'bytes={start}-'
        if known.validator:
            headers['If-Range'] = known.validator
    response = build_opener(_Redirects).open(Request(url, headers=headers), timeout=STALLED)
    encoding = response.headers.get('Content-Encoding', 'identity').lower()
    if encoding != 'identity':
        response.close()
        raise TransferError(f'the server sends the file in the encoding {encoding}')
    return response


def _receive(
    response: http.client.HTTPResponse, draft: Path, start: int, version: _Version, progress: bool
) -> None:
    """Append the body of a response to the draft, which is truncated to `start` bytes."""
    _check_space(draft, start, version.length)
    name = urlsplit(version.url).path.rpartition('/')[2]
    received = start
    with convert_write_errors(draft, ''):
        _description(draft).write_text(json.dumps(asdict(version)), encoding='utf-8')
        file = draft.open('ab' if start else 'wb')
    try:
        with tqdm(
            desc=name,
            total=version.length,
            initial=start,
            unit='B',
            unit_scale=True,
            disable=not progress,
        ) as bar:
            while version.length is None or received < version.length:
                rest = _CHUNK if version.length is None else version.length - received
                chunk = response.read1(min(_CHUNK, rest))
                if not chunk:
                    break
                with convert_write_errors(draft, ''):
                    file.write(chunk)
                    file.flush()
                received += len(chunk)
                bar.update(len(chunk))
    finally:
        with convert_write_errors(draft, ''):
            file.close()
    if version.length is not None and received < version.length:
        raise TransferError(
            f'the connection was closed after {received:,} of {version.length:,} bytes', True
        )


def _check_space(draft: Path, start: int, length: int | None) -> None:
    """Raise an error if the disk is too small for the rest of the file."""
    usage = shutil.disk_usage(draft.parent)
    if length is not None and usage.total and usage.free < length - start:
        raise WorkDirError(
            f'{draft.parent} cannot be written: the file needs {length - start:,} bytes, '
            f'{usage.free:,} are free'
        )


def _check_content(draft: Path) -> None:
    """Raise an error for an empty file or a web page, and remove it."""
    with draft.open('rb') as file:
        head = file.read(_HEAD)
    kind = page_kind(head) if head else 'empty (0 bytes)'
    if kind:
        discard(draft)
        raise TransferError(f'the file that the server sends is {kind}')


def _description(draft: Path) -> Path:
    """Return the path of the JSON file that describes a draft."""
    return draft.with_name(f'{draft.name}.json')


def _read_version(draft: Path, url: str, is_verified: bool) -> _Version | None:
    """Return the version of the file in a draft; None if the draft cannot be continued."""
    try:
        version = _Version(**json.loads(_description(draft).read_text(encoding='utf-8')))
        too_long = version.length is not None and _size(draft) > version.length
    except (OSError, ValueError, TypeError):
        return None
    is_usable = version.url == url and (version.is_identified or is_verified)
    return version if is_usable and not too_long else None


def _version(url: str, response: http.client.HTTPResponse, length: int | None) -> _Version:
    headers = response.headers
    return _Version(url, length, headers.get('ETag'), headers.get('Last-Modified'))


def _content_length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get('Content-Length', '')
    return int(text) if text.isdecimal() else None


def _total(response: http.client.HTTPResponse, start: int) -> int | None:
    """Return the size of the file from Content-Range; None if it is another range."""
    words = response.headers.get('Content-Range', '').replace('/', ' ').split()
    is_rest = len(words) == 3 and words[1].startswith(f'{start}-')
    return int(words[2]) if is_rest and words[2].isdecimal() else None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _convert(error: Exception) -> TransferError:
    """Return the reason of an error of the network, and whether it is temporary."""
    if isinstance(error, HTTPError):
        error.close()
        return TransferError(f'HTTP status {error.code} {error.reason}', error.code in _TEMPORARY)
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return TransferError(f'no data was received for {STALLED:g} s', True)
    if isinstance(error, socket.gaierror):
        return TransferError(f'the host is unknown: {os_error_reason(error)}')
    if isinstance(error, (ConnectionRefusedError, ssl.SSLCertVerificationError)):
        return TransferError(os_error_reason(error))
    if isinstance(error, (ConnectionError, ssl.SSLError)):
        return TransferError(f'the connection was dropped: {os_error_reason(error)}', True)
    if isinstance(error, http.client.InvalidURL):
        return TransferError(str(error))
    if isinstance(error, http.client.HTTPException):
        return TransferError(f'the connection was dropped: {error or type(error).__name__}', True)
    reason = os_error_reason(error) if isinstance(error, OSError) else str(error)
    return TransferError(reason)
