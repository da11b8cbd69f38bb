"""Tests that training stops, or skips a step, if a loss or gradient is not finite."""

import math
import re

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.engine.non_finite import NonFiniteHook
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.errors import ConfigError, TrainingError
from tests.helpers import noisy_runs
from tests.helpers.noisy_runs import NAMED, NamedModel, train_noisy
from tests.helpers.tools import run_together
from tests.helpers.toy_runs import ToyModel

#: sample 5 is part of iterations 2, 5 and 8
NAN = {'train_dataloader__dataset__targets': {5: math.nan}}


@pytest.fixture
def runners(monkeypatch) -> list[PoseRunner]:
    """Return a list to which each runner that the test builds is appended."""
    built = []
    from_cfg = PoseRunner.from_cfg

    def build_and_record(cfg):
        built.append(from_cfg(cfg))
        return built[-1]

    monkeypatch.setattr(PoseRunner, 'from_cfg', build_and_record)
    return built


def train(work, **options):
    """Train on samples that have names."""
    return train_noisy(work, **{**NAMED, **options})


def assert_finite(runner) -> None:
    """Assert that weights and optimizer state are finite."""
    for name, value in runner.model.state_dict().items():
        assert value.isfinite().all(), name
    for state in runner.optim_wrapper.optimizer.state.values():
        assert all(torch.as_tensor(value).isfinite().all() for value in state.values())


def saved_steps(work) -> list[int]:
    return sorted(int(file.stem[5:]) for file in work.glob('iter_*.pth'))


@pytest.mark.parametrize('by_epoch', [False, True])
def test_nan_loss_stops_before_saving(by_epoch, runners, tmp_path):
    options = {'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=2)} if by_epoch else {}
    with pytest.raises(TrainingError) as error:
        train(tmp_path, **NAN, **options)
    message = str(error.value)
    assert 'iteration 2: the loss is not finite (loss=nan on rank 0)' in (message)
    assert 'rank 0: 104 (images/4.jpg), 105 (images/5.jpg)' in message
    assert '103' not in message
    assert '108' not in message
    assert saved_steps(tmp_path) == [1]
    assert_finite(runners[0])
    # The weights are those of the first step, which is saved.
    saved = read_checkpoint(str(tmp_path / 'iter_1.pth'))['state_dict']
    for name, value in runners[0].model.named_parameters():
        assert torch.equal(value, saved[name])


@pytest.mark.parametrize('clip', [False, True])
def test_skip_leaves_weights_unchanged(clip, runners, tmp_path):
    """The weights equal those of a run without these iterations."""
    options = {'optim_wrapper__clip_grad': dict(max_norm=0.1)} if clip else {}
    train(tmp_path, **NAN, **options, non_finite='skip')
    assert_finite(runners[0])
    files = {
        step: read_checkpoint(str(tmp_path / f'iter_{step}.pth')) for step in saved_steps(tmp_path)
    }
    assert list(files) == [1, 2, 3, 4, 5, 6, 7, 8]
    for step in range(2, 9):
        is_unchanged = torch.equal(
            files[step]['state_dict']['linear.weight'],
            files[step - 1]['state_dict']['linear.weight'],
        )
        assert is_unchanged == (step in (2, 5, 8))  # without weight decay, too
    states = files[8]['optimizer']['state']
    assert {float(state['step']) for state in states.values()} == {5}
    logged = files[8]['message_hub']['log_scalars']
    for name in ['loss'] + ['grad_norm'] * clip:
        values = logged[f'train/{name}'].data[0]
        assert len(values) == 5
        assert all(math.isfinite(value) for value in values)
    (log,) = tmp_path.glob('*/*.log')
    assert re.findall(r'(iteration \d): .*The step is skipped', log.read_text()) == [
        'iteration 2',
        'iteration 5',
        'iteration 8',
    ]


def test_skip_drops_whole_accumulated_step(runners, tmp_path):
    """Iterations 2, 5 and 8 are NaN, so the steps of 1 and 2, 5 and 6, 7 and 8 are skipped."""
    train(tmp_path, **NAN, non_finite='skip', optim_wrapper__accumulative_counts=2)
    weights = [
        read_checkpoint(str(tmp_path / f'iter_{step}.pth'))['state_dict']['linear.weight']
        for step in range(1, 9)
    ]
    changed = [
        step for step in range(2, 9) if not torch.equal(weights[step - 1], weights[step - 2])
    ]
    assert changed == [4]
    assert_finite(runners[0])


def test_too_many_consecutive_skips_stop(runners, tmp_path, monkeypatch):
    monkeypatch.setattr(NonFiniteHook.__init__, '__defaults__', ('stop', 3))
    with pytest.raises(TrainingError, match='iteration 3: .* 3 skipped steps in a row'):
        train(
            tmp_path,
            non_finite='skip',
            train_dataloader__dataset__targets=dict.fromkeys(range(12), math.inf),
        )
    assert_finite(runners[0])


def test_skip_stops_if_batch_norm_statistics_are_not_finite(tmp_path):
    """A NaN in an image makes the running mean of the batch norm NaN."""
    with pytest.raises(TrainingError) as error:
        train(tmp_path, non_finite='skip', train_dataloader__dataset__inputs={5: math.nan})
    assert 'iteration 2' in str(error.value)
    assert 'norm.running_mean of the model is not finite' in str(error.value)
    assert saved_steps(tmp_path) == [1]


@pytest.mark.parametrize('action', ['stop', 'skip'])
def test_infinite_learning_rate_stops(action, runners, tmp_path):
    with pytest.raises(TrainingError, match='iteration 1: the learning rate is inf'):
        train(tmp_path, non_finite=action, optim_wrapper__optimizer__lr=math.inf)
    assert_finite(runners[0])


@pytest.mark.parametrize('clip', [False, True])
def test_infinite_gradient_norm_stops(clip, runners, tmp_path):
    """The loss is finite in single precision, but the norm of its gradients is not."""
    options = {'optim_wrapper__clip_grad': dict(max_norm=0.1)} if clip else {}
    with pytest.raises(TrainingError) as error:
        train(
            tmp_path,
            **options,
            model__type='SteepModel',
            train_dataloader__dataset__type='ToyData',
            train_dataloader__collate_fn__type='default_collate',
        )
    assert 'the norm of the gradients is inf' in str(error.value)
    assert_finite(runners[0])


def test_nan_weights_stop_in_first_iteration(runners, tmp_path, monkeypatch):
    init = ToyModel.__init__

    def init_with_nan(self):
        init(self)
        self.linear.bias.data.fill_(math.nan)

    monkeypatch.setattr(ToyModel, '__init__', init_with_nan)
    with pytest.raises(TrainingError, match='iteration 1: the loss is not'):
        train(tmp_path)
    assert not saved_steps(tmp_path)


def test_nan_accuracy_is_ignored(tmp_path, monkeypatch):
    """Only losses are checked."""
    forward = NamedModel.forward

    def with_accuracy(self, inputs, data_samples, mode):
        return {**forward(self, inputs, data_samples, mode), 'acc': torch.tensor(math.nan)}

    monkeypatch.setattr(NamedModel, 'forward', with_accuracy)
    train(tmp_path)
    assert saved_steps(tmp_path)[-1] == 8


def test_invalid_action_raises(tmp_path):
    with pytest.raises(
        ConfigError, match="non_finite='skp': expected one of stop, skip; did you mean skip"
    ):
        train(tmp_path, non_finite='skp')


def test_nan_loss_in_one_process_affects_all(tmp_path):
    """Both processes stop at the same step, or both skip it."""
    command = (noisy_runs.__file__, 'non_finite', tmp_path)
    for done in run_together(command, command):
        assert done.returncode == 0, done.stdout
    for rank in (0, 1):
        text = (tmp_path / f'stop-rank{rank}.txt').read_text()
        assert 'iteration 2: the loss is not finite (loss=nan on rank 1' in (text)
        assert 'rank 1: 105 (images/5.jpg), 107 (images/7.jpg)' in text
        assert 'rank 0' not in text
    assert saved_steps(tmp_path / 'stop') == [1]
    for work, steps in (('skip', [2, 5]), ('accumulate', [2, 3, 5, 6])):
        files = [read_checkpoint(str(tmp_path / f'{work}/iter_{step}.pth')) for step in range(1, 7)]
        unchanged_steps = [
            step
            for step in range(2, 7)
            if torch.equal(
                files[step - 1]['state_dict']['linear.weight'],
                files[step - 2]['state_dict']['linear.weight'],
            )
        ]
        assert unchanged_steps == steps
        weights = [
            torch.load(tmp_path / f'{work}-rank{rank}.pt', weights_only=True) for rank in (0, 1)
        ]
        assert torch.equal(*weights)
        assert weights[0].isfinite().all()


class FakeScaler:
    """Loss scaler that always finds infinite gradients."""

    scale = 65536.0

    def get_scale(self) -> float:
        return self.scale


def test_collapsed_loss_scale_stops(tmp_path, monkeypatch):
    """As in mixed precision, the optimizer is not called."""
    from mmengine.optim import OptimWrapper

    scaler = FakeScaler()
    steps = []

    def step(self, **kwargs):
        self.loss_scaler = scaler
        scaler.scale /= 2
        steps.append(scaler.scale)

    monkeypatch.setattr(OptimWrapper, 'step', step)
    with pytest.raises(TrainingError, match='the loss scale has fallen to 0.000488281'):
        train(tmp_path, train_cfg__max_iters=100)
    assert len(steps) == 27


def test_gradient_norm_is_logged(runners, tmp_path):
    """The norm before the step is logged, although gradients are not clipped."""
    norms = []

    def record(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group['params']]
        norms.append(float(torch.cat([g.flatten() for g in gradients if g is not None]).norm()))

    handle = register_optimizer_step_pre_hook(record)
    try:
        train(tmp_path)
    finally:
        handle.remove()
    logged, _ = runners[0].message_hub.get_scalar('train/grad_norm').data
    assert len(norms) == len(logged) > 2
    assert logged.tolist() == pytest.approx(norms, rel=1e-5)
