"""Tests of downloading checkpoints: one cached file per URL, damaged files are renamed."""

import functools
import hashlib
import http.server
import os
import threading

import pytest
import torch
from mmengine.runner import checkpoint as upstream
from safetensors.torch import save_file

from pose_backbones.checkpoints import downloads, read_file
from pose_backbones.checkpoints.downloads import cached_file
from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.errors import CheckpointError


class _Attack:
    """Object that runs a shell command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve `tmp_path` on localhost; yields the URL of the server."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)

    class QuietHandler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{httpd.server_address[1]}'
    httpd.shutdown()
    thread.join()


def _save(path, value: float) -> None:
    path.parent.mkdir(exist_ok=True)
    torch.save({'a': torch.tensor(value)}, path)


def _cached(tmp_path) -> list[str]:
    return sorted(file.name for file in (tmp_path / 'cache/hub/checkpoints').glob('*'))


def test_downloads_are_cached_and_read_as_data(tmp_path, server):
    _save(tmp_path / 'good.pth', 4.0)
    assert read_checkpoint(f'{server}/good.pth')['a'] == 4
    (tmp_path / 'good.pth').unlink()
    assert read_checkpoint(f'{server}/good.pth')['a'] == 4
    proof = tmp_path / 'it_ran'
    torch.save({'x': _Attack(proof)}, tmp_path / 'attack.pth')
    for read in (read_checkpoint, upstream.load_from_http):
        with pytest.raises(CheckpointError, match='rejected'):
            read(f'{server}/attack.pth')
    assert not proof.exists()


def test_urls_with_same_file_name_do_not_collide(tmp_path, server):
    for folder, value in (('a', 1.0), ('b', 2.0)):
        _save(tmp_path / folder / 'm.pth', value)
        assert read_checkpoint(f'{server}/{folder}/m.pth')['a'] == value
    assert read_checkpoint(f'{server}/a/m.pth?download=1')['a'] == 1
    assert len(_cached(tmp_path)) == 3


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors'])
def test_damaged_download_is_renamed(tmp_path, server, name):
    torch.manual_seed(0)
    save = save_file if name.endswith('.safetensors') else torch.save
    save({'a': torch.randn(999)}, tmp_path / name)
    content = (tmp_path / name).read_bytes()[:2000]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        CheckpointError,
        match=rf'unreadable: {server}/{name}.*downloaded file is not used again, and kept as '
        rf'.*-{name}\.rejected$',
    ):
        read_checkpoint(f'{server}/{name}')
    (kept,) = _cached(tmp_path)
    assert (tmp_path / 'cache/hub/checkpoints' / kept).read_bytes() == content
    save_file({'a': torch.tensor(3.0)}, tmp_path / name)
    assert read_checkpoint(f'{server}/{name}')['a'] == 3


def test_damaged_file_of_the_cache_is_kept_with_both_checksums(tmp_path, server, monkeypatch):
    """Also without downloads; a file that was renamed before is not replaced."""
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    url = f'{server}/net-deadbeef.pth'
    file = cached_file(url)
    file.parent.mkdir(parents=True)
    for content, ending in ((b'PK1', '.rejected'), (b'PK2', '.2.rejected')):
        file.write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(url)
        kept = file.with_name(file.name + ending)
        values = f'Its SHA-256 is {hashlib.sha256(content).hexdigest()}: expected deadbeef… '
        assert values in str(error.value)
        assert str(error.value).endswith(f'kept as {kept}')
        assert kept.read_bytes() == content
    assert _cached(tmp_path) == [f'{file.name}.2.rejected', f'{file.name}.rejected']


def test_file_that_has_replaced_a_damaged_one_is_kept(tmp_path, server, monkeypatch):
    """Another process downloads it while the damaged one is read."""
    file = cached_file(f'{server}/x.pth')
    file.parent.mkdir(parents=True)
    file.write_bytes(b'PK')
    good = tmp_path / 'good.pth'
    torch.save({'a': torch.tensor(3.0)}, good)

    def read_and_replace(*args):
        try:
            return read_file(*args)
        finally:
            good.replace(file)

    monkeypatch.setattr(downloads, 'read_file', read_and_replace)
    with pytest.raises(CheckpointError, match=f'has replaced the downloaded file {file}: start'):
        read_checkpoint(f'{server}/x.pth')
    assert _cached(tmp_path) == [file.name]
    assert read_file(file)['a'] == 3


def test_damaged_file_that_cannot_be_renamed(server, monkeypatch):
    file = cached_file(f'{server}/x.pth')
    file.parent.mkdir(parents=True)
    file.write_bytes(b'PK')
    (file.parent / f'{file.name}.lock').mkdir()
    with pytest.raises(CheckpointError, match=f'{file.name} cannot be renamed: .* Remove it$'):
        read_checkpoint(f'{server}/x.pth')
    assert file.read_bytes() == b'PK'


@pytest.mark.parametrize(
    ('content', 'kind'),
    [
        (b'<!DOCTYPE html><html>', 'an HTML page, not a checkpoint'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'a Git LFS pointer'),
        (b'', r'empty \(0 bytes\)'),
    ],
)
def test_what_is_not_a_file_is_not_cached(tmp_path, server, content, kind):
    (tmp_path / 'w.pth').write_bytes(content)
    with pytest.raises(
        CheckpointError,
        match=f'out of reach: {server}/w.pth .the file that the server sends is {kind}',
    ):
        read_checkpoint(f'{server}/w.pth')
    assert not _cached(tmp_path)


def test_torch_hub_file_with_matching_hash_is_used(tmp_path, server):
    _save(tmp_path / 'x.pth', 5.0)
    content = (tmp_path / 'x.pth').read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    if digest.isdigit():  # The name would contain a date instead of a hash.
        pytest.fail('choose other content')
    hub = tmp_path / 'cache/hub/checkpoints'
    hub.mkdir(parents=True)
    (hub / f'net-{digest}_20230724.pth').write_bytes(content)
    assert read_checkpoint(f'{server}/nowhere/net-{digest}_20230724.pth')['a'] == 5
    _save(tmp_path / 'plain.pth', 6.0)
    (hub / 'plain.pth').write_bytes(content)
    assert read_checkpoint(f'{server}/plain.pth')['a'] == 6
    (hub / 'net-deadbeef.pth').write_bytes(content)
    assert cached_file(f'{server}/net-deadbeef.pth') != (hub / 'net-deadbeef.pth')


def test_file_urls_are_read_in_place(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    path = tmp_path / 'a net.safetensors'
    save_file({'a': torch.ones(2)}, path)
    assert read_checkpoint(path.as_uri())['a'].tolist() == [1, 1]
    save_file({'a': torch.zeros(2)}, path)
    assert read_checkpoint(path.as_uri())['a'].tolist() == [0, 0]
    path.unlink()
    with pytest.raises(CheckpointError, match=r'not found: file://.*net'):
        read_checkpoint(path.as_uri())


def test_unreachable_url_raises(tmp_path, monkeypatch, server):
    with pytest.raises(CheckpointError, match=r'out of reach: http://127\.0\.0\.1:9'):
        read_checkpoint('http://127.0.0.1:9/weights.pth')
    with pytest.raises(CheckpointError, match=r'out of reach: .*404'):
        read_checkpoint(f'{server}/none.pth')
    assert not _cached(tmp_path)
