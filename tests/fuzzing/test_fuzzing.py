"""Readers of files return or raise a `PoseBackbonesError`, whatever is in the file.

`python -m tests.fuzzing` searches for more inputs, guided by coverage.
"""

import random
from pathlib import Path

import pytest

from pose_backbones.errors import DatasetError

from .mutate import mutate
from .seeds import seeds
from .targets import TARGETS, Target, TimeLimitError, clear, workspace

#: number of mutated files of each target; YAML is slow
COUNTS = {name: 200 if target.kind == 'yaml' else 1500 for name, target in TARGETS.items()}


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
    messages = []
    for number in range(COUNTS[name]):
        content = mutate(rng.choice(contents), target.kind, rng, contents)
        clear(folder)
        try:
            messages.append(target.run(content, folder))
        except BaseException as error:
            raise AssertionError(f'file {number}: {content[:2000]!r}') from error
    # both occur: the mutations are neither without effect nor always rejected by the first check
    assert sum(not message for message in messages) > 0.02 * COUNTS[name]
    assert sum(bool(message) for message in messages) > 0.2 * COUNTS[name]


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
    with pytest.raises(TimeLimitError, match=r'more than 0\.1 s'):
        Target('x', 'x.json', 'json', read).run(b'', tmp_path)
