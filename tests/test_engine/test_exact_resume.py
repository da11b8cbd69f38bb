"""A resumed run equals the run that was never stopped, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, run_tool, tool_env
from noisy_runs import NoisyData  # noqa: F401  (registered)
from toy_runs import train_toy, with_validation

from pose_backbones.utils.checkpoint import read_checkpoint
from pose_backbones.utils.errors import CheckpointError

pytestmark = pytest.mark.usefixtures('one_thread')

NOISY = {'model__type': 'NoisyModel',
         'train_dataloader__dataset__type': 'NoisyData'}
#: three iterations per epoch, the last one with two samples
EPOCHS = {
    'train_dataloader__sampler__type': 'DefaultSampler',
    'train_cfg': dict(
        _delete_=True, by_epoch=True, max_epochs=3, val_interval=100),
    'param_scheduler': [dict(
        type='MultiStepLR', milestones=[1, 2], by_epoch=True)],
    'default_hooks__checkpoint': dict(
        type='CheckpointHook', by_epoch=True, interval=1)}
MID_EPOCH = {**EPOCHS, 'default_hooks__checkpoint': dict(
    type='CheckpointHook', by_epoch=False, interval=1)}
WORKERS = {'train_dataloader__num_workers': 2}
PERSISTENT = {**WORKERS, 'train_dataloader__persistent_workers': True}
EMA = {'custom_hooks': [dict(
    type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1)]}
ACCUMULATE = {'optim_wrapper__accumulative_counts': 3,
              'optim_wrapper__clip_grad': dict(max_norm=1.)}
SEED = {'randomness': dict(seed=5)}
VALIDATE = {**with_validation(2), 'val_evaluator__type': 'NoisyMetric',
            'val_dataloader__dataset__type': 'NoisyData'}
#: the schedule depends on the evaluation
PLATEAU = {**VALIDATE, 'param_scheduler': [dict(
    type='ReduceOnPlateauLR', monitor='toy/sum', rule='less', patience=0,
    factor=0.5)]}

#: changes of the config, and the checkpoints to resume from
CASES = {
    'iterations': ({}, [2, 6]),
    'iterations-finite-sampler': ({
        **SEED, **WORKERS,
        'train_dataloader__sampler__type': 'DefaultSampler'}, [2, 4, 6]),
    'iterations-workers': (WORKERS, [4]),
    'iterations-persistent': ({**PERSISTENT, **SEED}, [2]),
    'iterations-accumulate': (ACCUMULATE, [2, 4, 6]),
    'iterations-ema': (EMA, [4]),
    'iterations-validate': ({**VALIDATE, **EMA}, [2, 4]),
    'epochs': (EPOCHS, [1, 2]),
    'epochs-workers': ({**EPOCHS, **WORKERS, **SEED}, [1]),
    'epochs-persistent': ({**EPOCHS, **PERSISTENT}, [2]),
    'epochs-validate': ({**EPOCHS, **VALIDATE, 'train_cfg': dict(
        _delete_=True, by_epoch=True, max_epochs=3, val_interval=1)}, [1, 2]),
    'epochs-plateau': ({**EPOCHS, **PLATEAU, 'train_cfg': dict(
        _delete_=True, by_epoch=True, max_epochs=3, val_interval=1)}, [1, 2]),
    'epochs-accumulate-ema': ({
        **EPOCHS, **ACCUMULATE, **EMA,
        'optim_wrapper__accumulative_counts': 2}, [1]),
    'mid-epoch': (MID_EPOCH, [1, 3, 5, 6]),
    'mid-epoch-all': ({**MID_EPOCH, **PERSISTENT, **ACCUMULATE, **EMA,
                       **VALIDATE, 'train_cfg': dict(
        _delete_=True, by_epoch=True, max_epochs=3, val_interval=1)},
                      [2, 3, 7]),
}
_runs = count()


def train(work: Path, resume: Path | None = None, **options):
    """Train a run of its own name; MMEngine would share its loggers."""
    name = f'run{next(_runs)}'
    return train_toy(work, resume, experiment_name=name,
                     visualizer=dict(
                         type='Visualizer', name=name,
                         vis_backends=[dict(type='LocalVisBackend')]),
                     **{**NOISY, **options})


def numbered(work: Path) -> dict[int, Path]:
    """The checkpoints of a run by their numbers."""
    return {int(file.stem.split('_')[-1]): file
            for pattern in ('iter_*.pth', 'epoch_*.pth')
            for file in work.glob(pattern)}


def scalars(work: Path) -> dict[tuple, float]:
    """What was logged at each step, but for times."""
    rows = {}
    for file in sorted(work.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            rows.update({
                (row['step'], name): value for name, value in row.items()
                if name not in ('time', 'data_time', 'memory')})
    return rows


def differences(first, second, path: str = '') -> list[str]:
    """Where two checkpoints differ, but for times, names and paths."""
    if type(first) is not type(second):
        return [f'{path}: {type(first)} and {type(second)}']
    if isinstance(first, dict):
        first, second = (
            {key: value for key, value in one.items()
             if not str(key).endswith(('time', 'eta', 'cfg', '_ckpt',
                                       'experiment_name'))}
            for one in (first, second))
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
    return [] if same else [f'{path}: {first} and {second}']


def assert_equal_runs(unbroken: Path, resumed: Path) -> None:
    """Compare the last checkpoints of two runs, and what they logged."""
    last = max(numbered(unbroken))
    first, second = (read_checkpoint(str(numbered(work)[last]))
                     for work in (unbroken, resumed))
    assert {'state_dict', 'optimizer', 'param_schedulers', 'message_hub',
            'exact_resume'} <= set(first)
    assert not differences(first, second)
    logged, again = scalars(unbroken), scalars(resumed)
    assert len(again) > 3
    assert {key: logged[key] for key in again} == again


@pytest.mark.parametrize('case', CASES)
def test_a_resumed_run_equals_the_unbroken_one(case, tmp_path):
    options, stops = CASES[case]
    unbroken = tmp_path / 'unbroken'
    train(unbroken, **options)
    files = numbered(unbroken)
    for stop in stops:
        torch.rand(7), np.random.rand(7), random.random()
        train(tmp_path / f'{stop}', files[stop], **options)
        assert_equal_runs(unbroken, tmp_path / f'{stop}')
