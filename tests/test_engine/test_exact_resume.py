"""A resumed run equals the run that was never stopped, bit for bit."""

import copy
import json
import random
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_backbones.apis import config as config_api
from pose_backbones.apis import train as train_api
from pose_backbones.utils.checkpoint import read_checkpoint
from pose_backbones.utils.config import load_config

pytestmark = pytest.mark.usefixtures('one_thread')

#: drop path, and transforms that draw random numbers
RANDOM = """
_base_ = '{tiny}'
model = dict(backbone=dict(drop_path_rate=0.3))
pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='RandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=(96, 128), use_udp=True),
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline, indices=10))
val_dataloader = dict(dataset=dict(indices=4))
"""
#: three iterations per epoch, the last one with two people
EPOCHS = {
    'train_cfg': dict(
        _delete_=True, by_epoch=True, max_epochs=3, val_interval=100),
    'train_dataloader.sampler': dict(
        _delete_=True, type='DefaultSampler', shuffle=True),
    'default_hooks.checkpoint': dict(by_epoch=True, interval=1),
    'log_processor.by_epoch': True,
}
MID_EPOCH = {**EPOCHS, 'default_hooks.checkpoint': dict(
    by_epoch=False, interval=1)}
WORKERS = {'train_dataloader.num_workers': 2}
PERSISTENT = {**WORKERS, 'train_dataloader.persistent_workers': True}
EMA = {'custom_hooks': [
    dict(type='SyncBuffersHook'),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=.1)]}
ACCUMULATE = {'optim_wrapper.accumulative_counts': 4}
VALIDATE = {'train_cfg.val_interval': 2}
NO_SEED = {'randomness': dict(_delete_=True, seed=None)}
FINITE = {'train_dataloader.sampler': dict(
    _delete_=True, type='DefaultSampler', shuffle=True)}

#: changes of the config, and the checkpoints to resume from
CASES = {
    'iterations': ({}, ['iter_2', 'iter_4']),
    'iterations-workers': (WORKERS, ['iter_4']),
    'iterations-persistent': (PERSISTENT, ['iter_2']),
    'iterations-accumulate': (ACCUMULATE, ['iter_2', 'iter_4']),
    'iterations-ema-no-seed': ({**EMA, **NO_SEED}, ['iter_2']),
    'iterations-validate': ({**VALIDATE, **EMA}, ['iter_2', 'iter_4']),
    'iterations-finite-sampler': (FINITE, ['iter_2', 'iter_4']),
    'epochs': (EPOCHS, ['epoch_1', 'epoch_2']),
    'epochs-workers-no-seed': ({**EPOCHS, **WORKERS, **NO_SEED},
                               ['epoch_1']),
    'epochs-persistent-validate': (
        {**EPOCHS, **PERSISTENT, 'train_cfg': dict(
            _delete_=True, by_epoch=True, max_epochs=3, val_interval=1)},
        ['epoch_1', 'epoch_2']),
    'epochs-accumulate-ema': ({**EPOCHS, **ACCUMULATE, **EMA}, ['epoch_2']),
    'mid-epoch': (MID_EPOCH, ['iter_1', 'iter_3', 'iter_5']),
    'mid-epoch-all': ({**MID_EPOCH, **WORKERS, **ACCUMULATE, **EMA},
                      ['iter_5']),
}
_runs = count()


@pytest.fixture(scope='module')
def random_config(tiny_config, tmp_path_factory) -> Path:
    """The tiny config, with drop path, dropout and augmentation."""
    path = tmp_path_factory.mktemp('configs') / 'random.py'
    path.write_text(RANDOM.format(tiny=tiny_config))
    return path


def make_runner(config: Path, data: Path, work: Path, options: dict,
                checkpoint: Path | None = None):
    """A runner; a resumed one where there is a checkpoint."""
    cfg = load_config(str(config))
    config_api.set_data_root(cfg, str(data))
    cfg.merge_from_dict(copy.deepcopy(options))  # it removes _delete_
    # MMEngine would share loggers between runs of one name.
    name = f'run{next(_runs)}'
    cfg.update(work_dir=str(work), resume=checkpoint is not None,
               load_from=checkpoint and str(checkpoint), experiment_name=name)
    cfg.visualizer.name = name
    runner = train_api.build_runner(cfg)
    model = getattr(runner.model, 'module', runner.model)
    model.backbone.register_forward_hook(add_noise)
    return runner


def add_noise(module, args, maps):
    """Dropout, and numbers of the other two global generators."""
    if not module.training:
        return maps
    factor = 1 + 0.1 * np.random.rand() + 0.1 * random.gauss(0, 1)
    return tuple(torch.nn.functional.dropout(one, 0.1) * factor
                 for one in maps)


def scalars(work: Path) -> dict[int, dict]:
    """What was logged at each step, but for times."""
    rows: dict[int, dict] = {}
    for file in sorted(work.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            rows.setdefault(row['step'], {}).update(
                (name, value) for name, value in row.items()
                if name not in ('time', 'data_time', 'memory', 'epoch',
                                'iter'))
    return rows


def differences(first, second, path: str = '') -> list[str]:
    """Where two checkpoints differ, but for times and names."""
    if type(first) is not type(second):
        return [f'{path}: {type(first)} and {type(second)}']
    if isinstance(first, dict):
        if path == '/message_hub/log_scalars':
            first, second = ({
                name: buffer for name, buffer in scalars.items()
                if not name.endswith('time')} for scalars in (first, second))
        if list(first) != list(second):
            return [f'{path}: {list(first)} and {list(second)}']
        return [line for key in first
                for line in differences(first[key], second[key],
                                        f'{path}/{key}')]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [f'{path}: {len(first)} and {len(second)} items']
        return [line for number, pair in enumerate(zip(first, second))
                for line in differences(*pair, f'{path}/{number}')]
    if isinstance(first, torch.Tensor):
        same = torch.equal(first, second)
    elif isinstance(first, np.ndarray):
        same = np.array_equal(first, second)
    elif hasattr(first, 'data'):  # a HistoryBuffer
        return differences(first.data, second.data, path)
    else:
        same = first == second
    return [] if same else [path]


def assert_equal_runs(unbroken: Path, resumed: Path, name: str) -> None:
    """Compare the last checkpoints of two runs, and what they logged."""
    both = [read_checkpoint(str(work / name)) for work in (unbroken, resumed)]
    for checkpoint in both:
        assert checkpoint['exact_resume']['ranks']
        for entry in ('cfg', 'experiment_name', 'time'):
            checkpoint['meta'].pop(entry)
        info = checkpoint['message_hub']['runtime_info']
        for entry in ('eta', 'cfg', 'last_ckpt', 'best_ckpt'):
            info.pop(entry, None)
    assert not differences(*both)
    logged, again = scalars(unbroken), scalars(resumed)
    assert again
    for step, row in again.items():
        assert {name: logged[step][name] for name in row} == row


@pytest.mark.parametrize('case', CASES)
def test_a_resumed_run_equals_the_unbroken_one(case, random_config,
                                               synthetic, tmp_path):
    options, names = CASES[case]
    make_runner(random_config, synthetic, tmp_path / 'unbroken',
                options).train()
    last = max(tmp_path.glob('unbroken/*_*.pth'),
               key=lambda file: int(file.stem.split('_')[-1])).name
    for name in names:
        torch.rand(7), np.random.rand(7), random.random()
        make_runner(random_config, synthetic, tmp_path / name, options,
                    tmp_path / f'unbroken/{name}.pth').train()
        assert_equal_runs(tmp_path / 'unbroken', tmp_path / name, last)
