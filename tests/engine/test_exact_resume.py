"""A resumed run equals the run that was never stopped, bit for bit."""

import json
import random
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.errors import CheckpointError
from tests.helpers import noisy_runs
from tests.helpers.noisy_runs import (
    ACCUMULATE,
    EMA,
    EPOCHS,
    MID_EPOCH,
    PERSISTENT,
    PLATEAU,
    SEED,
    VALIDATE,
    WORKERS,
    NoisyData,
    train_noisy,
)
from tests.helpers.tools import run_together

#: changes of the config, and the checkpoints to resume from
CASES = {
    'iterations': ({}, [2, 6]),
    'iterations-finite-sampler': (
        {**SEED, **WORKERS, 'train_dataloader__sampler__type': 'DefaultSampler'},
        [2, 4, 6],
    ),
    'iterations-workers': (WORKERS, [4]),
    'iterations-persistent': ({**PERSISTENT, **SEED}, [2]),
    'iterations-accumulate': (ACCUMULATE, [2, 4, 6]),
    'iterations-ema': (EMA, [4]),
    'iterations-validate': ({**VALIDATE, **EMA}, [2, 4]),
    'epochs': (EPOCHS, [1, 2]),
    'epochs-workers': ({**EPOCHS, **WORKERS, **SEED}, [1]),
    'epochs-persistent': ({**EPOCHS, **PERSISTENT}, [2]),
    'epochs-validate': (
        {
            **EPOCHS,
            **VALIDATE,
            'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=3, val_interval=1),
        },
        [1, 2],
    ),
    'epochs-plateau': (
        {
            **EPOCHS,
            **PLATEAU,
            'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=3, val_interval=1),
        },
        [1, 2],
    ),
    'epochs-accumulate-ema': (
        {**EPOCHS, **ACCUMULATE, **EMA, 'optim_wrapper__accumulative_counts': 2},
        [1],
    ),
    'mid-epoch': (MID_EPOCH, [1, 3, 5, 6]),
    'mid-epoch-all': (
        {
            **MID_EPOCH,
            **PERSISTENT,
            **ACCUMULATE,
            **EMA,
            **VALIDATE,
            'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=3, val_interval=1),
        },
        [2, 3, 7],
    ),
}


def numbered(work: Path) -> dict[int, Path]:
    """The checkpoints of a run by their numbers."""
    return {
        int(file.stem.split('_')[-1]): file
        for pattern in ('iter_*.pth', 'epoch_*.pth')
        for file in work.glob(pattern)
    }


def scalars(work: Path) -> dict[tuple, float]:
    """What was logged at each step, but for times."""
    rows = {}
    for file in sorted(work.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            rows.update(
                {
                    (row['step'], name): value
                    for name, value in row.items()
                    if name not in ('time', 'data_time', 'memory')
                }
            )
    return rows


def differences(first, second, path: str = '') -> list[str]:
    """Where two checkpoints differ, but for times, names and paths."""
    if type(first) is not type(second):
        return [f'{path}: {type(first)} and {type(second)}']
    if isinstance(first, dict):
        first, second = (
            {
                key: value
                for key, value in one.items()
                if not str(key).endswith(('time', 'eta', 'cfg', '_ckpt', 'experiment_name'))
            }
            for one in (first, second)
        )
        if list(first) != list(second):
            return [f'{path}: {list(first)} and {list(second)}']
        return [
            line for key in first for line in differences(first[key], second[key], f'{path}/{key}')
        ]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [f'{path}: {len(first)} and {len(second)} items']
        return [
            line
            for number, pair in enumerate(zip(first, second))
            for line in differences(*pair, f'{path}/{number}')
        ]
    if isinstance(first, torch.Tensor):
        same = torch.equal(first, second)
    elif isinstance(first, np.ndarray):
        same = np.array_equal(first, second)
    elif hasattr(first, 'data'):  # a HistoryBuffer
        return differences(first.data, second.data, path)
    else:
        same = first == second
    return [] if same else [f'{path}: {first} and {second}']


def assert_equal_runs(unbroken: Path, resumed: Path) -> None:
    """Compare the last checkpoints of two runs, and what they logged."""
    last = max(numbered(unbroken))
    first, second = (read_checkpoint(str(numbered(work)[last])) for work in (unbroken, resumed))
    assert {'state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'exact_resume'} <= set(
        first
    )
    assert not differences(first, second)
    logged, again = scalars(unbroken), scalars(resumed)
    assert len(again) > 3
    assert {key: logged[key] for key in again} == again


@pytest.mark.parametrize('case', CASES)
def test_a_resumed_run_equals_the_unbroken_one(case, tmp_path):
    options, stops = CASES[case]
    unbroken = tmp_path / 'unbroken'
    train_noisy(unbroken, **options)
    files = numbered(unbroken)
    for stop in stops:
        torch.rand(7), np.random.rand(7), random.random()
        train_noisy(tmp_path / f'{stop}', files[stop], **options)
        assert_equal_runs(unbroken, tmp_path / f'{stop}')


def test_a_killed_process_resumes_exactly(server, tmp_path):
    """SIGKILL at a moment that nobody chose, with data workers."""
    work = tmp_path / 'killed'
    process = server.start(noisy_runs.__file__, 'killed', work)
    process.wait_until(lambda: any(step >= 4 for step in numbered(work)))
    process.send(signal.SIGKILL, group=True)
    process.wait()
    newest = max(numbered(tmp_path / 'killed'))
    options = {**WORKERS, **ACCUMULATE, 'train_cfg__max_iters': 24}
    train_noisy(tmp_path / 'killed', resume=True, **options)
    seed = read_checkpoint(str(numbered(tmp_path / 'killed')[newest]))['meta']['seed']
    train_noisy(tmp_path / 'unbroken', **options, randomness=dict(seed=seed))
    assert_equal_runs(tmp_path / 'unbroken', tmp_path / 'killed')


def test_two_processes_resume_exactly(tmp_path):
    """Each has its own random states, and gradients of its own that were
    not yet averaged when the checkpoint was saved."""
    command = (noisy_runs.__file__, 'resume', tmp_path)
    for done in run_together(command, command):
        assert done.returncode == 0, done.stdout
    for stop in (1, 4):
        saved = read_checkpoint(str(tmp_path / f'unbroken/iter_{stop}.pth'))
        first, second = saved['exact_resume']['ranks']
        assert not torch.equal(first['random_states']['torch'], second['random_states']['torch'])
        assert not torch.equal(
            first['gradients']['linear.weight'], second['gradients']['linear.weight']
        )
        assert_equal_runs(tmp_path / 'unbroken', tmp_path / f'{stop}')


def test_the_results_do_not_depend_on_the_workers(tmp_path):
    for name, options in (('none', {}), ('two', WORKERS)):
        train_noisy(tmp_path / name, **options, **SEED)
    first, second = (
        read_checkpoint(str(tmp_path / name / 'iter_8.pth')) for name in ('none', 'two')
    )
    assert not differences(first['state_dict'], second['state_dict'])


def log_of(work: Path) -> str:
    return ''.join(file.read_text() for file in work.glob('*/*.log'))


def test_what_has_changed_is_logged(tmp_path):
    """Other workers change nothing; another number of processes does."""
    train_noisy(tmp_path / 'first', **SEED, **ACCUMULATE)
    train_noisy(
        tmp_path / 'workers',
        tmp_path / 'first/iter_4.pth',
        **WORKERS,
        **ACCUMULATE,
        log_level='INFO',
    )
    assert 'saved with 0 data workers, now there are 2: this changes no ' in (
        log_of(tmp_path / 'workers')
    )
    saved = read_checkpoint(str(tmp_path / 'first/iter_4.pth'))
    ranks = saved['exact_resume']['ranks']
    ranks.append(ranks[0])
    torch.save(saved, tmp_path / 'two.pth')
    train_noisy(tmp_path / 'processes', tmp_path / 'two.pth', **ACCUMULATE, log_level='INFO')
    text = log_of(tmp_path / 'processes')
    assert 'saved by 2 processes, now there are 1' in text
    assert 'gradient of some iterations is lost' not in text
    del saved['exact_resume']
    torch.save(saved, tmp_path / 'old.pth')
    train_noisy(tmp_path / 'old', tmp_path / 'old.pth', log_level='INFO')
    assert 'has no random states' in log_of(tmp_path / 'old')


def rank(checkpoint: dict) -> dict:
    return checkpoint['exact_resume']['ranks'][0]


#: what is changed in a checkpoint, and what the error says
DAMAGED = {
    'version': (lambda one: one['exact_resume'].update(version=9), 'its version is 9'),
    'no-dict': (lambda one: one.update(exact_resume=5), 'its version is 5'),
    'no-ranks': (lambda one: one['exact_resume'].update(ranks=[]), 'ranks is'),
    'workers': (lambda one: one['exact_resume'].update(workers='x'), "workers is 'x'"),
    'batch-size': (lambda one: one['exact_resume'].update(batch_size=0), 'batch_size is 0'),
    'huge-batch': (
        lambda one: one['exact_resume'].update(batch_size=2**62),
        'batch_size is 4611686018427387904; expected at most',
    ),
    'validated': (lambda one: one['exact_resume'].update(validated=1), 'validated is 1'),
    'seed': (lambda one: rank(one).update(data_seed=-1), 'data_seed is -1'),
    'states': (lambda one: rank(one).update(random_states=None), 'random states: found NoneType'),
    'torch-short': (
        lambda one: rank(one)['random_states'].update(torch=torch.zeros(8, dtype=torch.uint8)),
        r'torch is a tensor \(8,\)',
    ),
    'torch-zeros': (
        lambda one: rank(one)['random_states'].update(torch=torch.zeros(5056, dtype=torch.uint8)),
        'torch: ',
    ),
    'python-key': (
        lambda one: rank(one)['random_states']['python'].update(key=torch.zeros(625)),
        'python: key is',
    ),
    'python-position': (
        lambda one: rank(one)['random_states']['python'].update(key=torch.full((625,), 2**31)),
        'position',
    ),
    'numpy-position': (
        lambda one: rank(one)['random_states']['numpy'].update(position=-5),
        'numpy: position is -5',
    ),
    'numpy-key': (
        lambda one: rank(one)['random_states']['numpy'].update(key=torch.full((624,), -1)),
        'outside of 32 bits',
    ),
    'cuda': (lambda one: rank(one)['random_states'].update(cuda='x'), "cuda is 'x'"),
    'gradient-name': (
        lambda one: rank(one)['gradients'].update(other=torch.zeros(1)),
        "gradients: 'other' is not in",
    ),
    'gradient-shape': (
        lambda one: rank(one)['gradients'].update({'linear.bias': torch.zeros(2)}),
        r'linear.bias is not .*\(1,\)',
    ),
    'buffers': (
        lambda one: rank(one).update(buffers={'norm.running_mean': torch.zeros(4)}),
        'norm.running_mean is not',
    ),
    'gradient-nan': (
        lambda one: rank(one)['gradients'].update({'linear.bias': torch.full((1,), torch.nan)}),
        'is not finite',
    ),
}


@pytest.fixture(scope='module')
def saved(tmp_path_factory) -> Path:
    """A checkpoint in the middle of an accumulation."""
    work = tmp_path_factory.mktemp('saved')
    train_noisy(work, **ACCUMULATE, train_cfg__max_iters=5)
    return work / 'iter_4.pth'


@pytest.mark.parametrize('kind', DAMAGED)
def test_damaged_entries_are_refused(kind, saved, tmp_path):
    damage, expected = DAMAGED[kind]
    content = read_checkpoint(str(saved))
    damage(content)
    torch.save(content, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError, match=expected) as error:
        train_noisy(tmp_path / 'work', tmp_path / 'damaged.pth', **ACCUMULATE)
    assert str(tmp_path / 'damaged.pth') in str(error.value)


@pytest.mark.parametrize('by_epoch', [False, True])
def test_nothing_is_loaded_to_be_skipped(by_epoch, tmp_path, monkeypatch):
    """A resumed run loads the samples that it trains on, no others."""
    options = {**(MID_EPOCH if by_epoch else {}), **SEED}
    train_noisy(tmp_path / 'first', **options)
    loaded = []
    load = NoisyData.__getitem__
    monkeypatch.setattr(
        NoisyData, '__getitem__', lambda self, index: loaded.append(index) or load(self, index)
    )
    name = 'iter_5.pth' if by_epoch else 'iter_6.pth'
    train_noisy(tmp_path / 'again', tmp_path / 'first' / name, **options)
    assert len(loaded) == (2 + 4 + 4 + 2 if by_epoch else 8)


@pytest.fixture
def mixed_precision(monkeypatch) -> dict:
    """Entries for mixed precision, whose loss scaler runs on the CPU here."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper as host

    monkeypatch.setattr(host, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(host, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    return {
        'optim_wrapper__type': 'AmpOptimWrapper',
        'optim_wrapper__loss_scale': dict(init_scale=2.0**20, growth_interval=3),
    }


def test_the_loss_scale_is_resumed(mixed_precision, tmp_path):
    options = {**mixed_precision, **SEED}
    train_noisy(tmp_path / 'unbroken', **options)
    first = read_checkpoint(str(tmp_path / 'unbroken/iter_4.pth'))
    assert first['optimizer']['loss_scaler']['_growth_tracker'] == 1
    train_noisy(tmp_path / 'again', tmp_path / 'unbroken/iter_4.pth', **options)
    assert_equal_runs(tmp_path / 'unbroken', tmp_path / 'again')
