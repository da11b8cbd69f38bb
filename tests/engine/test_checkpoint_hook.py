"""Tests that checkpoints survive kills, full disks, copied runs and diverged weights."""

import os
import shutil
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli.train import _full_disk
from pose_backbones.engine.checkpoints import find_latest, latest_checkpoint
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.engine.saving import to_plain, write_checkpoint
from pose_backbones.errors import CheckpointError, ConfigError, TrainingError, WorkDirError
from pose_backbones.preflight import saved_summary
from tests.helpers.tools import ROOT, run_tool, small_disk
from tests.helpers.toy_runs import toy_config, train_toy, with_validation

SCRIPT = ROOT / 'tests/helpers/killed_training.py'
POINTS = (
    'before_writing',
    'half_written',
    'written',
    'renamed',
    'pointer_written',
    'pointed',
    'before_removal',
    'removed',
)
KEEP_ONE = dict(default_hooks__checkpoint__max_keep_ckpts=1)


def file_names(folder: Path) -> set[str]:
    """Return the names of the files of a run, except for its config."""
    return {file.name for file in folder.iterdir() if file.is_file() and file.suffix != '.py'}


def assert_same_checkpoints(first: Path, second: Path) -> None:
    """Assert that the weights, optimizer and schedule of two checkpoints are equal."""
    first, second = read_checkpoint(first), read_checkpoint(second)
    assert first['meta']['iter'] == second['meta']['iter']
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(first[key], second[key], key)


def assert_equal(first, second, place: str) -> None:
    """Assert that nested values are equal; tensors are compared bit by bit."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            assert_equal(first[key], second[key], f'{place}.{key}')
    elif isinstance(first, list):
        assert len(first) == len(second), place
        for number, pair in enumerate(zip(first, second)):
            assert_equal(*pair, f'{place}.{number}')
    elif torch.is_tensor(first):
        assert torch.equal(first, second), place
    else:
        assert first == second, place


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory) -> Path:
    """Train a run without interruption."""
    work = tmp_path_factory.mktemp('uninterrupted')
    train_toy(work, randomness=dict(seed=5), **KEEP_ONE)
    return work


@pytest.fixture(scope='module')
def killed(tmp_path_factory) -> Path:
    """Train runs that are killed at each point of saving their third checkpoint."""
    folder = tmp_path_factory.mktemp('killed')
    done = run_tool(SCRIPT, folder, *POINTS)
    assert done.returncode == 0, done.stdout
    assert (folder / 'signals').read_text().split() == [
        word for point in POINTS for word in (point, str(int(signal.SIGKILL)))
    ], done.stdout
    return folder


@pytest.mark.parametrize('point', POINTS)
def test_kill_while_saving_leaves_complete_checkpoint(killed, tmp_path, point):
    """With `max_keep_ckpts=1`. The resumed run equals one that was not killed."""
    work = shutil.copytree(killed / point, tmp_path / 'work')
    path, content = find_latest(work)
    saved = POINTS.index(point) >= POINTS.index('renamed')
    assert path.name == ('iter_6.pth' if saved else 'iter_4.pth')
    assert content['meta']['iter'] == (6 if saved else 4)
    train_toy(work, resume=True, **KEEP_ONE)
    assert file_names(work) == {'iter_8.pth', 'last_checkpoint'}
    seed = content['meta']['seed']
    train_toy(tmp_path / 'straight', randomness=dict(seed=seed), **KEEP_ONE)
    assert_same_checkpoints(work / 'iter_8.pth', tmp_path / 'straight/iter_8.pth')


def test_run_keeps_one_checkpoint_and_pointer(uninterrupted):
    """The pointer contains only the file name."""
    assert file_names(uninterrupted) == {'iter_8.pth', 'last_checkpoint'}
    assert (uninterrupted / 'last_checkpoint').read_text() == 'iter_8.pth'
    info = read_checkpoint(uninterrupted / 'iter_8.pth')['message_hub']['runtime_info']
    assert info['last_ckpt'] == 'iter_8.pth'


@pytest.fixture
def disk(tmp_path) -> Path:
    """Mount a disk of 32 KB."""
    with small_disk(tmp_path / 'disk', '32k') as folder:
        yield folder


@pytest.mark.parametrize('sizes', [(100_000,), (1000,) * 60])
def test_full_disk_keeps_earlier_checkpoint(disk, sizes):
    """There is one error, no partial file, and the earlier file is not modified."""
    path = disk / 'iter_2.pth'
    write_checkpoint(dict(weight=torch.ones(3)), path)
    before = path.read_bytes()
    content = {str(number): torch.zeros(size) for number, size in enumerate(sizes)}
    with pytest.raises(WorkDirError, match='No space left on device. Free'):
        write_checkpoint(content, path)
    assert os.listdir(disk) == ['iter_2.pth']
    assert path.read_bytes() == before


def test_disk_that_fills_up_ends_run_with_one_error(disk, tmp_path):
    """The error names the newest complete checkpoint, from which the run can be resumed."""
    work = tmp_path / 'work'
    work.mkdir()
    (disk / 'work').mkdir()
    out = dict(default_hooks__checkpoint__out_dir=str(disk))
    with pytest.raises(WorkDirError) as error_info:
        train_toy(work, **out)
    message = str(error_info.value)
    saved = sorted(file_names(disk / 'work'))
    assert saved[-1] == 'last_checkpoint'
    assert 1 < len(saved) < 5
    assert f'/{saved[-2]}; continue with --resume' in message
    assert 'No space left on device' in message
    newest = find_latest(disk / 'work')[0]
    assert newest.name == saved[-2]
    more = tmp_path / 'more'  # another disk with enough space
    shutil.copytree(disk / 'work', more / 'work')
    out = dict(default_hooks__checkpoint__out_dir=str(more))
    assert train_toy(work, resume=True, **out).iter == 8
    assert 'iter_8.pth' in file_names(more / 'work')


def test_log_on_full_disk_raises_one_error(disk):
    """Python's logging would print a traceback for each line."""
    cfg = toy_config(disk / 'work', log_level='INFO')
    runner = PoseRunner.from_cfg(cfg)
    with (
        pytest.raises(
            WorkDirError, match='No space left on device. Free some space. nothing was saved yet'
        ),
        _full_disk(disk / 'work'),
    ):
        runner.logger.info('x' * 100_000)


@HOOKS.register_module()
class SetInfiniteBuffer(Hook):
    """Set a buffer to infinity."""

    def after_train_iter(self, runner, *args, **kwargs):
        """Set the running variance to infinity."""
        runner.model.norm.running_var[1] = float('inf')


def test_diverged_weights_are_not_saved(tmp_path):
    train_toy(tmp_path, train_cfg__max_iters=4, **KEEP_ONE)
    before = (tmp_path / 'iter_4.pth').read_bytes()
    with pytest.raises(TrainingError, match='norm.running_var'):
        train_toy(tmp_path, resume=True, custom_hooks=[dict(type='SetInfiniteBuffer')], **KEEP_ONE)
    assert file_names(tmp_path) == {'iter_4.pth', 'last_checkpoint'}
    assert (tmp_path / 'iter_4.pth').read_bytes() == before


BEST = dict(
    default_hooks__checkpoint__save_best='toy/growing', default_hooks__checkpoint__rule='greater'
)


def test_copied_run_does_not_affect_original(tmp_path):
    """The checkpoints of the original, including the best one, are neither read nor removed."""
    first = tmp_path / 'first'
    options = dict(**with_validation(), **BEST, **KEEP_ONE)
    train_toy(first, train_cfg__max_iters=4, **{**options})
    second = shutil.copytree(first, tmp_path / 'second')
    # MMEngine and earlier releases of this package write the full path.
    (second / 'last_checkpoint').write_text(str(first / 'iter_4.pth'))
    content = read_checkpoint(second / 'iter_4.pth')
    info = content['message_hub']['runtime_info']
    assert info['best_ckpt'] == 'best_toy_growing_iter_4.pth'
    info['best_ckpt'] = str(first / info['best_ckpt'])
    torch.save(content, second / 'iter_4.pth')
    before = {file: file.read_bytes() for file in first.glob('*.pth')}
    assert latest_checkpoint(second) == str(second / 'iter_4.pth')

    options = dict(**with_validation(sign=10.0), **BEST, **KEEP_ONE)
    train_toy(second, resume=True, **options)
    assert {file: file.read_bytes() for file in first.glob('*.pth')} == before
    assert file_names(second) == {'iter_8.pth', 'best_toy_growing_iter_8.pth', 'last_checkpoint'}


@pytest.mark.parametrize('name', ['victim', 'best_victim.pth'])
def test_recorded_path_in_other_directory_is_not_removed(tmp_path, name):
    train_toy(tmp_path / 'work', train_cfg__max_iters=4)
    other = tmp_path / name
    other.mkdir()
    (other / 'photo.jpg').write_text('user content')
    (tmp_path / 'work/notes.pth').write_text('user content')
    path = tmp_path / 'work/iter_4.pth'
    content = read_checkpoint(path)
    hub = content['message_hub']
    hub['runtime_info'].update(best_ckpt=str(other), best_score=-1.0)
    hub['resumed_keys'].update(best_ckpt=True, best_score=True)
    torch.save(content, path)
    train_toy(tmp_path / 'work', resume=path, **with_validation(), **BEST)
    assert (other / 'photo.jpg').read_text() == 'user content'
    assert (tmp_path / 'work/notes.pth').read_text() == 'user content'


def test_each_metric_has_one_best_checkpoint(tmp_path):
    """Also after the run is resumed."""
    options = {
        **with_validation(),
        **BEST,
        'default_hooks__checkpoint__save_best': ['toy/growing', 'toy/sum'],
    }
    train_toy(tmp_path, train_cfg__max_iters=4, **options)
    train_toy(tmp_path, resume=True, **{**options, **with_validation(sign=10.0)})
    best = sorted(file.name for file in tmp_path.glob('best_*'))
    assert len(best) == 2
    assert best[0] == 'best_toy_growing_iter_8.pth'


def test_resumed_run_removes_old_checkpoints(tmp_path):
    keep_two = dict(default_hooks__checkpoint__max_keep_ckpts=2)
    train_toy(tmp_path, train_cfg__max_iters=4, **keep_two)
    (tmp_path / 'iter_3.pth').write_bytes(b'user file')
    train_toy(tmp_path, resume=True, **keep_two)
    assert file_names(tmp_path) == {'iter_3.pth', 'iter_6.pth', 'iter_8.pth', 'last_checkpoint'}


def test_epoch_checkpoints_and_published_weights(tmp_path):
    epochs = dict(
        train_cfg=dict(by_epoch=True, max_epochs=3, _delete_=True),
        train_dataloader__sampler__type='DefaultSampler',
        default_hooks__checkpoint=dict(
            type='CheckpointHook',
            interval=1,
            max_keep_ckpts=2,
            by_epoch=True,
            published_keys=['state_dict'],
        ),
    )
    train_toy(tmp_path, **epochs)
    (published,) = tmp_path.glob('epoch_3-*.pth')
    assert set(read_checkpoint(published)) == {'state_dict'}
    assert file_names(tmp_path) == {'epoch_2.pth', 'epoch_3.pth', published.name, 'last_checkpoint'}
    content = read_checkpoint(tmp_path / 'epoch_3.pth')
    assert (content['meta']['epoch'], content['meta']['iter']) == (3, 9)


def test_unknown_best_metric_raises(tmp_path):
    options = {**with_validation(), **BEST, 'default_hooks__checkpoint__save_best': 'toy/AP'}
    with pytest.raises(ConfigError, match="save_best='toy/AP'.*toy/sum"):
        train_toy(tmp_path, **options)


def damage(path: Path, method: str) -> None:
    """Make a checkpoint unreadable."""
    content = bytearray(path.read_bytes())
    if method == 'empty':
        content = b''
    elif method == 'cut':
        content = content[: len(content) // 2]
    else:
        with zipfile.ZipFile(path) as archive:
            record = max(archive.infolist(), key=lambda info: info.file_size)
        content[record.header_offset + 200] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize('method', ['empty', 'cut', 'flipped'])
def test_damaged_checkpoint_falls_back_to_earlier_one(tmp_path, request, method):
    train_toy(tmp_path, train_cfg__max_iters=4)
    damage(tmp_path / 'iter_4.pth', method)
    mmengine_log = request.getfixturevalue('mmengine_log')  # attached to the logger of the run
    path, content = find_latest(tmp_path)
    assert (path.name, content['meta']['iter']) == ('iter_2.pth', 2)
    (warning,) = (
        record.message for record in mmengine_log.records if record.levelname == 'WARNING'
    )
    assert str(tmp_path / 'iter_4.pth') in warning
    assert 'newest complete checkpoint, iter_2.pth' in warning


@pytest.mark.parametrize('text', [b'', b'\xff\xfe', b'iter_9.pth', b'..'])
def test_invalid_pointer_falls_back_to_newest_checkpoint(tmp_path, request, text):
    train_toy(tmp_path, train_cfg__max_iters=4)
    (tmp_path / 'last_checkpoint').write_bytes(text)
    mmengine_log = request.getfixturevalue('mmengine_log')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'iter_4.pth')
    assert f'{tmp_path / "last_checkpoint"} cannot be used' in mmengine_log.text
    assert 'iter_4.pth' in mmengine_log.text


def test_latest_checkpoint_order(tmp_path):
    """Checkpoints are ordered by number; one that was saved after the pointer comes first."""
    assert latest_checkpoint(tmp_path) is None
    moment = 1_600_000_000

    def save(name: str) -> None:
        nonlocal moment
        moment += 1
        file = tmp_path / name
        if name.endswith('.pth'):
            torch.save(dict(meta=dict(iter=1, epoch=0)), file)
        os.utime(file, (moment, moment))

    for name in ('iter_900.pth', 'iter_1000.pth', 'best_coco_AP_iter_7.pth'):
        save(name)
    assert Path(latest_checkpoint(tmp_path)).name == 'iter_1000.pth'
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('/moved/away/iter_900.pth')
    save('last_checkpoint')
    assert Path(latest_checkpoint(tmp_path)).name == 'iter_900.pth'
    save('iter_1100.pth')  # The run was killed before the pointer was updated.
    assert Path(latest_checkpoint(tmp_path)).name == 'iter_1100.pth'
    save('epoch_3.pth')  # an epoch-based run, with a checkpoint that was saved because of a signal
    assert Path(latest_checkpoint(tmp_path)).name == 'epoch_3.pth'


@pytest.mark.parametrize('left', ['pointer', 'damaged'])
def test_resume_without_complete_checkpoint_raises(tmp_path, left):
    (tmp_path / 'last_checkpoint').write_text('iter_2.pth')
    if left == 'damaged':
        (tmp_path / 'iter_2.pth').write_bytes(b'PK')
    with pytest.raises(CheckpointError, match='train from scratch with --overwrite'):
        train_toy(tmp_path, resume=True)


def test_to_plain_drops_values_that_are_not_data():
    from collections import Counter, deque

    import numpy as np

    dropped = []
    value = to_plain(
        dict(
            a=np.float32(0.5),
            b=Path('/x'),
            c=deque([1, 2]),
            d=len,
            e=Counter([3, 3]),
            f=np.array(['left', 'right']),
            g=np.arange(2),
            h=(1, print),
        ),
        'top',
        dropped.append,
    )
    array = value.pop('g')
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [0, 1]
    assert value == dict(a=0.5, b='/x', c=[1, 2], e={3: 2}, f=['left', 'right'], h=(1,))
    assert type(value['a']) is float
    assert dropped == ['top.d', 'top.h[1]']


def test_saved_summary_names_newest_complete_checkpoint(tmp_path):
    assert saved_summary(tmp_path) == f'nothing was saved yet in {tmp_path}'
    train_toy(tmp_path, train_cfg__max_iters=4)
    assert saved_summary(tmp_path) == (f'{tmp_path}/iter_4.pth is saved; continue with --resume')
    damage(tmp_path / 'iter_4.pth', 'cut')
    assert f'{tmp_path}/iter_2.pth is saved' in saved_summary(tmp_path)
