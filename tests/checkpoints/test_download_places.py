"""Tests of where a file is looked for: cache, mirror, several URLs; disks and offline mode."""

import subprocess
from pathlib import Path

import pytest
import torch

from pose_backbones.checkpoints.downloads import Release, cached_file, local_file, verify_cached
from pose_backbones.errors import CheckpointError, ConfigError
from tests.helpers.download_cases import CONTENT, OTHER, SHA256, get, names
from tests.helpers.faulty_server import File, faulty_server
from tests.helpers.tools import small_disk


def test_urls_are_tried_in_order(faulty, folder, mmengine_log):
    faulty.files['/damaged.pth'] = File(OTHER)
    urls = tuple(f'{faulty.url}/{name}' for name in ('none.pth', 'damaged.pth', 'x.pth'))
    release = Release(urls, SHA256)
    file = local_file(release, str(folder), progress=False)
    assert file == cached_file(urls[2], str(folder))
    assert file.read_bytes() == CONTENT
    assert 'HTTP status 404' in mmengine_log.text
    assert f'expected {SHA256}' in mmengine_log.text
    assert local_file(release, str(folder)) == file
    assert len(faulty.requests) == 3
    with pytest.raises(
        CheckpointError, match='none.pth .HTTP status 404.*; .*damaged.pth: its SHA'
    ):
        local_file(Release(urls[:2], SHA256), str(folder), progress=False)


def test_mirror_directory(faulty, folder, tmp_path, monkeypatch, mmengine_log):
    url = 'https://download.example.com/a%20b/../c/x.pth?download=1'
    mirror = tmp_path / 'mirror'
    file = mirror / 'download.example.com/a b/c/x.pth'
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(mirror))
    assert local_file(url, str(folder)) == file
    file.rename(mirror / 'x.pth')
    assert local_file(url, str(folder)) == mirror / 'x.pth'
    assert local_file(Release((url,), SHA256), str(folder)) == mirror / 'x.pth'
    # A file with another checksum is left alone, and the URL is used.
    (mirror / 'x.pth').write_bytes(OTHER)
    assert get(faulty, folder, sha256=SHA256) == CONTENT
    assert (mirror / 'x.pth').read_bytes() == OTHER
    assert f'expected {SHA256}' in mmengine_log.text
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(tmp_path / 'none'))
    with pytest.raises(ConfigError, match='POSE_BACKBONES_MIRROR is .*none.: expected a directory'):
        local_file(url, str(folder))


def test_mirror_url(faulty, folder, monkeypatch):
    host = faulty.url.removeprefix('http://')
    with faulty_server({f'/weights/{host}/x.pth': File(CONTENT)}) as mirror:
        monkeypatch.setenv('POSE_BACKBONES_MIRROR', f'{mirror.url}/weights/')
        assert get(faulty, folder) == CONTENT
        assert mirror.requests == [(f'/weights/{host}/x.pth', '')]
        assert faulty.requests == []
        faulty.files['/y.pth'] = File(OTHER)
        assert get(faulty, folder, 'y.pth') == OTHER  # not in the mirror
        assert faulty.requests == [('/y.pth', '')]
    assert cached_file(f'{faulty.url}/x.pth', str(folder)).read_bytes() == CONTENT


def test_offline(faulty, folder, tmp_path, monkeypatch):
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    url = f'{faulty.url}/x.pth'
    path = cached_file(url, str(folder))
    host = faulty.url.removeprefix('http://')
    with pytest.raises(
        CheckpointError,
        match=f'not cached: {url}, and POSE_BACKBONES_OFFLINE is set. .*save it as {path}, or .* '
        f'POSE_BACKBONES_MIRROR names, as {host}/x.pth',
    ):
        get(faulty, folder)
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', faulty.url)
    with pytest.raises(CheckpointError, match='not cached'):
        get(faulty, folder)
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(tmp_path))
    (tmp_path / 'x.pth').write_bytes(OTHER)
    assert get(faulty, folder) == OTHER
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert get(faulty, folder) == CONTENT
    assert faulty.requests == []
    path.unlink()
    (tmp_path / 'x.pth').unlink()
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '0')
    assert get(faulty, folder) == CONTENT
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', 'maybe')
    path.unlink()
    with pytest.raises(ConfigError, match="POSE_BACKBONES_OFFLINE is 'maybe': expected 1 or 0"):
        get(faulty, folder)


def test_paths_and_invalid_urls(tmp_path):
    path = tmp_path / 'a net.pth'
    path.write_bytes(CONTENT)
    assert local_file(path) == local_file(str(path)) == local_file(path.as_uri()) == path
    with pytest.raises(CheckpointError, match='there is no such file'):
        local_file(tmp_path / 'none.pth')
    with pytest.raises(ConfigError, match='URL ftp://a/b.pth: expected one with http://, https://'):
        local_file('ftp://a/b.pth')


def test_file_system_without_locks(faulty, folder, monkeypatch, mmengine_log):
    monkeypatch.setattr('pose_backbones.utils.lock.fcntl', None)
    assert get(faulty, folder) == CONTENT
    assert 'cannot be locked' in mmengine_log.text
    assert not list(folder.glob('*.part*'))


def test_full_disk(faulty, folder, tmp_path, monkeypatch):
    with small_disk(tmp_path / 'disk', '32k') as disk:
        with pytest.raises(
            CheckpointError, match=r'the file needs 50,000 bytes, [\d,]+ are free. .*TORCH_HOME'
        ):
            get(faulty, disk)
        assert names(disk) == []
        faulty.files['/x.pth'].no_length = True
        with pytest.raises(
            CheckpointError, match='x.pth.part cannot be written: No space left .*TORCH_HOME'
        ):
            get(faulty, disk)
        assert names(disk) == []


def test_read_only_cache(faulty, folder, tmp_path):
    with small_disk(tmp_path / 'disk', '1M') as disk:
        assert get(faulty, disk) == CONTENT
        faulty.files['/y.pth'] = File(OTHER)
        subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
        assert get(faulty, disk) == CONTENT
        with pytest.raises(
            CheckpointError,
            match='y.pth cannot be cached: .*disk cannot be written: Read-only file system. Set '
            'TORCH_HOME',
        ):
            get(faulty, disk, 'y.pth')


def test_cache_that_is_a_file(faulty, tmp_path):
    (tmp_path / 'cache').write_bytes(b'')
    with pytest.raises(CheckpointError, match='cache cannot be written: .* TORCH_HOME'):
        get(faulty, tmp_path / 'cache')


def test_verify_cached(folder, tmp_path):
    def cache(url: str, content: bytes) -> Path:
        file = cached_file(url, str(folder))
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return file

    def verify(url: str, sha256: str | None = None):
        return verify_cached(Release((url,), sha256), str(folder))

    plain, digits = 'https://a.b/deadbeef.pth', f'https://a.b/net-{SHA256[:8]}.pth'
    assert verify(plain) is None
    file = cache(plain, CONTENT)
    assert verify(plain, SHA256) == (file, 'SHA-256')
    with pytest.raises(CheckpointError, match=f'SHA-256 is {SHA256}: expected {"0" * 64} '):
        verify(plain, '0' * 64)
    with pytest.raises(CheckpointError, match='unreadable'):
        verify(plain)
    torch.save({'a': torch.ones(99)}, tmp_path / 'a.pth')
    cache(plain, (tmp_path / 'a.pth').read_bytes())
    assert verify(plain) == (file, 'complete, no SHA-256 is known')
    file = cache(digits, CONTENT)
    assert verify(digits) == (file, 'the first 8 digits of its SHA-256')
    cache(digits, OTHER)
    with pytest.raises(CheckpointError, match=f'expected {SHA256[:8]}… .the file name'):
        verify(digits)
    assert file.read_bytes() == OTHER
