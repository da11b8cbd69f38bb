"""Tests of downloads from a server on localhost that drops, stalls, redirects and changes files."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request

import pytest
import torch

from pose_backbones.checkpoints import transfer as transfers
from pose_backbones.checkpoints.downloads import cached_file
from pose_backbones.checkpoints.transfer import TransferError
from pose_backbones.errors import CheckpointError
from tests.helpers.download_cases import CONTENT, OTHER, SHA256, get, names
from tests.helpers.faulty_server import File
from tests.helpers.tools import tool_env

MODIFIED = ('Sat, 28 Nov 2026 10:00:00 GMT', 'Sat, 28 Nov 2026 11:00:00 GMT')


def test_file_is_downloaded_once(faulty, folder):
    url = f'{faulty.url}/x.pth'
    assert get(faulty, folder) == CONTENT
    assert get(faulty, folder) == CONTENT
    assert faulty.requests == [('/x.pth', '')]
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    assert names(folder) == [f'{digest}-x.pth']
    assert cached_file(url, str(folder)) == folder / f'{digest}-x.pth'


@pytest.mark.parametrize(
    ('etag', 'modified'),
    [('"1"', None), ('W/"1"', None), (None, MODIFIED[0]), ('W/"1"', MODIFIED[0])],
)
def test_dropped_connections_are_resumed(faulty, folder, etag, modified):
    faulty.files['/x.pth'] = File(CONTENT, etag=etag, modified=modified, drops=[20_000, 10_000])
    assert get(faulty, folder) == CONTENT
    assert faulty.ranges == ['', 'bytes=20000-', 'bytes=30000-']
    assert len(names(folder)) == 1


def test_stalled_connection_is_resumed(faulty, folder):
    faulty.files['/x.pth'].stalls = [20_000]
    start = time.monotonic()
    assert get(faulty, folder) == CONTENT
    assert 0.5 < time.monotonic() - start < 5
    assert faulty.ranges == ['', 'bytes=20000-']


def test_stalled_server_states_the_time(faulty, folder):
    faulty.files['/x.pth'].stalls = [0] * 9
    with pytest.raises(CheckpointError, match=r'no data was received for 0\.5 s, in 4 attempts'):
        get(faulty, folder)
    assert len(faulty.requests) == 4


def test_slow_server_is_not_stalled(faulty, folder):
    faulty.files['/x.pth'].pause = 0.02  # 1 s in total, which is longer than the limit
    assert get(faulty, folder) == CONTENT
    assert len(faulty.requests) == 1


def test_server_without_ranges_starts_again(faulty, folder):
    faulty.files['/x.pth'] = File(CONTENT, ranges=False, drops=[20_000])
    assert get(faulty, folder) == CONTENT
    assert faulty.ranges == ['', 'bytes=20000-']


def test_server_without_ranges_that_always_drops_is_given_up(faulty, folder):
    faulty.files['/x.pth'] = File(CONTENT, ranges=False, drops=[20_000] * 99)
    with pytest.raises(CheckpointError, match='closed after 20,000 of 50,000 bytes, in 4 attempts'):
        get(faulty, folder)
    assert len(faulty.requests) == 5  # the first one received data
    assert cached_file(f'{faulty.url}/x.pth', str(folder)).exists() is False


def test_interrupted_download_is_resumed_by_a_later_call(faulty, folder):
    faulty.files['/x.pth'].drops = [20_000] + [0] * 4
    with pytest.raises(CheckpointError, match='closed after 20,000 of 50,000 bytes'):
        get(faulty, folder)
    draft = next(folder.glob('*.part'))
    assert draft.read_bytes() == CONTENT[:20_000]
    faulty.requests.clear()
    assert get(faulty, folder) == CONTENT
    assert faulty.ranges == ['bytes=20000-']
    assert len(names(folder)) == 1


@pytest.mark.parametrize('change', ['etag', 'modified', 'size', 'no validator', 'ignored If-Range'])
def test_changed_file_is_downloaded_from_the_start(faulty, folder, change):
    file = faulty.files['/x.pth']
    file.drops = [20_000] + [0] * 4
    if change in ('modified', 'no validator'):
        file.etag = None
    if change == 'modified':
        file.modified = MODIFIED[0]
    with pytest.raises(CheckpointError):
        get(faulty, folder)
    faulty.requests.clear()
    file.content = OTHER[:40_000] if change == 'size' else OTHER
    if change in ('etag', 'ignored If-Range'):
        file.etag = '"2"'
    if change == 'modified':
        file.modified = MODIFIED[1]
    if change == 'ignored If-Range':  # the server sends a part of the new version
        draft = next(folder.glob('*.part.json'))
        version = json.loads(draft.read_text())
        draft.write_text(json.dumps(dict(version, etag='W/"1"')))
    assert get(faulty, folder) == file.content
    assert faulty.ranges[-1] == '' or change in ('etag', 'modified')
    assert len(names(folder)) == 1


@pytest.mark.parametrize('damage', ['other content', 'too long', 'no description', 'no JSON'])
def test_damaged_draft_is_replaced(faulty, folder, damage, mmengine_log):
    faulty.files['/x.pth'].drops = [20_000] + [0] * 4
    with pytest.raises(CheckpointError):
        get(faulty, folder, sha256=SHA256)
    draft = next(folder.glob('*.part'))
    description = draft.with_name(f'{draft.name}.json')
    if damage == 'other content':
        draft.write_bytes(bytes(20_000))
    elif damage == 'too long':
        draft.write_bytes(bytes(60_000))
    elif damage == 'no description':
        description.unlink()
    else:
        description.write_text('[')
    assert get(faulty, folder, sha256=SHA256) == CONTENT
    assert faulty.ranges[-1] == ''
    kept = [path.read_bytes() for path in folder.glob('*.rejected')]
    if damage != 'other content':
        assert kept == []
        return
    assert kept == [bytes(20_000) + CONTENT[20_000:]]
    actual = hashlib.sha256(kept[0]).hexdigest()
    assert f'its SHA-256 is {actual}: expected {SHA256} (the metafile)' in mmengine_log.text
    assert len(names(folder)) == 2


def test_complete_draft_needs_no_request(faulty, folder):
    faulty.files['/x.pth'].drops = [20_000] + [0] * 4
    with pytest.raises(CheckpointError):
        get(faulty, folder)
    next(folder.glob('*.part')).write_bytes(CONTENT)
    faulty.requests.clear()
    assert get(faulty, folder) == CONTENT
    assert faulty.requests == []


@pytest.mark.parametrize('length', [60_000, 40_000])
def test_wrong_length_is_an_error(faulty, folder, length):
    faulty.files['/x.pth'].length = length
    with pytest.raises(
        CheckpointError,
        match='closed after 50,000 of 60,000 bytes' if length > 50_000 else 'SHA-256 is ',
    ):
        get(faulty, folder, sha256=SHA256)
    assert not [name for name in names(folder) if name.endswith('.pth')]


def test_unknown_length(faulty, folder):
    faulty.files['/x.pth'].no_length = True
    assert get(faulty, folder) == CONTENT


@pytest.mark.parametrize(('status', 'requests'), [(404, 1), (403, 1), (410, 1), (500, 4)])
def test_status_of_an_error(faulty, folder, status, requests):
    faulty.files['/x.pth'].status = status
    with pytest.raises(CheckpointError, match=f'out of reach: {faulty.url}/x.pth .*{status}'):
        get(faulty, folder)
    assert len(faulty.requests) == requests
    assert names(folder) == []


def test_temporary_status_is_retried(faulty, folder):
    faulty.files['/x.pth'].statuses = [503, 429]
    assert get(faulty, folder) == CONTENT
    assert len(faulty.requests) == 3


def test_html_page_is_an_error(faulty, folder):
    faulty.files['/x.pth'].content = b'\n<!DOCTYPE html><html>Please log in</html>'
    with pytest.raises(CheckpointError, match='the server sends is an HTML page'):
        get(faulty, folder)
    assert names(folder) == []


def test_redirects(faulty, folder):
    faulty.files['/old.pth'] = File(location=f'{faulty.url}/x.pth')
    faulty.files['/x.pth'].drops = [20_000]
    assert get(faulty, folder, 'old.pth') == CONTENT
    assert [path for path, _ in faulty.requests] == ['/old.pth', '/x.pth'] * 2
    assert faulty.ranges[-1] == 'bytes=20000-'
    faulty.files['/loop.pth'] = File(location=f'{faulty.url}/loop.pth')
    with pytest.raises(CheckpointError, match='infinite loop'):
        get(faulty, folder, 'loop.pth')


def test_redirect_from_https_to_http_is_refused():
    redirects = transfers._Redirects()
    request = Request('https://example.com/x.pth', headers={'Range': 'bytes=5-'})
    arguments = (request, None, 302, 'Found', {})
    with pytest.raises(TransferError, match='from https to http://example.com/y.pth'):
        redirects.redirect_request(*arguments, 'http://example.com/y.pth')
    other = redirects.redirect_request(*arguments, 'https://example.org/y.pth')
    assert other.full_url == 'https://example.org/y.pth'
    assert other.get_header('Range') == 'bytes=5-'


@pytest.mark.parametrize('in_name', [True, False])
def test_checksum_mismatch_shows_both_values(faulty, folder, in_name):
    name = 'net-deadbeef_20230724.pth' if in_name else 'x.pth'
    faulty.files[f'/{name}'] = File(CONTENT)
    expected = 'deadbeef' if in_name else '0' * 64
    with pytest.raises(CheckpointError, match=f'SHA-256 is {SHA256}: expected {expected}') as error:
        get(faulty, folder, name, None if in_name else expected)
    (kept,) = names(folder)
    assert kept.endswith('.rejected')
    assert f'It is not used, and kept as {folder / kept}' in str(error.value)
    assert (folder / kept).read_bytes() == CONTENT
    faulty.files[f'/{name}'] = File(OTHER)  # a rejected file is never replaced
    with pytest.raises(CheckpointError, match=r'kept as .*\.2\.rejected'):
        get(faulty, folder, name, None if in_name else expected)
    assert [(folder / each).read_bytes() for each in names(folder)] == [OTHER, CONTENT]
    good = f'net-{SHA256[:8]}.pth'
    faulty.files[f'/{good}'] = File(CONTENT)
    assert get(faulty, folder, good) == CONTENT


def test_complete_checkpoint_with_wrong_digits_in_its_name(faulty, folder, mmengine_log):
    """Published names can be wrong: a warning has both values."""
    buffer = io.BytesIO()
    torch.save(dict(state_dict=dict(x=torch.arange(3))), buffer)
    name, content = 'net-deadbeef.pth', buffer.getvalue()
    faulty.files[f'/{name}'] = File(content)
    assert get(faulty, folder, name) == content
    actual = hashlib.sha256(content).hexdigest()
    assert f'its SHA-256 is {actual}: expected deadbeef… (the file name)' in mmengine_log.text
    with pytest.raises(CheckpointError, match=f'SHA-256 is {actual}: expected {"0" * 64}'):
        get(faulty, folder.with_name('other'), name, sha256='0' * 64)


def download(url: str, folder) -> subprocess.Popen:
    """Start a process that downloads a file and prints its path."""
    code = (
        'import sys; from pose_backbones.checkpoints import local_file; '
        'print(local_file(sys.argv[1], sys.argv[2], progress=False))'
    )
    return subprocess.Popen(
        [sys.executable, '-c', code, url, str(folder)],
        env=tool_env(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_processes_download_once(faulty, folder):
    faulty.files['/x.pth'].pause = 0.1  # 5 s, so that both processes need the file meanwhile
    url = f'{faulty.url}/x.pth'
    processes = [download(url, folder) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in processes]
    path = str(cached_file(url, str(folder)))
    assert [out.splitlines()[-1] for out, _ in results] == [path] * 2, results
    assert faulty.requests == [('/x.pth', '')]
    assert cached_file(url, str(folder)).read_bytes() == CONTENT
    assert len(names(folder)) == 1


def test_two_threads_download_once(faulty, folder):
    faulty.files['/x.pth'].pause = 0.01
    with ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(lambda _: get(faulty, folder), range(4)))
    assert contents == [CONTENT] * 4
    assert len(faulty.requests) == 1


def test_killed_download_is_resumed(faulty, folder):
    faulty.files['/x.pth'].pause = 0.2
    url = f'{faulty.url}/x.pth'
    process = download(url, folder)
    deadline = time.monotonic() + 120
    size = 0
    while size < 5_000 and time.monotonic() < deadline:
        time.sleep(0.05)
        size = sum(draft.stat().st_size for draft in folder.glob('*.part'))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert {Path(name).suffix for name in names(folder)} == {'.part', '.json', '.lock'}
    received = next(folder.glob('*.part')).stat().st_size
    assert 5_000 <= received < 50_000
    faulty.files['/x.pth'].pause = 0
    assert get(faulty, folder) == CONTENT
    assert faulty.ranges == ['', f'bytes={received}-']
    assert len(names(folder)) == 1
