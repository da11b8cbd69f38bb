"""Tests of the work directory lock, and of saving a checkpoint when a signal arrives."""

import errno
import os
import signal
import threading

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.engine.checkpoints import find_latest
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.engine.signals import RunStopped, SaveOnSignalHook, SignalFlag, signal_number
from pose_backbones.errors import ConfigError, WorkDirError
from pose_backbones.utils import lock
from pose_backbones.utils.lock import lock_directory
from tests.helpers.tools import process_group
from tests.helpers.toy_runs import toy_config, train_toy

HOLDER = """
import os, sys, time
from pose_backbones.utils.lock import lock_directory
with lock_directory(sys.argv[1]):
    child = os.fork()  # like a data worker that outlives its run
    if child:
        print(child, flush=True)
    time.sleep(100)
"""


@pytest.fixture
def no_lock_timeout(monkeypatch):
    """Raise the error for a held lock at once."""
    monkeypatch.setattr(lock, '_TIMEOUT', 0.0)


def test_lock_rejects_second_run(server, tmp_path, monkeypatch):
    """The lock is released when the first run is killed, although its worker is alive."""
    work = tmp_path / 'work'
    holder = server.start_code(HOLDER, work)
    holder.wait_until(lambda: holder.output.endswith('\n'))
    child = int(holder.output)
    try:
        monkeypatch.setattr(lock, '_TIMEOUT', 0.0)
        with pytest.raises(WorkDirError) as error_info, lock_directory(work):
            pass
        assert f'another run is writing to {work} (process {holder.pid} on ' in str(
            error_info.value
        )
        monkeypatch.undo()
        holder.send(signal.SIGKILL)
        with lock_directory(work):
            os.kill(child, 0)  # the worker is alive
            assert f'process {os.getpid()}' in (work / '.lock').read_text()
        assert not (work / '.lock').exists()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.send(signal.SIGKILL)
        holder.wait()


def test_lock_is_released_after_block(tmp_path, no_lock_timeout):
    with pytest.raises(ZeroDivisionError), lock_directory(tmp_path):
        1 / 0  # noqa: B018
    with lock_directory(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('kind', ['link', 'hard link', 'file', 'fifo', 'folder'])
def test_lock_does_not_overwrite_other_file(tmp_path, kind):
    """A work directory of another user may contain any file under the name of the lock."""
    work_dir, target, lock_path = tmp_path / 'w', tmp_path / 'other', tmp_path / 'w/.lock'
    work_dir.mkdir()
    target.write_text('content')
    if kind == 'link':
        lock_path.symlink_to(target)
    elif kind == 'hard link':
        os.link(target, lock_path)
    elif kind == 'file':
        lock_path.write_text('content')
    elif kind == 'fifo':
        os.mkfifo(lock_path)
    else:
        lock_path.mkdir()
    with (
        pytest.raises(WorkDirError, match=(r'\.lock is not the lock file of a run')),
        lock_directory(work_dir),
    ):
        pass
    assert target.read_text() == 'content'
    assert os.path.lexists(lock_path)


def test_file_system_without_locks_logs_warning(tmp_path, monkeypatch, mmengine_log):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(lock.fcntl, 'lockf', refuse)
    with lock_directory(tmp_path):
        pass
    assert f'{tmp_path} cannot be locked (No locks available)' in mmengine_log.text


@pytest.mark.parametrize('place', ['file', 'file/below', '/proc/work'])
def test_unwritable_work_dir_raises(tmp_path, place):
    (tmp_path / 'file').write_text('')
    with pytest.raises(WorkDirError, match='--work-dir'), lock_directory(tmp_path / place):
        pass


def test_lock_reports_full_disk(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(lock.os, 'pwrite', refuse)
    with (
        pytest.raises(WorkDirError, match='No space left on device. Free some space'),
        lock_directory(tmp_path),
    ):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ('name', 'number'),
    [
        ('SIGUSR1', signal.SIGUSR1),
        ('usr2', signal.SIGUSR2),
        (str(int(signal.SIGTERM)), signal.SIGTERM),
    ],
)
def test_signal_number_accepts_names_and_numbers(name, number):
    assert signal_number(name) == number


@pytest.mark.parametrize('name', ['SIGKILL', 'STOP', 'config.py', '0', ''])
def test_signal_number_rejects_invalid_names(name):
    with pytest.raises(ConfigError, match='--save-on-signal'):
        signal_number(name)


@HOOKS.register_module()
class SendSignal(Hook):
    """Send a signal to this process at the start of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        """Send it."""
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGUSR1)


def train_until_signal(work, iteration: int, **options) -> str:
    """Train until a signal arrives; return the message of `RunStopped`."""
    cfg = toy_config(work, custom_hooks=[dict(type='SendSignal', iteration=iteration)], **options)
    runner = PoseRunner.from_cfg(cfg)
    with SignalFlag(signal.SIGUSR1) as flag:
        runner.register_hook(SaveOnSignalHook(flag))
        with pytest.raises(RunStopped) as error_info:
            runner.train()
    return str(error_info.value)


@pytest.mark.parametrize('keep', [-1, 1])
def test_signal_saves_checkpoint_and_stops(tmp_path, keep):
    """The resumed run equals a run that was not stopped."""
    options = dict(randomness=dict(seed=2), default_hooks__checkpoint__max_keep_ckpts=keep)
    work = tmp_path / 'work'
    message = train_until_signal(work, 4, **options)
    assert message == (f'stopped by SIGUSR1: {work}/iter_5.pth is saved; continue with --resume')
    assert (work / 'last_checkpoint').read_text() == 'iter_5.pth'
    train_toy(work, resume=True, **options)
    train_toy(tmp_path / 'straight', **options)
    resumed, uninterrupted = (
        read_checkpoint(folder / 'iter_8.pth') for folder in (work, tmp_path / 'straight')
    )
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert repr(resumed[key]) == repr(uninterrupted[key]), key
    if keep == 1:
        assert [file.name for file in work.glob('*.pth')] == ['iter_8.pth']


def test_signal_within_epoch_saves_iteration_checkpoint(tmp_path):
    """The checkpoint counts complete epochs and all iterations; the next epoch's replaces it."""
    options = dict(
        train_cfg=dict(by_epoch=True, max_epochs=3, _delete_=True),
        train_dataloader__sampler__type='DefaultSampler',
        default_hooks__checkpoint=dict(
            type='CheckpointHook', interval=1, by_epoch=True, max_keep_ckpts=1
        ),
    )
    message = train_until_signal(tmp_path, 4, **options)
    assert 'iter_5.pth is saved' in message
    path, content = find_latest(tmp_path)
    assert path.name == 'iter_5.pth'
    assert (content['meta']['epoch'], content['meta']['iter']) == (1, 5)
    assert {file.name for file in tmp_path.glob('*.pth')} == {'epoch_1.pth', 'iter_5.pth'}
    runner = train_toy(tmp_path, resume=True, **options)
    assert runner.epoch == 3
    assert {file.name for file in tmp_path.glob('*.pth')} == {'epoch_3.pth'}


def test_signal_before_training_is_handled_in_first_iteration(tmp_path):
    with SignalFlag(signal.SIGUSR1) as flag:
        os.kill(os.getpid(), signal.SIGUSR1)
        runner = PoseRunner.from_cfg(toy_config(tmp_path))
        runner.register_hook(SaveOnSignalHook(flag))
        with pytest.raises(RunStopped, match='iter_1.pth is saved'):
            runner.train()


def test_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGUSR1)
    with SignalFlag(signal.SIGUSR1):
        assert signal.getsignal(signal.SIGUSR1) != before
    assert signal.getsignal(signal.SIGUSR1) == before
    errors = []

    def handle_in_thread():
        try:
            with SignalFlag(signal.SIGUSR1):
                pass
        except ConfigError as error:
            errors.append(error)

    thread = threading.Thread(target=handle_in_thread)
    thread.start()
    thread.join()
    assert 'main thread' in str(errors[0])


def test_signal_stops_all_processes_at_same_iteration(server, tiny_config, synthetic, tmp_path):
    """The signal is sent to one of two processes."""
    work = tmp_path / 'work'
    options = ('train_cfg.max_iters=2000', 'default_hooks.checkpoint.interval=1000')
    command = ('train.py', tiny_config, '--data-root', synthetic, '--work-dir', work)
    command += ('--launcher', 'pytorch', '--save-on-signal', '--cfg-options', *options)
    workers = [server.start(*command, env=env) for env in process_group(2)]
    workers[0].wait_for('Iter(train) [   3/')
    workers[1].send(signal.SIGUSR1)
    codes = [worker.wait() for worker in workers]
    text = ''.join(worker.output for worker in workers)
    assert codes == [143, 143], text
    newest, content = find_latest(work)
    assert text.count(f'stopped by SIGUSR1: {newest} is saved') == 1
    assert content['meta']['iter'] >= 3
    assert 'Traceback' not in text
    assert torch.isfinite(next(iter(content['state_dict'].values()))).all()
    assert not (work / '.lock').exists()


def test_sigterm_reports_newest_checkpoint(server, tiny_config, synthetic, tmp_path):
    work = tmp_path / 'work'
    tool = server.start(
        'train.py',
        tiny_config,
        '--data-root',
        synthetic,
        '--work-dir',
        work,
        '--cfg-options',
        'train_cfg.max_iters=2000',
    )
    tool.wait_until((work / 'last_checkpoint').exists)
    tool.send(signal.SIGTERM)
    assert tool.wait() == 143, tool.output
    newest, content = find_latest(work)
    assert content['meta']['iter'] >= 2
    last = tool.output.splitlines()[-1]
    assert last == f'stopped; {newest} is saved; continue with --resume'
    assert not list(work.glob('*.partial'))
