"""Readers of files return or raise a `PoseBackbonesError`, whatever is in the file.

`python -m tests.fuzzing` searches for more inputs, guided by coverage.
"""

import os
import pickle
import random
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from pose_backbones.errors import DatasetError

from .mutate import mutate
from .seeds import seeds
from .select_inputs import executed_lines, select
from .targets import _WATCH, MAX_MEMORY, TARGETS, Target, TimeLimitError, clear, workspace


@pytest.fixture(scope='module')
def folder():
    with workspace() as folder:
        yield folder


@pytest.mark.parametrize(
    'path', [pytest.param(p, id=f'{t}-{p.name}') for t in TARGETS for p in TARGETS[t].files]
)
def test_corpus(path, folder):
    """Seeds, inputs that cover other code, and inputs that had failed."""
    clear(folder)
    TARGETS[path.parent.name].run(path.read_bytes(), folder)


def test_seeds_are_read(folder):
    """Otherwise, mutations of them would test only the first check."""
    for name, files in seeds().items():
        for file, content in files.items():
            clear(folder)
            message = TARGETS[name].run(content, folder)
            assert bool(message) == (file == 'plain.pkl'), (file, message)
            assert (TARGETS[name].corpus / file).is_file()


@pytest.mark.parametrize('name', TARGETS)
def test_mutated_files(name, folder):
    target = TARGETS[name]
    rng = random.Random(name)
    contents = [path.read_bytes() for path in target.files]
    valid = list(seeds()[name].values())
    messages = []
    for number in range(target.count):
        # Many inputs of the corpus are invalid at once.
        content = rng.choice(valid if number % 2 else contents)
        content = mutate(content, target.kind, rng, contents)
        clear(folder)
        try:
            messages.append(target.run(content, folder))
        except BaseException as error:
            raise AssertionError(f'file {number}: {content[:2000]!r}') from error
    # both occur: the mutations are neither without effect nor always rejected by the first check
    assert sum(not message for message in messages) > 0.02 * target.count
    assert sum(bool(message) for message in messages) > 0.2 * target.count


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (KeyError('images'), KeyError),
        (DatasetError('two\nlines'), AssertionError),
        (DatasetError('x' * 2000), AssertionError),
        (DatasetError(''), AssertionError),
    ],
    ids=['other class', 'lines', 'long', 'empty'],
)
def test_faults_are_found(error, expected, tmp_path):
    def read(folder: Path) -> None:
        raise error

    with pytest.raises(expected):
        Target('x', 'x.json', 'json', read).run(b'', tmp_path)


def test_slow_reader_is_found(tmp_path, monkeypatch):
    def read(folder: Path) -> None:
        while True:
            pass

    monkeypatch.setattr('tests.fuzzing.targets.MAX_SECONDS', 0.1)
    with pytest.raises(TimeLimitError, match=r'more than 0\.1 CPU seconds'):
        Target('x', 'x.json', 'json', read).run(b'', tmp_path)


def _import_pickle(folder: Path) -> None:
    pickle.loads(b'cmath\nfloor\n.')


def _write_elsewhere(folder: Path) -> None:
    (folder.parent / 'elsewhere').write_text('')


def _write_beside(folder: Path) -> None:
    (folder.parent / f'{folder.name}_2').write_text('')


def _write_into_environment(folder: Path) -> None:
    with suppress(FileNotFoundError):
        os.chmod(Path(sys.prefix, 'no such file'), 0o644)


def _truncate(folder: Path) -> None:
    os.truncate(folder.parent / 'file', 0)


def _change_time(folder: Path) -> None:
    os.utime(folder.parent / 'file')


def _change_owner(folder: Path) -> None:
    os.chown(folder.parent / 'file', -1, -1)


def _start_process(folder: Path) -> None:
    subprocess.run(['true'], check=True)


@pytest.mark.parametrize(
    ('read', 'event'),
    [
        (_import_pickle, 'pickle.find_class'),
        (_write_elsewhere, 'open'),
        (_write_beside, 'open'),
        (_write_into_environment, 'os.chmod'),
        (_truncate, 'os.truncate'),
        (_change_time, 'os.utime'),
        (_change_owner, 'os.chown'),
        (_start_process, 'subprocess.Popen'),
    ],
)
def test_forbidden_actions_are_found(read, event, tmp_path):
    (tmp_path / 'inside').mkdir()
    (tmp_path / 'file').write_text('')
    with pytest.raises(AssertionError, match=event):
        Target('x', 'x.json', 'json', read).run(b'', tmp_path / 'inside')


def test_allowed_changes(tmp_path):
    """In the folder, and of Python's compiled modules."""

    def read(folder: Path) -> None:
        path = folder / 'file'
        path.write_text('text')
        os.truncate(path, 0)
        os.utime(path)
        path.rename(folder / 'other')
        _WATCH._record('os.mkdir', (f'{sys.prefix}/lib/package/__pycache__', 0o777, -1))
        _WATCH._record('open', (f'{sys.prefix}/lib/__pycache__/a.pyc.1', None, os.O_WRONLY))

    assert Target('x', 'x.json', 'json', read).run(b'', tmp_path) == ''


@pytest.mark.skipif(sys.platform != 'linux', reason='the limit is that of Linux')
def test_large_allocation_is_found(tmp_path):
    def read(folder: Path) -> None:
        bytearray(2 * MAX_MEMORY)

    with pytest.raises(MemoryError):
        Target('x', 'x.json', 'json', read).run(b'', tmp_path)


@pytest.mark.skipif(sys.version_info < (3, 12), reason='sys.monitoring is new in Python 3.12')
def test_selected_inputs_execute_all_lines(folder):
    target = TARGETS['metafile']
    inputs = {}
    for path in target.files:
        clear(folder)
        inputs[path.name] = executed_lines(partial(target.run, path.read_bytes(), folder))
    lines = set.union(*inputs.values())
    assert {Path(file).name for file, _ in lines} >= {'metafile.py'}
    inputs['same'] = inputs[path.name]
    selected = select(inputs, set())
    assert 1 < len(selected) < len(inputs)
    assert set.union(*(inputs[name] for name in selected)) == lines
    first = inputs[selected[0]]
    assert len(first) == max(map(len, inputs.values()))
    assert select(inputs, first) == selected[1:]
