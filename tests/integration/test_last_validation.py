"""Tests of runs that are stopped in the validation at the end: `--resume` makes it up."""

import itertools
import json
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS as REGISTRY
from mmpose.visualization import PoseLocalVisualizer

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import train as train_tool
from tests.helpers.processes import Process
from tests.helpers.tools import ROOT, free_port, run_together

NUMBERS = itertools.count()
HOOKS = """
_base_ = '{base}'
randomness = dict(seed=4)
custom_imports = dict(imports=['tests.helpers.last_validation'])
custom_hooks = [dict(type='KillInValidation')]
val_evaluator = [dict(type='EPE'), dict(type='CocoMetric', ann_file={annotations!r})]
"""
ITERATIONS = """
train_cfg = dict(max_iters=3, val_interval=3)
default_hooks = dict(checkpoint=dict(
    interval=1, max_keep_ckpts=1, save_best='EPE', rule='less'))
"""
EPOCHS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_begin=2)
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
param_scheduler = [dict(type='LinearLR', begin=0, end=2, start_factor=0.1)]
log_processor = dict(by_epoch=True)
train_dataloader = dict(
    dataset=dict(indices=8), sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
"""


@pytest.fixture(scope='module')
def hooks(tiny_config, synthetic) -> str:
    """Return the first part of the configs."""
    annotations = str(synthetic / 'annotations/person_keypoints_val.json')
    return HOOKS.format(base=tiny_config, annotations=annotations)


@pytest.fixture(scope='module')
def configs(hooks, tmp_path_factory) -> dict[str, Path]:
    """Configs that train by iterations, with a best checkpoint, and by epochs, without one."""
    folder = tmp_path_factory.mktemp('configs')
    configs = {}
    for name, text in (('iterations', ITERATIONS), ('epochs', EPOCHS)):
        configs[name] = folder / f'{name}.py'
        configs[name].write_text(hooks + text)
    return configs


def entries(work: Path) -> list[dict]:
    """Return the logged entries of a run, except for times."""
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith('time')}
        for file in sorted(work.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]


def validations(work: Path) -> list[dict]:
    return [entry for entry in entries(work) if 'loss' not in entry]


def scores(file: Path) -> dict:
    """Return the record of the best checkpoint, and the logged metrics, of a checkpoint."""
    hub = read_checkpoint(file)['message_hub']
    best = {key: value for key, value in hub['runtime_info'].items() if key.startswith('best')}
    metrics = {
        key: value.current()
        for key, value in hub['log_scalars'].items()
        if key in ('val/EPE', 'val/coco/AP')
    }
    return {**best, **metrics}


def assert_same_end(resumed: Path, uninterrupted: Path) -> None:
    """Check that two runs have the same metrics, checkpoints and records."""
    assert validations(resumed) == validations(uninterrupted)
    assert len(validations(resumed)) == 1
    assert validations(resumed)[0]['EPE'] > 0
    names = sorted(file.name for file in uninterrupted.glob('*.pth'))
    assert sorted(file.name for file in resumed.glob('*.pth')) == names
    for name in names:
        weights = read_checkpoint(resumed / name)['state_dict']
        for key, value in read_checkpoint(uninterrupted / name)['state_dict'].items():
            assert torch.equal(weights[key], value), (name, key)
    pointer = (uninterrupted / 'last_checkpoint').read_text()
    assert (resumed / 'last_checkpoint').read_text() == pointer
    assert scores(resumed / pointer) == scores(uninterrupted / pointer)
    assert scores(resumed / pointer)['val/EPE'] == validations(resumed)[0]['EPE']


def assert_complete(process: Process, work: Path) -> None:
    """Check that a resumed run has nothing to do; call this function while it is running."""
    before = {file: file.stat().st_mtime_ns for file in work.rglob('*.pth')}
    logged = entries(work)
    assert process.wait() == 0, process.output
    assert f'The run in {work} is complete.' in process.output
    assert {file: file.stat().st_mtime_ns for file in work.rglob('*.pth')} == before
    assert entries(work) == logged


@pytest.mark.parametrize('kind', ['iterations', 'epochs'])
def test_validation_that_was_killed_is_made_up(server, configs, synthetic, tmp_path, kind):
    command = ('train.py', configs[kind], '--data-root', synthetic, '--work-dir')
    work, uninterrupted = tmp_path / 'work', tmp_path / 'uninterrupted'
    process = server.start(*command, uninterrupted)
    killed = server.start(*command, work, env=dict(KILLED_RANK='0'))
    assert killed.wait() == -signal.SIGKILL
    last = {'iterations': 'iter_3.pth', 'epochs': 'epoch_2.pth'}[kind]
    assert (work / last).exists()
    assert not validations(work)
    assert process.wait() == 0, process.output
    for _ in range(2):  # The validation is made up again if it was killed again.
        again = server.start(*command, work, '--resume', env=dict(KILLED_RANK='0'))
        assert again.wait() == -signal.SIGKILL, again.output
    trained = len(entries(work))
    resumed = server.start(*command, work, '--resume')
    assert resumed.wait() == 0, resumed.output
    assert '(train)' not in resumed.output
    assert len(entries(work)) == trained + 1
    assert_same_end(work, uninterrupted)
    best = list(work.glob('best_*'))
    assert [file.name for file in best] == ['best_EPE_iter_3.pth'] * (kind == 'iterations')
    for folder in (work, uninterrupted):
        assert_complete(server.start(*command, folder, '--resume'), folder)


def test_two_processes_make_up_a_validation(server, configs, synthetic, tmp_path):
    """The second process is killed, and the launcher ends the first one."""
    work, uninterrupted = tmp_path / 'work', tmp_path / 'uninterrupted'
    single = ('train.py', configs['iterations'], '--data-root', synthetic)
    single += ('--work-dir', uninterrupted, '--launcher', 'pytorch')
    for done in run_together(single, single):
        assert done.returncode == 0, done.stdout
    command = ('_launch.py', ROOT / 'tools/train.py', 1, configs['iterations'], 2)
    command += ('--data-root', synthetic, '--work-dir', work)
    killed = server.start(*command, env=dict(PORT=free_port(), KILLED_RANK='1'))
    assert killed.wait() == 128 + signal.SIGKILL, killed.output
    assert (work / 'iter_3.pth').exists()
    assert not validations(work)
    resumed = server.start(*command, '--resume', env=dict(PORT=free_port()))
    assert resumed.wait() == 0, resumed.output
    assert_same_end(work, uninterrupted)
    assert_complete(server.start(*command, '--resume', env=dict(PORT=free_port())), work)


def test_validation_with_nan_is_made_up_with_skip(server, hooks, synthetic, tmp_path):
    """As the error advises."""
    config, work = tmp_path / 'config.py', tmp_path / 'work'
    text = hooks.replace('KillInValidation', 'OverflowInValidation')
    config.write_text(text + ITERATIONS)
    command = ('train.py', config, '--data-root', synthetic, '--work-dir', work)
    for options in ([], ['--resume']):
        process = server.start(*command, *options)
        assert process.wait() == 2, process.output
        assert '--resume --non-finite skip' in process.output
        assert (work / 'iter_3.pth').exists()
        assert not validations(work)
    process = server.start(*command, '--resume', '--non-finite', 'skip')
    assert process.wait() == 0, process.output
    assert 'NaN or infinite predictions for' in process.output
    (entry,) = validations(work)
    assert entry['step'] == 3
    assert entry['coco/AP'] == 0
    assert_complete(server.start(*command, '--resume', '--non-finite', 'skip'), work)


@pytest.fixture
def train(configs, synthetic, tmp_path):
    """Function that runs the tool and returns the runner, or None if the run is complete."""

    def train(*options: str):
        command = [str(configs['epochs']), '--data-root', str(synthetic)]
        PoseLocalVisualizer._instance_dict.clear()  # It would write to an earlier log.
        args = train_tool.parse_args([*command, '--work-dir', str(tmp_path), *options])
        cfg = train_tool.load_config(args.config)
        train_tool.merge_train_options(cfg, args)
        cfg.experiment_name = f'last{next(NUMBERS)}'  # Runs of the same name share a logger.
        return train_tool.train(cfg)

    return train


def test_no_validation_is_made_up_if_none_is_due(train, tmp_path):
    assert train('--no-validate').epoch == 2
    assert train('--resume', '--no-validate') is None
    assert train('--resume', '--cfg-options', 'train_cfg.val_begin=3') is None
    assert not validations(tmp_path)
    assert train('--resume').epoch == 2
    assert len(validations(tmp_path)) == 1
    assert train('--resume') is None


def test_other_checkpoint_hooks(train, tmp_path, monkeypatch):
    """They do not save the last checkpoint again: the log tells whether the validation finished."""
    monkeypatch.setitem(REGISTRY.module_dict, 'OtherHook', CheckpointHook)
    options = ['--cfg-options', 'default_hooks.checkpoint.type=OtherHook']
    assert train(*options).epoch == 2
    content = read_checkpoint(tmp_path / 'epoch_2.pth')['exact_resume']
    assert not content['validated']
    assert not content['saved_after_validation']
    assert train('--resume', *options) is None
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    log.write_text('')
    assert train('--resume', *options).epoch == 2


def test_runs_of_earlier_versions(train, tmp_path):
    """The last checkpoint does not record that the validation has finished, but the log does."""
    train()
    path = tmp_path / 'epoch_2.pth'
    content = read_checkpoint(path)
    content['exact_resume']['validated'] = False
    del content['exact_resume']['saved_after_validation']
    torch.save(content, path)
    assert train('--resume') is None
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    log = log.parents[1].rename(tmp_path / '20000101_000000') / 'vis_data/scalars.json'
    lines = log.read_text().splitlines(keepends=True)
    for text in (''.join(lines[:-1]), ''.join(lines)[:-20], ''):
        log.write_text(text)  # as if the run had been killed during the validation
        torch.save(content, path)
        assert train('--resume').epoch == 2
        (made_up,) = set(tmp_path.glob('*/vis_data/scalars.json')) - {log}
        assert json.loads(made_up.read_text())['EPE'] == json.loads(lines[-1])['EPE'] > 0
        assert train('--resume') is None
        made_up.unlink()
    del content['exact_resume']  # as in a checkpoint of MMEngine
    torch.save(content, path)
    assert train('--resume') is None
