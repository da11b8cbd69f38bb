"""Tests of the checks of input and output files, and of atomic writing."""

import errno
import gzip
import os
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pose_backbones.errors import CheckpointError, DatasetError, WorkDirError
from pose_backbones.report.run_files import _text
from pose_backbones.utils.files import (
    atomic_write,
    check_no_symlinks,
    check_not_input,
    check_output_file,
    check_regular_file,
    check_writable_dir,
    check_writable_file,
    convert_write_errors,
    file_problem,
    open_regular,
    read_text,
    remove_drafts,
    write_to_folder,
)
from tests.helpers.tools import run_code, small_disk


def make_special_files(folder: Path) -> dict[str, str]:
    """Create paths that are not regular files; return their names and the expected messages."""
    os.mkfifo(folder / 'fifo')
    (folder / 'loop').symlink_to('loop')
    (folder / 'dangling').symlink_to('nowhere')
    (folder / 'device').symlink_to('/dev/zero')
    (folder / 'folder').mkdir()
    (folder / 'to_fifo').symlink_to('fifo')
    return dict(
        fifo=r'it is a named pipe \(FIFO\)',
        to_fifo='it is a named pipe',
        loop='Too many levels of symbolic links',
        dangling='it is a symbolic link to nowhere, which does not exist',
        device='it is a character device',
        folder='it is a directory',
        missing='there is no such file',
    )


def test_special_files_are_rejected_without_opening(tmp_path):
    start = time.monotonic()
    for name, message in make_special_files(tmp_path).items():
        path = tmp_path / name
        for check in (check_regular_file, open_regular, read_text):
            with pytest.raises(
                CheckpointError, match=(f'cannot read the weights {path}: {message}')
            ):
                check(path, 'weights', CheckpointError)
    with pytest.raises(DatasetError, match='its name is not a valid'):
        check_regular_file('a\0b')
    (tmp_path / 'file').write_bytes(b'\xef\xbb\xbfgr\xc3\xbcn')
    assert file_problem(tmp_path / 'file') is None
    assert read_text(tmp_path / 'file') == 'grün'
    (tmp_path / 'file').write_bytes(b'\xff')
    with pytest.raises(DatasetError, match=r"cannot read the .*: 'utf-8'"):
        read_text(tmp_path / 'file')
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            gzip.compress(b'[]', mtime=0),
            'x.json: it is compressed with gzip: expected text in UTF-8$',
        ),
        ('[]'.encode('utf-16'), 'x.json: it is text in UTF-16: expected'),
        (pickle.dumps([{'a': 1.5}]), 'x.json: it is probably a pickle file: expected'),
        (b'["\xe9"]', "can't decode byte 0xe9 in position 2: .*: expected text in UTF-8$"),
    ],
)
def test_read_text_names_the_kind_of_other_files(tmp_path, content, message):
    path = tmp_path / 'x.json'
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_text(path)


def test_read_text_limits_file_size(tmp_path, monkeypatch):
    path = tmp_path / 'log'
    with open(path, 'wb') as file:
        file.truncate(40 << 30)  # sparse
    with pytest.raises(
        CheckpointError,
        match=(
            f'cannot read the log {path}: it has 42,949,672,960 bytes: '
            'expected at most 2,147,483,648'
        ),
    ):
        read_text(path, 'log', CheckpointError)
    with pytest.raises(DatasetError, match='42,949,672,960 bytes'):
        _text(path)
    monkeypatch.setattr('pose_backbones.utils.files.MAX_TEXT', 3)
    path.write_bytes(b'abc')
    assert read_text(path) == 'abc'
    path.write_bytes(b'ab\xff')
    assert _text(path) == 'ab\ufffd'
    path.write_bytes(b'abcd')
    with pytest.raises(DatasetError, match='4 bytes: expected at most 3'):
        read_text(path)


@pytest.mark.parametrize('as_user', [False, True])
def test_file_problem_reports_missing_permission(tmp_path, as_user):
    """Also checked as another user, since root can read every file."""
    path = tmp_path / 'secret'
    path.write_text('x')
    path.chmod(0)
    tmp_path.chmod(0o755)
    code = (
        'import os, sys\n'
        'from pose_backbones.utils.files import file_problem\n'
        f'{"os.setuid(12345)" if as_user else ""}\n'
        'print(file_problem(sys.argv[1]))'
    )
    done = run_code(code, path)
    root = os.getuid() == 0 and not as_user
    assert done.stdout.strip() == ('None' if root else 'Permission denied')


def test_output_must_not_be_an_input_under_any_path(tmp_path, monkeypatch):
    source = tmp_path / 'Source.json'
    source.write_text('kept')
    os.link(source, tmp_path / 'hard.json')
    (tmp_path / 'soft.json').symlink_to(source)
    (tmp_path / 'd').mkdir()
    (tmp_path / 'e').symlink_to('d')
    monkeypatch.chdir(tmp_path / 'd')
    for name in (
        source,
        '../Source.json',
        tmp_path / 'hard.json',
        '../soft.json',
        '../e/../Source.json',
        './/../hard.json',
    ):
        with pytest.raises(
            WorkDirError,
            match='--out: .* is an input of this command, .*Source.json, which would be',
        ):
            check_output_file(name, '--out', [None, 'https://a/b', source], overwrite=True)
    check_not_input('other.json', '--out', [source])
    check_output_file('other.json', '--out', [source])
    assert not Path('other.json').exists()
    Path('other.json').write_text('user content')
    with pytest.raises(
        WorkDirError,
        match='other.json already exists: '
        'choose another name with --out, or replace it with '
        '--overwrite',
    ):
        check_output_file('other.json', '--out', [source])
    check_output_file('other.json', '--out', [source], overwrite=True)
    assert Path('other.json').read_text() == 'user content'
    assert source.read_text() == 'kept'


def test_writable_checks_leave_no_files(tmp_path):
    make_special_files(tmp_path)
    existing = tmp_path / 'file'
    existing.write_text('user content')
    before = sorted(tmp_path.iterdir())
    for path, message in (
        (existing / 'x', 'file is not a directory'),
        (tmp_path / 'loop', 'Too many levels of symbolic links'),
        (tmp_path / 'loop/x', 'loop is not a directory'),
        (tmp_path / 'fifo', 'is a named pipe'),
        (tmp_path / 'device', 'is a character device'),
        (tmp_path / 'folder', 'is a directory'),
        (tmp_path / ('n' * 256), 'File name too long'),
        (tmp_path / ('n' * 256) / 'x', 'File name too long'),
        (Path('/proc/none/x'), 'cannot create a directory in /proc'),
    ):
        with pytest.raises(WorkDirError, match=message):
            check_writable_file(path, '--out')
        if path.name not in ('folder', 'loop'):
            with pytest.raises(WorkDirError, match='--out .*'):
                check_writable_dir(path, '--out')
    check_writable_file(existing, '--out')
    check_writable_file(tmp_path / 'a/b/c', '--out')
    check_writable_file(tmp_path / ('é' * 127), '--out')
    check_writable_dir(tmp_path / 'a/b', '--out')
    assert sorted(tmp_path.iterdir()) == before
    assert existing.read_text() == 'user content'


def test_directory_that_another_process_removes_is_created_again(tmp_path: Path) -> None:
    folder = tmp_path / 'a' / 'b'
    removals = iter(range(2))
    created: list[Path] = []

    def write() -> None:
        if next(removals, None) is not None:
            folder.rmdir()
            folder.parent.rmdir()
        (folder / 'file').write_text('content')

    write_to_folder(folder, write, created)
    assert (folder / 'file').read_text() == 'content'
    assert set(created) == {folder, folder.parent}
    with pytest.raises(FileNotFoundError, match='none'):
        write_to_folder(folder, (folder / 'none').read_text)


@pytest.mark.parametrize('loop', ['check', 'draft', 'lock'])
def test_processes_that_write_to_the_same_new_directory(tmp_path: Path, loop: str) -> None:
    """The check of one process removes the empty directory that another is about to write to."""
    code = (
        'import sys\n'
        'from pathlib import Path\n'
        'from pose_backbones.utils.files import check_writable_dir, draft_folder\n'
        'from pose_backbones.utils.lock import lock_directory\n'
        'folder = Path(sys.argv[1], "new")\n'
        'for _ in range(int(sys.argv[3])):\n'
        '    if sys.argv[2] == "check":\n'
        '        check_writable_dir(folder, "--out")\n'
        '    elif sys.argv[2] == "draft":\n'
        '        with draft_folder(folder / "out") as draft:\n'
        '            (draft / "file").write_text("")\n'
        '    else:\n'
        '        with lock_directory(folder, "--out"):\n'
        '            pass\n'
    )
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', code, tmp_path, kind, '1000'], stderr=subprocess.PIPE, text=True
        )
        for kind in ('check', loop)
    ]
    outputs = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs


@pytest.mark.parametrize('name', ['a\0b', 'a\0/b', 'a\ud800'])
@pytest.mark.parametrize('check', [check_writable_file, check_writable_dir, check_output_file])
def test_writable_checks_reject_invalid_names(tmp_path, check, name):
    with pytest.raises(WorkDirError, match='cannot be written: its name is not a valid file name'):
        check(tmp_path / name, '--out')
    assert not list(tmp_path.iterdir())


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of 256 KiB."""
    with small_disk(tmp_path / 'small', '256k') as folder:
        yield folder


def fill_disk(folder: Path) -> None:
    with open(folder / 'filler', 'wb', buffering=0) as file:
        with pytest.raises(OSError, match='No space left'):
            file.write(bytes(1 << 20)) and file.write(bytes(1 << 20))


def test_atomic_write_keeps_old_file_on_full_disk(disk):
    path = disk / 'page.html'
    path.write_text('old')
    with (
        pytest.raises(
            WorkDirError, match='--out .*page.html cannot be written: No space left on device'
        ),
        convert_write_errors(path, '--out'),
        atomic_write(path) as draft,
    ):
        draft.write_bytes(bytes(1 << 20))
    assert [file.name for file in disk.iterdir()] == ['page.html']
    assert path.read_text() == 'old'
    fill_disk(disk)
    for check, at in ((check_writable_file, path), (check_writable_dir, disk)):
        with pytest.raises(WorkDirError, match='No space left on device'):
            check(at, '--out')
    assert {file.name for file in disk.iterdir()} == {'page.html', 'filler'}


def test_atomic_write_flushes_before_renaming(tmp_path, monkeypatch):
    events = []
    for owner, name in ((os, 'fsync'), (Path, 'replace')):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, real=real, name=name: (events.append(name), real(*args))[1]
        )
    path = tmp_path / ('n' * 255)
    with atomic_write(path) as draft:
        assert draft.parent == tmp_path
        assert draft.name.endswith('.part')
        draft.write_text('new')
    assert path.read_text() == 'new'
    assert events == ['fsync', 'replace', 'fsync']
    assert list(tmp_path.iterdir()) == [path]


def test_remove_drafts_keeps_other_files(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
    kept = [
        'mine.part',
        'a/b.part',
        'c.json.partial',
        'c.json.1.part.txt',
        'movie.1.part',
        'movie.part1.mp4',
        'a/movie.part1.mp4',
        'a/c.json.12.part',
        'b/c.json.12.part',
        'a/b.part1.mp4',
    ]
    written = [tmp_path / name for name in ('c.json', 'a/b.mp4', 'a/b.part1.mp4', 'none/d.png')]
    for name in (
        *kept,
        'c.json.12.part',
        'a/b.mp4.7.part',
        'a/b.part34.mp4',
        'a/b.part34.whole.mp4',
    ):
        (tmp_path / name).touch()
    remove_drafts(written)
    assert sorted(
        str(file.relative_to(tmp_path)) for file in tmp_path.rglob('*') if file.is_file()
    ) == sorted(kept)


def test_check_no_symlinks_rejects_linked_directory(tmp_path):
    for name in ('real/a', 'photographs'):
        (tmp_path / name).mkdir(parents=True)
    out = tmp_path / 'out'
    out.symlink_to('real')
    (out / 'pictures').symlink_to(tmp_path / 'photographs')
    check_no_symlinks([out / 'a/b.png', out / 'c.json'], out, '--out')
    with pytest.raises(
        WorkDirError, match='--out: .*out/pictures is a link to .*photographs, where files would'
    ):
        check_no_symlinks([out / 'c.json', out / 'pictures/b/c'], out, '--out')


def test_atomic_write_reports_file_size_limit(tmp_path):
    path = tmp_path / 'x'
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with (
            pytest.raises(WorkDirError, match=os.strerror(errno.EFBIG)),
            convert_write_errors(path, 'OUT'),
            atomic_write(path) as draft,
        ):
            draft.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
