"""Tests of resuming: invalid checkpoints raise an error, and differences log a warning."""

import copy
import math
import signal

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper, OptimWrapperDict

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import train as train_api
from pose_backbones.configs import load_config
from pose_backbones.engine.optimizer_states import check_optimizer
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.errors import CheckpointError, ConfigError, WorkDirError
from pose_backbones.preflight import check_work_dir
from pose_backbones.utils import lock
from tests.helpers.toy_runs import ToyData, toy_config, train_toy, with_validation


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """Checkpoint from the middle of a run."""
    work = tmp_path_factory.mktemp('saved')
    train_toy(work, randomness=dict(seed=3))
    return work / 'iter_4.pth'


def state_of(runner: PoseRunner) -> list:
    """Return the state that resuming may change."""
    return copy.deepcopy(
        [
            runner.iter,
            runner.epoch,
            runner.seed,
            runner.model.state_dict(),
            runner.optim_wrapper.state_dict(),
            [scheduler.state_dict() for scheduler in runner.param_schedulers],
            list(runner.message_hub.runtime_info.items()),
        ]
    )


@pytest.fixture(scope='module')
def runner(tmp_path_factory):
    """Runner that is ready to resume."""
    runner = PoseRunner.from_cfg(toy_config(tmp_path_factory.mktemp('work')))
    runner.train_loop  # noqa: B018  (it is built now)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return runner


DELETE = object()


def put(content: dict, place: str, value) -> None:
    """Set or delete a nested entry, such as `optimizer/state/0/step`."""
    *keys, last = (int(key) if key.isdigit() else key for key in place.split('/'))
    for key in keys:
        content = content[key]
    if value is DELETE:
        del content[last]
    else:
        content[last] = value


NAN = math.nan
BUFFER = HistoryBuffer([1.0], [1])
BUFFER._log_history = np.zeros((2, 2))
#: entry, value, expected part of the message
REFUSED = [
    ('meta', None, 'meta is None'),
    ('meta', [1], r'meta is \[1\]'),
    ('meta', 'iter epoch', "meta is 'iter epoch'"),
    ('meta', 5, 'meta is 5'),
    ('meta', {}, 'no training state'),
    ('meta/iter', DELETE, 'no training state'),
    *(
        (f'meta/{key}', value, f'meta.{key} is {value!r}')
        for key in ('iter', 'epoch')
        for value in ('x', -5, 6.5, NAN, None, True, 2**70)
    ),
    ('meta/iter', 10**12, 'after the end of the training'),
    *(('meta/seed', value, f'meta.seed is {value!r}') for value in ('abc', -1, 2**32, 1.5)),
    ('state_dict/linear.weight', torch.full((1, 3), NAN), 'state_dict.linear.weight'),
    ('state_dict/norm.running_var', torch.full((3,), math.inf), 'state_dict.norm.running_var'),
    ('state_dict/linear.weight', torch.zeros(2, 3), 'linear.weight'),
    ('state_dict', [1], 'state_dict is'),
    ('optimizer', DELETE, 'contains no optimizer state'),
    ('optimizer', {}, 'contains no optimizer state'),
    ('optimizer', 'x', "optimizer is 'x'"),
    ('optimizer', [1], r'optimizer is \[1\]'),
    ('optimizer/param_groups', DELETE, 'optimizer.param_groups is None'),
    ('optimizer/param_groups', [], '0 parameter groups'),
    ('optimizer/param_groups/0', 3, r'param_groups\[0\] is 3'),
    ('optimizer/param_groups/0/params', [0, 1], 'has 2 parameters'),
    ('optimizer/param_groups/0/params', [0, 1, 2, 'x'], "params is 'x'"),
    ('optimizer/param_groups/0/params', [0, 0, 1, 2], 'distinct indices'),
    ('optimizer/param_groups/0/lr', NAN, 'lr is nan'),
    ('optimizer/param_groups/0/lr', math.inf, 'lr is inf'),
    ('optimizer/param_groups/0/lr', None, 'lr is None'),
    ('optimizer/param_groups/0/lr', 'x', "lr is 'x'"),
    ('optimizer/param_groups/0/betas', (0.9,), 'betas is'),
    ('optimizer/param_groups/0/betas', (0.9, NAN), 'betas'),
    ('optimizer/param_groups/0/betas', (2.0, 3.0), 'betas is'),
    ('optimizer/param_groups/0/lr', -1.0, 'lr is -1.0'),
    ('optimizer/param_groups/0/lr', 10**400, 'lr is 1000'),
    ('optimizer/state/0/step', torch.tensor(-5.0), 'step is a tensor'),
    ('optimizer/state/0/step', torch.tensor(1e30), 'step is a tensor'),
    ('optimizer/state/0/exp_avg', torch.ones(3).to(torch.float8_e4m3fn), 'exp_avg is'),
    ('optimizer/param_groups/0/amsgrad', True, 'stores step'),
    ('optimizer/state', DELETE, 'optimizer.state is None'),
    ('optimizer/state', {}, 'optimizer.state is empty'),
    ('optimizer/state', 5, 'optimizer.state is 5'),
    ('optimizer/state/0', 5, 'optimizer.state.0 is 5'),
    ('optimizer/state/0', {}, 'optimizer.state.0 has nothing'),
    ('optimizer/state/0/exp_avg', torch.zeros(4), 'exp_avg is a tensor'),
    ('optimizer/state/0/exp_avg', torch.full((3,), NAN), 'state.0.exp_avg'),
    ('optimizer/state/0/exp_avg', DELETE, 'state.0 has step, exp_avg_sq'),
    ('optimizer/state/0/exp_avg', 'x', "exp_avg is 'x'"),
    ('optimizer/state/0/exp_avg', torch.zeros(3).int(), 'exp_avg'),
    ('optimizer/state/0/step', torch.tensor([1.0, 2.0]), 'step is a tensor'),
    ('optimizer/state/0/extra', 1, 'has step, exp_avg, exp_avg_sq, extra'),
    ('optimizer/state/9', {}, 'a key of optimizer.state is 9'),
    ('message_hub', DELETE, 'message_hub is None'),
    ('message_hub', [], 'message_hub is'),
    ('message_hub/log_scalars', 5, 'message_hub.log_scalars is 5'),
    ('message_hub/log_scalars', DELETE, 'message_hub.log_scalars is None'),
    ('message_hub/log_scalars/train/loss', BUFFER, 'HistoryBuffer'),
    ('message_hub/runtime_info', [1], 'message_hub.runtime_info is'),
    ('message_hub/resumed_keys/iter', 'yes', "resumed_keys.iter is 'yes'"),
    ('message_hub/runtime_info/best_score', 'x', "best_score is 'x'"),
    ('message_hub/runtime_info/best_score', NAN, 'best_score is nan'),
    ('message_hub/runtime_info/best_ckpt', 5, 'best_ckpt is 5'),
    ('message_hub/runtime_info/keep_ckpt_ids', ['/../x'], 'keep_ckpt_ids'),
    ('param_schedulers', DELETE, 'no state of the schedule'),
    ('param_schedulers', None, 'no state of the schedule'),
    ('param_schedulers', [], 'trained with 0 schedules'),
    ('param_schedulers', 'x', "param_schedulers is 'x'"),
    ('param_schedulers/0', 5, r'param_schedulers\[0\] is 5'),
    ('param_schedulers/0/last_step', DELETE, 'the MultiStepLR'),
    ('param_schedulers/0/step', 5, 'the MultiStepLR'),
    ('param_schedulers/0/optimizer', 5, 'the MultiStepLR'),
    ('param_schedulers/0/last_step', 'x', "last_step is 'x'"),
    ('param_schedulers/0/last_step', 1.5, 'last_step is 1.5'),
    ('param_schedulers/0/gamma', NAN, 'gamma is nan'),
    ('param_schedulers/0/gamma', [0.1], 'gamma is'),
    ('param_schedulers/0/param_name', 'params', "param_name is 'params'"),
    ('param_schedulers/0/_last_value', [0.1, 0.1], '_last_value is'),
    ('param_schedulers/0/milestones', {'x': 1}, 'milestones'),
]


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    REFUSED,
    ids=[f'{number}-{place}' for number, (place, *_) in enumerate(REFUSED)],
)
def test_invalid_checkpoint_entries_raise(runner, saved, tmp_path, place, value, message):
    """The error names the entry, and the runner is unchanged."""
    content = read_checkpoint(saved)
    if place.startswith('message_hub/log_scalars/'):
        content['message_hub']['log_scalars']['train/loss'] = value
    else:
        put(content, place, value)
    path = tmp_path / 'changed.pth'
    torch.save(content, path)
    before = state_of(runner)
    with pytest.raises(CheckpointError, match=message) as caught:
        runner.resume(str(path))
    assert str(path) in str(caught.value)
    after = state_of(runner)
    assert str(after) == str(before)


def test_config_text_is_not_executed(saved, tmp_path):
    """Neither when resuming, nor when MMPose reads the next checkpoint."""
    mark = tmp_path / 'mark'
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    content = read_checkpoint(saved)
    content['meta'].update(config=code, cfg=code)
    content['message_hub']['runtime_info'].update(cfg=code, config=code)
    torch.save(content, tmp_path / 'changed.pth')
    runner = train_toy(tmp_path / 'work', resume=tmp_path / 'changed.pth')
    assert runner.iter == 8
    assert not mark.exists()
    hub = read_checkpoint(tmp_path / 'work/iter_8.pth')['message_hub']
    assert code not in hub['runtime_info']['cfg']


@pytest.fixture
def report(monkeypatch) -> list[str]:
    """Warnings that a runner logs."""
    warnings = []
    resume = PoseRunner.resume

    def watched(self, *args, **kwargs):
        monkeypatch.setattr(self.logger, 'warning', warnings.append)
        resume(self, *args, **kwargs)

    monkeypatch.setattr(PoseRunner, 'resume', watched)
    return warnings


def test_equal_settings_log_no_warning(saved, tmp_path, report):
    train_toy(tmp_path, resume=saved, randomness=dict(seed=3))
    assert report == []


def test_different_settings_log_a_warning(saved, tmp_path, report):
    """Each difference is listed once with both values, and that of the checkpoint is used."""
    runner = train_toy(
        tmp_path,
        resume=saved,
        randomness=dict(seed=4),
        optim_wrapper__optimizer=dict(type='Adam', lr=0.5, betas=(0.8, 0.999), weight_decay=0.1),
        param_scheduler=[dict(type='MultiStepLR', milestones=[5], by_epoch=False, gamma=0.2)],
    )
    (text,) = report
    for line in (
        'randomness.seed: checkpoint 3, config 4',
        'optimizer lr: checkpoint 0.01, config 0.5',
        'optimizer betas: checkpoint (0.9, 0.999), config (0.8, 0.999)',
        'optimizer weight_decay: checkpoint 0, config 0.1',
        'MultiStepLR milestones: checkpoint {3: 1, 6: 1}, config {5: 1}',
        'MultiStepLR gamma: checkpoint 0.1, config 0.2',
    ):
        assert text.count(line) == 1, line
    assert f'--load-from {saved}' in text
    assert runner.seed == 3
    uninterrupted = train_toy(tmp_path / 'uninterrupted', randomness=dict(seed=3))
    assert runner.optim_wrapper.get_lr() == uninterrupted.optim_wrapper.get_lr()
    for name, value in uninterrupted.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[name], value), name


def test_another_optimizer_or_schedule_raises(saved, tmp_path):
    with pytest.raises(CheckpointError, match='momentum'):
        train_toy(
            tmp_path, resume=saved, optim_wrapper__optimizer=dict(type='SGD', lr=0.01, momentum=0.9)
        )
    with pytest.raises(CheckpointError, match='the CosineAnnealingLR'):
        train_toy(
            tmp_path,
            resume=saved,
            param_scheduler=[dict(type='CosineAnnealingLR', T_max=8, by_epoch=False)],
        )


def test_best_checkpoint_is_not_resumed(tmp_path):
    train_toy(
        tmp_path,
        train_cfg__max_iters=4,
        **with_validation(),
        default_hooks__checkpoint__save_best='toy/growing',
        default_hooks__checkpoint__rule='greater',
    )
    best = tmp_path / 'best_toy_growing_iter_4.pth'
    with pytest.raises(CheckpointError) as caught:
        train_toy(tmp_path, resume=best)
    assert 'no state of the optimizer and the schedule (best_*.pth' in str(caught.value)
    assert f'--load-from {best}' in str(caught.value)


def test_seed_is_restored_before_the_dataloader_is_built(tmp_path):
    """A run without a fixed seed continues with the sample order of its first part."""
    uninterrupted = train_toy(tmp_path)
    for number in (6, 8):
        (tmp_path / f'iter_{number}.pth').unlink()
    runner = PoseRunner.from_cfg(toy_config(tmp_path, resume=True))
    assert runner.seed == uninterrupted.seed
    assert runner.train_loop.dataloader.sampler.seed == uninterrupted.seed
    runner.train()
    for name, value in uninterrupted.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[name], value), name


INFO = dict(
    dataset_name='toy',
    sigmas=np.array([0.1, 0.2]),
    empty=np.zeros((0, 2)),
    keypoint_id2name={0: 'nose', 1: 'ear'},
    flip_pairs=[(0, 1)],
)


def test_same_data_set_logs_no_warning(tmp_path, report, monkeypatch):
    """Arrays are compared by value, including empty arrays."""
    monkeypatch.setattr(
        ToyData, '__init__', lambda self: setattr(self, 'metainfo', copy.deepcopy(INFO))
    )
    train_toy(tmp_path)
    train_toy(tmp_path, resume=tmp_path / 'iter_2.pth')
    train_toy(tmp_path, resume=tmp_path / 'iter_6.pth')
    assert report == []


@pytest.mark.parametrize(
    ('key', 'value', 'line'),
    [
        ('sigmas', np.array([0.1, 0.3]), 'sigmas: checkpoint 0.2, config 0.3'),
        (
            'keypoint_id2name',
            {0: 'nose', 1: 'eye'},
            "keypoint_id2name: checkpoint 'ear', config 'eye'",
        ),
        ('empty', np.zeros((1, 2)), 'empty: checkpoint'),
    ],
)
def test_another_data_set_logs_a_warning(tmp_path, report, monkeypatch, key, value, line):
    infos = [INFO, {**INFO, key: value}]
    monkeypatch.setattr(
        ToyData, '__init__', lambda self: setattr(self, 'metainfo', copy.deepcopy(infos[0]))
    )
    train_toy(tmp_path)
    infos.pop(0)
    train_toy(tmp_path, resume=tmp_path / 'iter_4.pth')
    (text,) = report
    assert line in text


def schedules() -> list:
    """Return a config with a schedule for eight iterations."""
    common = dict(by_epoch=False, begin=0, end=8)
    return [
        dict(type='ConstantLR', factor=0.5, **common),
        dict(type='CosineAnnealingLR', T_max=8, **common),
        dict(type='ExponentialLR', gamma=0.9, **common),
        dict(type='LinearLR', start_factor=0.1, **common),
        dict(type='StepLR', step_size=3, **common),
        dict(type='PolyLR', eta_min=1e-4, **common),
        dict(type='OneCycleLR', eta_max=0.1, total_steps=8, by_epoch=False),
        dict(
            type='OneCycleLR',
            eta_max=0.1,
            total_steps=8,
            by_epoch=False,
            three_phase=True,
            anneal_strategy='linear',
        ),
        dict(
            type='CosineRestartLR',
            periods=[3, 5],
            restart_weights=[1, 0.5],
            eta_min=0,
            by_epoch=False,
        ),
        dict(type='LinearMomentum', start_factor=0.1, **common),
        dict(type='ReduceOnPlateauLR', monitor='toy/sum', rule='less', patience=0),
    ]


@pytest.mark.parametrize('schedule', schedules(), ids=lambda schedule: schedule['type'])
def test_schedules_are_resumed(tmp_path, report, schedule):
    """A resumed run has the learning rates of an uninterrupted run."""
    options = dict(param_scheduler=[schedule], randomness=dict(seed=1))
    if 'Plateau' in schedule['type']:
        options.update(with_validation(interval=3))
    uninterrupted_runner = train_toy(tmp_path / 'uninterrupted', **options)
    work = tmp_path / 'work'
    train_toy(work, resume=tmp_path / 'uninterrupted/iter_4.pth', **options)
    assert report == []
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        resumed, uninterrupted = (
            read_checkpoint(folder / 'iter_8.pth')[key]
            for folder in (work, tmp_path / 'uninterrupted')
        )
        assert repr(resumed) == repr(uninterrupted), key
    assert uninterrupted_runner.iter == 8


@pytest.mark.parametrize(
    'wrapper',
    [
        dict(
            type='OptimWrapper',
            accumulative_counts=2,
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
        ),
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.01, amsgrad=True),
            clip_grad=dict(max_norm=1.0),
            paramwise_cfg=dict(custom_keys={'norm': dict(lr_mult=0.1)}),
        ),
        dict(type='OptimWrapper', optimizer=dict(type='Adamax', lr=0.01)),
        dict(type='OptimWrapper', optimizer=dict(type='RMSprop', lr=0.01, momentum=0.9)),
        dict(type='OptimWrapper', optimizer=dict(type='NAdam', lr=0.01)),
        dict(type='OptimWrapper', optimizer=dict(type='Adadelta')),
        dict(type='OptimWrapper', optimizer=dict(type='ASGD', lr=0.01)),
        dict(type='OptimWrapper', optimizer=dict(type='Rprop', lr=0.01)),
    ],
    ids=lambda wrapper: wrapper['optimizer']['type'],
)
def test_optimizers_are_resumed(tmp_path, report, wrapper):
    options = dict(randomness=dict(seed=1), optim_wrapper={**wrapper, '_delete_': True})
    train_toy(tmp_path / 'uninterrupted', **options)
    train_toy(tmp_path / 'work', resume=tmp_path / 'uninterrupted/iter_4.pth', **options)
    assert report == []
    for key in ('state_dict', 'optimizer'):
        resumed, uninterrupted = (
            read_checkpoint(tmp_path / name / 'iter_8.pth')[key]
            for name in ('work', 'uninterrupted')
        )
        assert repr(resumed) == repr(uninterrupted), key


class Scaled(OptimWrapper):
    """Optimizer wrapper that saves the state of mixed precision."""

    def state_dict(self) -> dict:
        """Return the state, including the loss scale."""
        return dict(super().state_dict(), loss_scaler=dict(scale=65536.0, _growth_tracker=3))


@pytest.mark.parametrize(
    ('scaler', 'message'),
    [
        (dict(scale=NAN, _growth_tracker=3), 'loss_scaler.scale is nan'),
        (dict(scale='x', _growth_tracker=3), "loss_scaler.scale is 'x'"),
        (dict(scale=1.0), 'loss_scaler has scale; the config has scale, _growth'),
        (5, 'loss_scaler is 5'),
    ],
)
def test_loss_scale_of_mixed_precision(scaler, message):
    wrapper = Scaled(torch.optim.Adam(torch.nn.Linear(2, 1).parameters()))
    state = wrapper.state_dict()
    assert check_optimizer(wrapper, state, 'x.pth', 0) == []
    with pytest.raises(CheckpointError, match=message):
        check_optimizer(wrapper, {**state, 'loss_scaler': scaler}, 'x.pth', 0)


def test_multiple_optimizers():
    """Each state is loaded into the optimizer with its name."""

    def build(**lrs: float) -> OptimWrapperDict:
        model = torch.nn.Linear(2, 1)
        wrappers = {}
        for name, lr in lrs.items():
            parameter = getattr(model, name)
            parameter.grad = torch.ones_like(parameter)
            wrappers[name] = OptimWrapper(torch.optim.Adam([parameter], lr))
            wrappers[name].step()
        return OptimWrapperDict(**wrappers)

    saved = build(weight=0.1, bias=0.2).state_dict()
    assert check_optimizer(build(weight=0.1, bias=0.3), saved, 'x.pth', 1) == [
        'bias: optimizer lr: checkpoint 0.2, config 0.3'
    ]
    with pytest.raises(CheckpointError, match='optimizer has weight, bias; the config has weight'):
        check_optimizer(build(weight=0.1), saved, 'x.pth', 1)
    with pytest.raises(CheckpointError, match='exp_avg is a tensor'):
        check_optimizer(
            build(weight=0.1, bias=0.2),
            {'weight': saved['bias'], 'bias': saved['weight']},
            'x.pth',
            1,
        )


EMA = dict(custom_hooks=[dict(type='EMAHook')])


def test_ema_weights_are_resumed(tmp_path, report):
    """Averaged weights are resumed; for a config without EMA, a warning says that it uses them."""
    options = dict(randomness=dict(seed=1), **EMA)
    train_toy(tmp_path / 'uninterrupted', **options)
    middle = tmp_path / 'uninterrupted/iter_4.pth'
    train_toy(tmp_path / 'work', resume=middle, **options)
    for key in ('state_dict', 'ema_state_dict'):
        resumed, uninterrupted = (
            read_checkpoint(tmp_path / name / 'iter_8.pth')[key]
            for name in ('work', 'uninterrupted')
        )
        assert repr(resumed) == repr(uninterrupted), key
    assert report == []
    train_toy(tmp_path / 'plain', resume=middle, randomness=dict(seed=1))
    assert 'EMAHook' in report[0]
    content = read_checkpoint(middle)
    content['ema_state_dict']['module.other'] = torch.zeros(1)
    torch.save(content, tmp_path / 'changed.pth')
    with pytest.raises(CheckpointError, match='hooks of the config'):
        train_toy(tmp_path / 'third', resume=tmp_path / 'changed.pth', **options)


def test_hook_attributes_without_plain_data_are_not_saved(tmp_path):
    """Hook attributes that are not plain data are not saved."""
    cfg = toy_config(tmp_path, train_cfg__max_iters=2)
    runner = PoseRunner.from_cfg(cfg)
    runner.message_hub.update_info('what', len)
    runner.message_hub.update_info('path', tmp_path)
    runner.train()
    info = read_checkpoint(tmp_path / 'iter_2.pth')['message_hub']['runtime_info']
    assert 'what' not in info
    assert info['path'] == str(tmp_path)


def test_resume_option_of_the_tool(tiny_config, synthetic, tmp_path, mmengine_log, report):
    """`--resume` with an empty, a complete and a damaged work dir."""
    work = tmp_path / 'work'

    def train(*options: str, iters: int = 2) -> int:
        return train_api.main(
            [
                str(tiny_config),
                '--data-root',
                str(synthetic),
                '--work-dir',
                str(work),
                '--no-validate',
                *map(str, options),
                '--cfg-options',
                f'train_cfg.max_iters={iters}',
            ]
        )

    with pytest.raises(ConfigError, match='nope/AP'):
        train_api.main(
            [
                str(tiny_config),
                '--data-root',
                str(synthetic),
                '--work-dir',
                str(work),
                '--cfg-options',
                'default_hooks.checkpoint.save_best=nope/AP',
            ]
        )
    assert not work.exists()
    assert train('--resume') == 0
    assert f'No checkpoint to resume in {work}: starting a new run' in mmengine_log.text
    assert (work / 'last_checkpoint').read_text() == 'iter_2.pth'
    assert {file.name for file in work.iterdir() if file.is_file()} == {
        'iter_2.pth',
        'last_checkpoint',
        'tiny.py',
    }
    before = (work / 'iter_2.pth').read_bytes()
    assert train('--resume') == 0  # the run is complete
    with pytest.raises(
        CheckpointError, match='iter 2, after the end of the training, train_cfg.max_iters=1'
    ):
        train('--resume', iters=1)
    torch.save(read_checkpoint(work / 'iter_2.pth')['state_dict'], tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='contains weights but no training state'):
        train('--resume', tmp_path / 'weights.pth', iters=4)
    assert (work / 'iter_2.pth').read_bytes() == before

    # The config has a longer schedule with another learning rate.
    train_api.main(
        [
            str(tiny_config),
            '--data-root',
            str(synthetic),
            '--work-dir',
            str(work),
            '--no-validate',
            '--resume',
            '--cfg-options',
            'train_cfg.max_iters=4',
            'optim_wrapper.optimizer.lr=1e-3',
            'param_scheduler.0.end=8',
        ]
    )
    (text,) = report
    assert 'optimizer lr: checkpoint 0.0005, config 0.001' in text
    assert 'LinearLR end: checkpoint 4, config 8' in text
    assert 'dataset' not in text
    assert (work / 'last_checkpoint').read_text() == 'iter_4.pth'

    for file in work.glob('*.pth'):
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(
        CheckpointError,
        match='none of its checkpoints can be read.*iter_4.pth.*from scratch with --overwrite',
    ):
        train('--resume', iters=6)


def test_config_in_the_work_dir_is_not_executed(tiny_config, tmp_path):
    """It is parsed and compared with the config of the new run."""
    work, mark = tmp_path / 'work', tmp_path / 'mark'
    cfg = load_config(str(tiny_config))
    cfg.work_dir = str(work)
    work.mkdir()
    (work / 'iter_2.pth').write_bytes(b'')
    code = f'__import__("pathlib").Path({str(mark)!r}).touch()\n'
    (work / 'tiny.py').write_text(code + cfg.pretty_text)
    check_work_dir(cfg, True, False)
    other = copy.deepcopy(cfg)
    other.model.head.conv_out_channels = (17,)
    (work / 'tiny.py').write_text(code + other.pretty_text)
    with pytest.raises(WorkDirError, match='whose saved config has another model or cannot'):
        check_work_dir(cfg, True, False)
    assert not mark.exists()


def test_second_run_in_the_same_work_dir_raises(
    server, tiny_config, synthetic, tmp_path, monkeypatch
):
    """It raises an error while the first run is training, and changes no files."""
    work = tmp_path / 'work'
    arguments = [
        str(tiny_config),
        '--data-root',
        str(synthetic),
        '--work-dir',
        str(work),
        '--overwrite',
    ]
    work.mkdir()
    (work / 'iter_2.pth').write_bytes(b'of the first run')
    holder = server.start_code(
        'import sys, time\n'
        'from pose_backbones.utils.lock import lock_directory\n'
        'with lock_directory(sys.argv[1]):\n print("held", flush=True)\n time.sleep(100)',
        work,
    )
    holder.wait_for('held')
    monkeypatch.setattr(lock, '_TIMEOUT', 0.0)
    try:
        with pytest.raises(WorkDirError, match='another run is writing'):
            train_api.main(arguments)
    finally:
        holder.send(signal.SIGKILL)
        holder.wait()
    assert (work / 'iter_2.pth').read_bytes() == b'of the first run'
