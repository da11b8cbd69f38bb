"""HTTP server on localhost with the faults of real ones: dropped, stalled and wrong responses."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: first bytes of `bytes=START-`
_RANGE = 'bytes='


@dataclass
class File:
    """A file on the server, and how it is sent.

    Attributes:
        content: The content; tests may change it between two requests.
        etag: Value of ETag, or None to send none.
        modified: Value of Last-Modified, or None to send none.
        ranges: Whether Range is supported.
        drops: Numbers of bytes after which the next connections are dropped.
        stalls: Numbers of bytes after which the next connections send nothing more.
        pause: Seconds between blocks of 1,000 bytes.
        length: Value of Content-Length instead of the correct one.
        no_length: Whether to send no Content-Length.
        statuses: Status codes of the next responses, which have an HTML page.
        status: Status code of all responses.
        location: URL of a redirect.
    """

    content: bytes = b''
    etag: str | None = '"1"'
    modified: str | None = None
    ranges: bool = True
    drops: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    pause: float = 0.0
    length: int | None = None
    no_length: bool = False
    statuses: list[int] = field(default_factory=list)
    status: int | None = None
    location: str | None = None


@dataclass
class FaultyServer:
    """A running server.

    Attributes:
        url: Its URL.
        files: Path → file.
        requests: Path and header Range of each request; an empty string for no Range.
    """

    url: str
    files: dict[str, File] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ranges(self) -> list[str]:
        """The header Range of each request."""
        return [text for _, text in self.requests]


def _respond(handler: BaseHTTPRequestHandler, server: FaultyServer, ended: threading.Event) -> None:
    asked = handler.headers.get('Range', '')
    server.requests.append((handler.path, asked))
    file = server.files.get(handler.path)
    status = 404 if file is None else file.statuses.pop(0) if file.statuses else file.status
    if status or file is None:
        page = b'<html>sorry</html>'
        handler.send_response(status or 404)
        handler.send_header('Content-Length', str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)
        return
    if file.location:
        handler.send_response(302)
        handler.send_header('Location', file.location)
        handler.send_header('Content-Length', '0')
        handler.end_headers()
        return
    start, total = 0, len(file.content)
    condition = handler.headers.get('If-Range')
    if asked and file.ranges and condition in (None, file.etag, file.modified):
        start = int(asked.removeprefix(_RANGE).rstrip('-'))
        if start >= total:
            handler.send_response(416)
            handler.send_header('Content-Length', '0')
            handler.end_headers()
            return
        handler.send_response(206)
        handler.send_header('Content-Range', f'bytes {start}-{total - 1}/{total}')
    else:
        handler.send_response(200)
    if file.etag:
        handler.send_header('ETag', file.etag)
    if file.modified:
        handler.send_header('Last-Modified', file.modified)
    if not file.no_length:
        handler.send_header('Content-Length', str(file.length or total - start))
    handler.end_headers()
    _send(handler, file, file.content[start:], ended)


def _send(handler: BaseHTTPRequestHandler, file: File, body: bytes, ended: threading.Event) -> None:
    drop = file.drops.pop(0) if file.drops else None
    stall = file.stalls.pop(0) if file.stalls else None
    body = body[:drop] if drop is not None else body[:stall]
    for first in range(0, len(body), 1000):
        handler.wfile.write(body[first : first + 1000])
        handler.wfile.flush()
        time.sleep(file.pause)
    if stall is not None:
        ended.wait(60)


@contextmanager
def faulty_server(files: dict[str, File]) -> Iterator[FaultyServer]:
    """Run a server in threads of this process.

    Args:
        files: Path, such as `'/x.pth'` → file.
    """
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.0'  # the connection is closed after each response

        def do_GET(self) -> None:
            _respond(self, server, ended)

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.daemon_threads = True
    server = FaultyServer(f'http://127.0.0.1:{httpd.server_address[1]}', files)
    handle_error: Callable = lambda *_: None  # noqa: E731
    httpd.handle_error = handle_error  # type: ignore[method-assign]
    thread = threading.Thread(target=httpd.serve_forever, kwargs=dict(poll_interval=0.05))
    thread.start()
    try:
        yield server
    finally:
        ended.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()
