"""Tests of signals to the tools: one message, the exit status of shells, no leftover files."""

import errno
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import entry_point as cli
from pose_backbones.cli import stopping
from pose_backbones.errors import ConfigError
from tests.helpers.processes import Process, children, runs, start
from tests.helpers.tools import ROOT


@pytest.fixture
def forked(tmp_path):
    """Function that runs another function as a tool in a separate process."""

    def fork(main) -> Process:
        log = tmp_path / 'log.txt'
        log.touch()
        pid = os.fork()
        if pid:
            return Process(pid, log, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        end = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(end, 1)
        os.dup2(end, 2)
        sys.stdout, sys.stderr = open(1, 'w'), open(2, 'w')
        status = 99
        try:
            cli.run(main)
            status = 0
        except SystemExit as left:
            status = left.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)

    return fork


def handles(pid: int, number: int) -> bool:
    """Return whether a process has a handler of a signal."""
    caught = re.search(r'^SigCgt:\s*(\w+)', Path(f'/proc/{pid}/status').read_text(), re.MULTILINE)
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def say_go() -> None:
    print('go', flush=True)


@pytest.mark.parametrize(
    ('tool', 'number'),
    [
        ('train.py', signal.SIGINT),
        ('test.py', signal.SIGTERM),
        ('get_flops.py', signal.SIGINT),
        ('_launch.py', signal.SIGINT),
    ],
)
def test_signal_while_loading(tmp_path, tool, number):
    process = start([sys.executable, ROOT / 'tools' / tool], tmp_path / 'log.txt')
    process.wait_until(lambda: handles(process.pid, signal.SIGHUP))  # the last of the three
    process.send(number)
    assert process.wait() == 128 + number
    assert process.output == ('stopped while loading; nothing was read or written\n')


@pytest.mark.parametrize(
    ('number', 'group', 'persistent'),
    [(signal.SIGINT, True, False), (signal.SIGTERM, False, True), (signal.SIGHUP, False, False)],
)
def test_signal_while_training_with_data_workers(
    server, tiny_config, synthetic, tmp_path, number, group, persistent
):
    work = tmp_path / 'work'
    before = set(server.temporary.glob('pymp*'))  # of processes that other tests have killed
    process = server.start(
        'train.py',
        tiny_config,
        '--data-root',
        synthetic,
        '--work-dir',
        work,
        '--cfg-options',
        'train_cfg.max_iters=2000',
        'train_dataloader.num_workers=2',
        f'train_dataloader.persistent_workers={persistent}',
    )
    process.wait_for('Saving checkpoint at 4 ')
    workers = children(process.pid)
    assert len(workers) == 2
    began = time.monotonic()
    process.send(number, group)
    assert process.wait() == 128 + number, process.output
    assert time.monotonic() < began + 25
    assert len(process.user_messages()) == 1
    assert process.output.splitlines()[-1].startswith('stopped; ')
    assert 'Traceback' not in process.output
    deadline = time.monotonic() + 5
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)  # The data workers remove their folders, and may end last.
    assert not any(map(runs, workers))
    assert set(server.temporary.glob('pymp*')) <= before
    assert {file.suffix for file in work.glob('*')} <= {'.pth', '.py', ''}
    for file in work.glob('*.pth'):
        assert read_checkpoint(file)['meta']['iter'] >= 2


def test_signal_while_testing(server, tiny_config, synthetic, tmp_path):
    from mmengine.config import Config
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    torch.save(
        {'state_dict': MODELS.build(Config.fromfile(str(tiny_config)).model).state_dict()},
        tmp_path / 'w.pth',
    )
    (tmp_path / 'm.json').write_text('{"coco/AP": 0.5}')
    process = server.start(
        'test.py',
        tiny_config,
        tmp_path / 'w.pth',
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--out',
        tmp_path / 'm.json',
        '--cfg-options',
        'test_dataloader.batch_size=1',
        'default_hooks.logger.interval=1',
    )
    process.wait_for('Iter(test)')
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert process.user_messages() == [
        'stopped; the results are not complete; run the command again'
    ]
    assert (tmp_path / 'm.json').read_text() == '{"coco/AP": 0.5}'


def test_unresponsive_main_thread_is_ended(forked):
    """As in a wait for another process: C++ code that signals do not interrupt."""

    def main(_):
        store = dist.TCPStore('127.0.0.1', 0, 1, True)
        say_go()
        store.wait(['never'])

    process = forked(main)
    process.wait_for('go')
    began = time.monotonic()
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert 2 < time.monotonic() - began < 5
    assert process.user_messages() == ['stopped; run the command again']


def sleep_in_the_end(file=None):
    def main(_):
        stopping.when_stopped(lambda: 'it is kept')
        try:
            say_go()
            time.sleep(60)
        finally:
            time.sleep(1 if file else 60)
            if file:
                file.write_text('whole')

    return main


def test_second_signal_ends_at_once(forked):
    process = forked(sleep_in_the_end())
    process.wait_for('go')
    process.send(signal.SIGINT)
    time.sleep(0.4)
    assert process.runs()
    began = time.monotonic()
    process.send(signal.SIGINT)
    assert process.wait() == 130
    assert time.monotonic() < began + 3
    assert process.user_messages() == ['stopped; it is kept']


def test_simultaneous_signals_count_as_one(forked, tmp_path):
    process = forked(sleep_in_the_end(tmp_path / 'file'))
    process.wait_for('go')
    process.send(signal.SIGTERM)
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert (tmp_path / 'file').read_text() == 'whole'
    assert process.user_messages() == ['stopped; it is kept']


def test_signal_where_python_ignores_exceptions(forked):
    class Slow:
        def __del__(self):
            say_go()
            time.sleep(60)

    def main(_):
        one = Slow()
        del one
        time.sleep(60)

    process = forked(main)
    process.wait_for('go')
    began = time.monotonic()
    process.send(signal.SIGINT)
    assert process.wait() == 130
    assert time.monotonic() < began + 8
    assert process.output == 'go\nstopped; run the command again\n'


def test_finishing_suspends_the_time_limit(forked, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, '_UNWINDING_TIME', 0.5)

    def main(_):
        try:
            say_go()
            time.sleep(60)
        except KeyboardInterrupt as stop:
            with stopping.finishing():
                time.sleep(1.5)
                (tmp_path / 'file').write_text('whole')
            return stopping.SIGNAL_STATUS_BASE + stop.number

    process = forked(main)
    process.wait_for('go')
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert (tmp_path / 'file').read_text() == 'whole'


def test_ignored_signals_stay_ignored(forked):
    def main(_):
        say_go()
        time.sleep(0.5)
        return 7

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = forked(main)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.wait_for('go')
    process.send(signal.SIGHUP)
    assert process.wait() == 7


def raising(error):
    def main(_):
        raise error

    return main


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/a/b'),
            '/a/b: No space left on device: free some space there, or choose another directory',
        ),
        (
            OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
            'Disk quota exceeded: free some space there, or choose another directory',
        ),
        (PermissionError(errno.EACCES, 'Permission denied', '/a'), '/a: Permission denied'),
        (OSError(errno.EROFS, 'Read-only file system', b'/a'), '/a: Read-only file system'),
        (OSError(errno.ENAMETOOLONG, 'File name too long', '/n'), '/n: File name too long'),
        (
            OSError(errno.EXDEV, 'Cross-device link', '/a', None, '/b'),
            '/a -> /b: Cross-device link',
        ),
        (
            OSError(
                'Caught OSError in DataLoader worker process 0.\nOriginal '
                'Traceback\n  more\nOSError: [Errno 5] Input/output error'
            ),
            'Input/output error',
        ),
        (ConfigError('a=1: expected 2'), 'a=1: expected 2'),
    ],
)
def test_system_errors_print_one_line(forked, error, line):
    process = forked(raising(error))
    assert process.wait() == 2
    assert process.output == f'error: {line}\n'


def test_internal_errors_keep_their_traceback(forked):
    process = forked(raising(KeyError('x')))
    assert process.wait() == 99
    assert 'Traceback' in process.output
    assert "KeyError: 'x'" in process.output
