"""Tests of `hf://` with huggingface_hub and a server on localhost, and without the package."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

from pose_backbones.checkpoints.downloads import Release, local_file
from pose_backbones.checkpoints.hugging_face import HubFile
from pose_backbones.errors import CheckpointError, ConfigError
from tests.helpers.tools import tool_env

COMMIT = 'c0ffee' * 6 + 'c0ff'


@pytest.fixture
def endpoint(tmp_path) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server with one checkpoint, and the requests that it has received."""
    torch.save({'a': torch.tensor(4.0)}, tmp_path / 'source.pth')
    content = (tmp_path / 'source.pth').read_bytes()
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            requests.append(f'{self.command} {self.path}')
            found = self.path in (
                '/owner/repo/resolve/main/pose/x.pth',
                '/owner/repo/resolve/v1.0/pose/x.pth',
                f'/owner/repo/resolve/{COMMIT}/pose/x.pth',
            )
            self.send_response(200 if found else 404)
            self.send_header('X-Repo-Commit', COMMIT)
            self.send_header('ETag', f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header('Content-Length', str(len(content) if found else 0))
            if not found:
                self.send_header('X-Error-Code', 'EntryNotFound')
            self.end_headers()
            if found and self.command == 'GET':
                self.wfile.write(content)

        do_GET = do_HEAD

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs=dict(poll_interval=0.05))
    thread.start()
    yield f'http://127.0.0.1:{httpd.server_address[1]}', requests
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def read(*urls: str, **env: str) -> list[str]:
    """Read checkpoints in a new process, since huggingface_hub reads its settings once.

    Returns:
        A line for each URL: the value, or the error.
    """
    code = (
        'import sys\n'
        'import pose_backbones\n'
        'from pose_backbones.checkpoints import read_checkpoint\n'
        'from pose_backbones.errors import PoseBackbonesError\n'
        'for url in sys.argv[1:]:\n'
        '    try:\n'
        '        print("value", read_checkpoint(url)["a"].item())\n'
        '    except PoseBackbonesError as error:\n'
        '        print(type(error).__name__, error)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, *urls],
        env={**tool_env(), 'HF_HUB_DISABLE_XET': '1', **env},
        text=True,
        capture_output=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_file_of_a_revision(endpoint, tmp_path):
    pytest.importorskip('huggingface_hub')
    url, requests = endpoint
    env = dict(HF_ENDPOINT=url, HF_HOME=str(tmp_path / 'hf'), TORCH_HOME=str(tmp_path / 'torch'))
    good, bad = 'hf://owner/repo/pose/x.pth@v1.0', 'hf://owner/repo/pose/y.pth'
    value, error = read(good, bad, **env)
    assert value == 'value 4.0'
    assert error.startswith(f'CheckpointError checkpoint out of reach: {bad} (')
    assert 'EntryNotFoundError: ' in error
    assert any(text.startswith('GET /owner/repo/resolve/') for text in requests)
    requests.clear()
    for variable in ('HF_HUB_OFFLINE', 'POSE_BACKBONES_OFFLINE'):
        value, error = read(good, bad, **env, **{variable: '1'})
        assert value == 'value 4.0'
        assert error.startswith(f'CheckpointError checkpoint not cached: {bad}, and {variable} is ')
        assert 'as huggingface.co/owner/repo/resolve/main/pose/y.pth' in error
    assert requests == []


def test_parts_of_a_url():
    assert HubFile.parse('hf://o-1/r.2/a/b c.pth') == HubFile('o-1/r.2', 'a/b c.pth', 'main')
    file = HubFile.parse('hf://o/r/x.pth@refs/pr/1')
    assert file == HubFile('o/r', 'x.pth', 'refs/pr/1')
    assert file.web_url == 'https://huggingface.co/o/r/resolve/refs/pr/1/x.pth'


@pytest.mark.parametrize(
    'url',
    [
        'hf://owner/repo',
        'hf://owner/repo@v1/x.pth',
        'hf://o/r/x.pth@',
        'hf://o/r/../x.pth',
        'hf://',
    ],
)
def test_invalid_urls_raise(url):
    with pytest.raises(ConfigError, match='expected hf://OWNER/REPO/PATH or .*@REVISION'):
        local_file(url)


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    with pytest.raises(CheckpointError, match='huggingface_hub: pip install huggingface_hub'):
        local_file('hf://owner/repo/x.pth')


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Replacement of huggingface_hub with one file, and its path."""
    path = tmp_path / 'x.pth'
    path.write_bytes(b'content')
    fake = SimpleNamespace(
        hf_hub_download=lambda repo, name, revision: str(path),
        try_to_load_from_cache=lambda repo, name, revision: None,
    )
    monkeypatch.setitem(sys.modules, 'huggingface_hub', fake)
    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    return path


def test_checksum(hub):
    sha256 = hashlib.sha256(b'content').hexdigest()
    assert local_file(Release(('hf://o/r/x.pth',), sha256)) == hub
    with pytest.raises(CheckpointError, match=f'SHA-256 is {sha256}: expected {"1" * 64} .*'):
        local_file(Release(('hf://o/r/x.pth',), '1' * 64))
    assert hub.read_bytes() == b'content'


def test_mirror_is_tried_first(hub, tmp_path, monkeypatch):
    file = tmp_path / 'mirror/huggingface.co/o/r/resolve/main/x.pth'
    file.parent.mkdir(parents=True)
    file.write_bytes(b'other')
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(tmp_path / 'mirror'))
    assert local_file('hf://o/r/x.pth') == file
