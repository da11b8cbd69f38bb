"""Tests that a resumed run equals an uninterrupted one, bit for bit."""

import json
import random
import signal
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.engine.seeded_loading import SeededBatchSampler
from pose_backbones.errors import CheckpointError
from tests.helpers import noisy_runs
from tests.helpers.noisy_runs import (
    ACCUMULATE,
    EMA,
    EPOCHS,
    GROUPED,
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
from tests.helpers.toy_runs import with_validation

#: changes to the config, and the checkpoints to resume from
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
    # The checkpoint with the best metrics is saved again during the validation.
    'iterations-best': (
        {
            **VALIDATE,
            **SEED,
            'default_hooks__checkpoint__save_best': 'toy/sum',
            'default_hooks__checkpoint__rule': 'less',
        },
        [2, 4],
    ),
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
    'iterations-grouped': ({**GROUPED, **WORKERS}, [2, 4, 6]),
    'mid-epoch-grouped': ({**MID_EPOCH, **GROUPED, **PERSISTENT}, [1, 3, 5]),
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


def numbered_checkpoints(work: Path) -> dict[int, Path]:
    """Return number → checkpoint of a run."""
    return {
        int(file.stem.split('_')[-1]): file
        for pattern in ('iter_*.pth', 'epoch_*.pth')
        for file in work.glob(pattern)
    }


def logged_scalars(work: Path) -> dict[tuple, float]:
    """Return the values that were logged at each step, except for times."""
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
    """Return where two checkpoints differ, except for times, names and paths."""
    if type(first) is not type(second):
        return [f'{path}: {type(first)} and {type(second)}']
    if isinstance(first, dict):
        first, second = (
            {
                key: value
                for key, value in content.items()
                if not str(key).endswith(('time', 'eta', 'cfg', '_ckpt', 'experiment_name'))
            }
            for content in (first, second)
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
        is_equal = torch.equal(first, second)
    elif isinstance(first, np.ndarray):
        is_equal = np.array_equal(first, second)
    elif hasattr(first, 'data'):  # a HistoryBuffer
        return differences(first.data, second.data, path)
    else:
        is_equal = first == second
    return [] if is_equal else [f'{path}: {first} and {second}']


def assert_equal_runs(uninterrupted: Path, resumed: Path) -> None:
    """Compare the last checkpoints of two runs, and the values that they logged."""
    last = max(numbered_checkpoints(uninterrupted))
    first, second = (
        read_checkpoint(str(numbered_checkpoints(work)[last])) for work in (uninterrupted, resumed)
    )
    assert {'state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'exact_resume'} <= set(
        first
    )
    assert not differences(first, second)
    logged, logged_again = logged_scalars(uninterrupted), logged_scalars(resumed)
    assert len(logged_again) > 3
    assert {key: logged[key] for key in logged_again} == logged_again


@pytest.mark.parametrize('case', CASES)
def test_resumed_run_equals_uninterrupted_run(case, tmp_path):
    options, stops = CASES[case]
    uninterrupted = tmp_path / 'uninterrupted'
    train_noisy(uninterrupted, **options)
    files = numbered_checkpoints(uninterrupted)
    for stop in stops:
        torch.rand(7), np.random.rand(7), random.random()
        train_noisy(tmp_path / f'{stop}', files[stop], **options)
        assert_equal_runs(uninterrupted, tmp_path / f'{stop}')


def test_run_that_is_extended_equals_a_longer_run(tmp_path):
    """The last checkpoint is saved again after the last validation, with the same states."""
    schedule = dict(type='MultiStepLR', milestones=[3, 6], by_epoch=False, end=100)
    options = {**VALIDATE, **EMA, **SEED, 'param_scheduler': [schedule]}
    train_noisy(tmp_path / 'long', **options)
    train_noisy(tmp_path / 'extended', **options, train_cfg__max_iters=4)
    short = read_checkpoint(str(tmp_path / 'extended/iter_4.pth'))
    assert short['exact_resume']['validated']
    assert not read_checkpoint(str(tmp_path / 'long/iter_4.pth'))['exact_resume']['validated']
    train_noisy(tmp_path / 'extended', resume=True, **options)
    assert_equal_runs(tmp_path / 'long', tmp_path / 'extended')


def test_last_validation_is_recorded_by_a_checkpoint_after_it(tmp_path):
    """If a checkpoint is saved per epoch in a run without epochs."""
    by_epoch = dict(type='CheckpointHook', by_epoch=True, interval=1)
    train_noisy(tmp_path, **VALIDATE, default_hooks__checkpoint=by_epoch)
    assert [file.name for file in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert read_checkpoint(str(tmp_path / 'epoch_1.pth'))['exact_resume']['validated']


def test_last_validation_is_recorded_if_checkpoints_are_saved_first(tmp_path):
    """Before the hook that records the validation."""
    options = dict(priority='HIGH', save_best='toy/growing', rule='greater')
    changes = {f'default_hooks__checkpoint__{key}': value for key, value in options.items()}
    train_noisy(tmp_path, **with_validation(2), **changes)
    assert read_checkpoint(str(tmp_path / 'iter_8.pth'))['exact_resume']['validated']


def test_last_checkpoint_of_another_directory_is_published(tmp_path):
    """The best one of a run whose last validation is made up may be in the other directory."""
    options = {
        **with_validation(2),
        'default_hooks__checkpoint__save_best': 'toy/growing',
        'default_hooks__checkpoint__rule': 'less',
        'default_hooks__checkpoint__published_keys': ['meta', 'state_dict'],
    }
    train_noisy(tmp_path / 'first', **options)
    assert len([*(tmp_path / 'first').glob('*-*.pth')]) == 2
    content = read_checkpoint(str(tmp_path / 'first/iter_8.pth'))
    content['exact_resume']['validated'] = False
    torch.save(content, tmp_path / 'killed.pth')
    train_noisy(tmp_path / 'second', tmp_path / 'killed.pth', **options)
    (published,) = (tmp_path / 'second').glob('*-*.pth')
    assert published.name.startswith('iter_8-')


def test_validation_is_only_made_up_at_the_end_of_an_epoch(tmp_path):
    """With larger batches, no batch may be left out, although the epoch has started."""
    options = {**MID_EPOCH, **VALIDATE, **SEED, 'train_cfg__val_interval': 1}
    options['train_cfg'] = dict(_delete_=True, by_epoch=True, max_epochs=2)
    train_noisy(tmp_path / 'small', **options)
    work = tmp_path / 'large'
    train_noisy(work, tmp_path / 'small/iter_4.pth', **options, train_dataloader__batch_size=10)
    assert [step for step, key in logged_scalars(work) if key == 'toy/sum'] == [2]


def test_last_validation_is_made_up_after_a_change_of_the_epochs(tmp_path):
    """The number of iterations does not tell which batches of an epoch are completed."""
    options = {**EPOCHS, **VALIDATE, **SEED}
    options['train_cfg'] = dict(_delete_=True, by_epoch=True, max_epochs=2)
    first = {**options, 'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=1)}
    train_noisy(tmp_path / 'small', **first, train_dataloader__batch_size=2)
    work = tmp_path / 'large'
    train_noisy(work, tmp_path / 'small/epoch_1.pth', **options)
    content = read_checkpoint(str(work / 'epoch_2.pth'))
    assert content['meta']['iter'] == 5 + 3
    content['exact_resume']['validated'] = False
    torch.save(content, tmp_path / 'killed.pth')
    train_noisy(tmp_path / 'resumed', tmp_path / 'killed.pth', **options)
    resumed = logged_scalars(tmp_path / 'resumed')
    assert resumed[2, 'toy/sum'] == logged_scalars(work)[2, 'toy/sum']
    assert read_checkpoint(str(tmp_path / 'resumed/epoch_2.pth'))['exact_resume']['validated']


@pytest.mark.parametrize('batch_size', [4, 6])
def test_epochs_are_complete_after_a_change_of_the_batch_size(batch_size, tmp_path):
    """The number of iterations does not tell which batches of an epoch are completed."""
    epochs = {
        count: {**EPOCHS, 'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=count)}
        for count in (1, 2, 3)
    }
    changed = dict(train_dataloader__batch_size=batch_size)
    train_noisy(tmp_path / '1', **epochs[1], train_dataloader__batch_size=2)
    train_noisy(tmp_path / '2', tmp_path / '1/epoch_1.pth', **epochs[2], **changed)
    train_noisy(tmp_path / '3', tmp_path / '2/epoch_2.pth', **epochs[3], **changed)
    iterations = [
        read_checkpoint(str(tmp_path / f'{n}/epoch_{n}.pth'))['meta']['iter'] for n in (1, 2, 3)
    ]
    assert iterations[2] - iterations[1] == iterations[1] - iterations[0] > 0


def test_killed_run_resumes_exactly(server, tmp_path):
    """SIGKILL at an arbitrary moment, with data workers."""
    work = tmp_path / 'killed'
    process = server.start(noisy_runs.__file__, 'killed', work)
    process.wait_until(lambda: any(step >= 4 for step in numbered_checkpoints(work)))
    process.send(signal.SIGKILL, group=True)
    process.wait()
    newest = max(numbered_checkpoints(tmp_path / 'killed'))
    options = {**WORKERS, **ACCUMULATE, 'train_cfg__max_iters': 24}
    train_noisy(tmp_path / 'killed', resume=True, **options)
    seed = read_checkpoint(str(numbered_checkpoints(tmp_path / 'killed')[newest]))['meta']['seed']
    train_noisy(tmp_path / 'uninterrupted', **options, randomness=dict(seed=seed))
    assert_equal_runs(tmp_path / 'uninterrupted', tmp_path / 'killed')


def test_distributed_run_resumes_exactly(tmp_path):
    """Each process has its own random states, and its own gradients.

    The gradients were not yet averaged when the checkpoint was saved.
    """
    command = (noisy_runs.__file__, 'resume', tmp_path)
    for done in run_together(command, command):
        assert done.returncode == 0, done.stdout
    for stop in (1, 4):
        saved_checkpoint = read_checkpoint(str(tmp_path / f'uninterrupted/iter_{stop}.pth'))
        first, second = saved_checkpoint['exact_resume']['ranks']
        assert not torch.equal(first['random_states']['torch'], second['random_states']['torch'])
        assert not torch.equal(
            first['gradients']['linear.weight'], second['gradients']['linear.weight']
        )
        assert_equal_runs(tmp_path / 'uninterrupted', tmp_path / f'{stop}')


def test_results_do_not_depend_on_workers(tmp_path):
    for name, options in (('none', {}), ('two', WORKERS)):
        train_noisy(tmp_path / name, **options, **SEED)
    first, second = (
        read_checkpoint(str(tmp_path / name / 'iter_8.pth')) for name in ('none', 'two')
    )
    assert not differences(first['state_dict'], second['state_dict'])


@pytest.mark.parametrize('workers', [0, 3])
def test_grouped_samples_do_not_depend_on_the_workers_of_the_resumed_run(workers, tmp_path):
    """The order of ImageGroupedSampler is that of the run that saved the checkpoint."""
    options = {**MID_EPOCH, **GROUPED, **SEED}
    train_noisy(tmp_path / 'first', **options, **WORKERS)
    start, changes = tmp_path / 'first/iter_2.pth', {'train_dataloader__num_workers': workers}
    for name in ('again', 'twice'):
        train_noisy(tmp_path / name, start, **options, **changes, log_level='INFO')
        assert_equal_runs(tmp_path / 'first', tmp_path / name)
        start = tmp_path / name / 'iter_4.pth'
    assert 'images are decoded several times' in read_log(tmp_path / 'again')


def read_log(work: Path) -> str:
    return ''.join(file.read_text() for file in work.glob('*/*.log'))


def test_changes_of_workers_and_processes_are_logged(tmp_path):
    """Another number of workers does not change any result, another number of processes does."""
    train_noisy(tmp_path / 'first', **SEED, **ACCUMULATE)
    train_noisy(
        tmp_path / 'workers',
        tmp_path / 'first/iter_4.pth',
        **WORKERS,
        **ACCUMULATE,
        log_level='INFO',
    )
    assert 'saved with 0 data workers, but this run has 2: this does not change' in (
        read_log(tmp_path / 'workers')
    )
    saved_checkpoint = read_checkpoint(str(tmp_path / 'first/iter_4.pth'))
    ranks = saved_checkpoint['exact_resume']['ranks']
    ranks.append(ranks[0])
    torch.save(saved_checkpoint, tmp_path / 'two.pth')
    train_noisy(tmp_path / 'processes', tmp_path / 'two.pth', **ACCUMULATE, log_level='INFO')
    text = read_log(tmp_path / 'processes')
    assert 'saved by 2 processes, but this run has 1' in text
    assert 'gradient of some iterations is lost' not in text
    del saved_checkpoint['exact_resume']
    torch.save(saved_checkpoint, tmp_path / 'old.pth')
    train_noisy(tmp_path / 'old', tmp_path / 'old.pth', log_level='INFO')
    assert 'has no random states' in read_log(tmp_path / 'old')


def rank(checkpoint: dict) -> dict:
    return checkpoint['exact_resume']['ranks'][0]


#: function that damages a checkpoint, and pattern of the error message
DAMAGED = {
    'version': (lambda content: content['exact_resume'].update(version=9), 'its version is 9'),
    'no-dict': (lambda content: content.update(exact_resume=5), 'its version is 5'),
    'no-ranks': (lambda content: content['exact_resume'].update(ranks=[]), 'ranks is'),
    'workers': (lambda content: content['exact_resume'].update(workers='x'), "workers is 'x'"),
    'batch-size': (lambda content: content['exact_resume'].update(batch_size=0), 'batch_size is 0'),
    'huge-batch': (
        lambda content: content['exact_resume'].update(batch_size=2**62),
        'batch_size is 4611686018427387904; expected at most',
    ),
    'validated': (lambda content: content['exact_resume'].update(validated=1), 'validated is 1'),
    'seed': (lambda content: rank(content).update(data_seed=-1), 'data_seed is -1'),
    'states': (
        lambda content: rank(content).update(random_states=None),
        'random states: found NoneType',
    ),
    'torch-short': (
        lambda content: rank(content)['random_states'].update(
            torch=torch.zeros(8, dtype=torch.uint8)
        ),
        r'torch is a tensor \(8,\)',
    ),
    'torch-zeros': (
        lambda content: rank(content)['random_states'].update(
            torch=torch.zeros(5056, dtype=torch.uint8)
        ),
        'torch: ',
    ),
    'python-key': (
        lambda content: rank(content)['random_states']['python'].update(key=torch.zeros(625)),
        'python: key is',
    ),
    'python-position': (
        lambda content: rank(content)['random_states']['python'].update(
            key=torch.full((625,), 2**31)
        ),
        'position',
    ),
    'numpy-position': (
        lambda content: rank(content)['random_states']['numpy'].update(position=-5),
        'numpy: position is -5',
    ),
    'numpy-key': (
        lambda content: rank(content)['random_states']['numpy'].update(key=torch.full((624,), -1)),
        'values of more than 32 bits',
    ),
    'cuda': (lambda content: rank(content)['random_states'].update(cuda='x'), "cuda is 'x'"),
    'epoch-start': (
        lambda content: content['exact_resume'].update(epoch_start=dict(epoch=1)),
        'epoch_start is',
    ),
    'gradient-name': (
        lambda content: rank(content)['gradients'].update(other=torch.zeros(1)),
        "gradients: 'other' is not in",
    ),
    'gradient-shape': (
        lambda content: rank(content)['gradients'].update({'linear.bias': torch.zeros(2)}),
        r'linear.bias is not .*\(1,\)',
    ),
    'buffers': (
        lambda content: rank(content).update(buffers={'norm.running_mean': torch.zeros(4)}),
        'norm.running_mean is not',
    ),
    'gradient-nan': (
        lambda content: rank(content)['gradients'].update(
            {'linear.bias': torch.full((1,), torch.nan)}
        ),
        'is not finite',
    ),
}


@pytest.fixture(scope='module')
def saved_checkpoint(tmp_path_factory) -> Path:
    """Save a checkpoint during gradient accumulation."""
    work = tmp_path_factory.mktemp('saved')
    train_noisy(work, **ACCUMULATE, train_cfg__max_iters=5)
    return work / 'iter_4.pth'


@pytest.mark.parametrize('kind', DAMAGED)
def test_damaged_entries_raise(kind, saved_checkpoint, tmp_path):
    damage, expected = DAMAGED[kind]
    content = read_checkpoint(str(saved_checkpoint))
    damage(content)
    torch.save(content, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError, match=expected) as error:
        train_noisy(tmp_path / 'work', tmp_path / 'damaged.pth', **ACCUMULATE)
    assert str(tmp_path / 'damaged.pth') in str(error.value)


@pytest.mark.parametrize('by_epoch', [False, True])
def test_skipped_batches_are_not_loaded(by_epoch, tmp_path, monkeypatch):
    """A resumed run loads only the samples that it trains on."""
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


def test_resume_at_step_50000(tmp_path, monkeypatch):
    """The order of the data at a late step is the same, and earlier samples are not loaded."""
    train_noisy(tmp_path / 'first', **SEED, train_cfg__max_iters=2)
    checkpoint = read_checkpoint(str(tmp_path / 'first/iter_2.pth'))
    checkpoint['meta']['iter'] = 50_000
    torch.save(checkpoint, tmp_path / 'late.pth')
    loaded = []
    load = NoisyData.__getitem__
    monkeypatch.setattr(
        NoisyData, '__getitem__', lambda self, index: loaded.append(index) or load(self, index)
    )
    runner = train_noisy(
        tmp_path / 'late', tmp_path / 'late.pth', **SEED, train_cfg__max_iters=50_003
    )
    assert runner.iter == 50_003
    order = InfiniteSampler(range(10), seed=5)
    assert loaded == list(islice(order, 4 * 50_000, 4 * 50_003))


@pytest.mark.parametrize('number', [0, 1, 7, 20, 140, 50_000])
@pytest.mark.parametrize(
    ('make', 'options'),
    [
        (InfiniteSampler, {}),
        (InfiniteSampler, dict(shuffle=False)),
        (DefaultSampler, {}),
        (DefaultSampler, dict(drop_last=True)),
    ],
    ids=['infinite', 'infinite in order', 'epochs', 'epochs without the last batch'],
)
@pytest.mark.parametrize(('rank', 'world_size'), [(0, 1), (2, 3)])
def test_skipped_batches_are_those_of_the_sampler(
    make, options, rank, world_size, number, monkeypatch
):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
    options = dict(options)
    drop_last = options.pop('drop_last', False)

    def make_batches() -> SeededBatchSampler:
        sampler = make(range(41), seed=3, **options)
        return SeededBatchSampler(BatchSampler(sampler, 4, drop_last), 3, rank)

    skipped, plain = make_batches(), make_batches()
    skipped.skip(number)
    for _ in range(number // len(plain) if make is DefaultSampler else 0):
        plain.next_epoch()
    batches = plain if make is DefaultSampler else plain.batch_sampler
    start = number % len(plain) if make is DefaultSampler else number
    expected = list(islice(batches, start, start + 3))
    batches = list(islice(skipped, 3))
    assert batches == expected
    if make is DefaultSampler:
        assert [batch.seeds for batch in batches] == [batch.seeds for batch in expected]
    else:
        key = (3, rank, 0, number)
        words = 4 * len(batches[0])
        assert batches[0].seeds == np.random.SeedSequence(key).generate_state(words).tolist()


@pytest.fixture
def mixed_precision(monkeypatch) -> dict:
    """Return config entries for mixed precision, and run the loss scaler on the CPU."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    return {
        'optim_wrapper__type': 'AmpOptimWrapper',
        'optim_wrapper__loss_scale': dict(init_scale=2.0**20, growth_interval=3),
    }


def test_loss_scale_is_resumed(mixed_precision, tmp_path):
    options = {**mixed_precision, **SEED}
    train_noisy(tmp_path / 'uninterrupted', **options)
    first = read_checkpoint(str(tmp_path / 'uninterrupted/iter_4.pth'))
    assert first['optimizer']['loss_scaler']['_growth_tracker'] == 1
    train_noisy(tmp_path / 'again', tmp_path / 'uninterrupted/iter_4.pth', **options)
    assert_equal_runs(tmp_path / 'uninterrupted', tmp_path / 'again')
