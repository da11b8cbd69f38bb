"""Tests of training and evaluation in one process, two processes and two nodes."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pose_backbones.checkpoints.loading import read_checkpoint
from tests.helpers.tools import ROOT, free_port, run_forked, run_together, run_tool, tool_env

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

METRICS = ('coco/AP', 'coco/AP .5', 'coco/AP .75', 'coco/AR')


def last_loss(work_dir) -> list[float]:
    """Return the losses that a run has logged, by step."""
    losses = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if 'loss' in entry:
                losses[entry['step']] = entry['loss']
    return [losses[step] for step in sorted(losses)]


@pytest.fixture(scope='module')
def trained(tiny_config, synthetic, tmp_path_factory):
    """Work dir of a run of six steps in one process."""
    work = tmp_path_factory.mktemp('trained') / 'work'
    done = run_tool('train.py', tiny_config, '--data-root', synthetic, '--work-dir', work)
    assert done.returncode == 0, done.stdout
    return work


def test_training_writes_checkpoints_and_logs(trained):
    names = {p.name for p in trained.iterdir()}
    assert {'iter_2.pth', 'iter_4.pth', 'iter_6.pth', 'last_checkpoint', 'tiny.py'} <= names
    assert not [name for name in names if 'partial' in name]
    content = read_checkpoint(trained / 'iter_6.pth')
    assert content['meta']['iter'] == 6
    losses = last_loss(trained)
    assert len(losses) == 6
    assert losses[-1] < losses[0]


#: a number of samples that two processes do not share equally
UNEVEN = ('--cfg-options', 'test_dataloader.dataset.indices=19')


@pytest.fixture(scope='module')
def single_metrics(trained, tiny_config, synthetic, tmp_path_factory):
    """Metrics of the checkpoint, evaluated in one process."""
    folder = tmp_path_factory.mktemp('single')
    done = run_tool(
        'test.py',
        tiny_config,
        trained / 'iter_6.pth',
        '--data-root',
        synthetic,
        '--work-dir',
        folder / 'work',
        '--out',
        folder / 'metrics.json',
        '--dump',
        folder / 'predictions.pkl',
        '--show-dir',
        folder / 'pictures',
        '--interval',
        '5',
        *UNEVEN,
    )
    assert done.returncode == 0, done.stdout
    assert 'Average Precision  (AP) @[ IoU=0.50:0.95' in done.stdout
    return folder


def test_evaluation_writes_metrics_predictions_and_images(single_metrics):
    metrics = json.loads((single_metrics / 'metrics.json').read_text())
    assert set(METRICS) <= set(metrics)
    with (single_metrics / 'predictions.pkl').open('rb') as file:
        predictions = pickle.load(file)
    assert predictions[0]['pred_instances']['keypoints'].shape == (1, 17, 2)
    assert list(single_metrics.rglob('pictures/*.jpg')) or list(
        single_metrics.rglob('pictures/*.png')
    )


def _same_results(single, metrics: dict, dump) -> None:
    """Check that metrics and all predicted keypoints equal those of the single process."""
    alone = json.loads((single / 'metrics.json').read_text())
    for name in METRICS:
        assert metrics[name] == pytest.approx(alone[name], abs=1e-6), name
    people = []
    for path in (single / 'predictions.pkl', dump):
        with path.open('rb') as file:
            entries = pickle.load(file)
        assert len(entries) == 19  # each sample is counted once
        people.append({entry['id']: entry['pred_instances'] for entry in entries})
    expected, actual = people
    assert set(actual) == set(expected)
    for number, person in expected.items():
        np.testing.assert_allclose(
            actual[number]['keypoint_scores'], person['keypoint_scores'], rtol=1e-4, atol=1e-6
        )
    close = [
        np.allclose(actual[n]['keypoints'], p['keypoints'], atol=0.05) for n, p in expected.items()
    ]
    assert np.mean(close) > 0.9  # two equal maxima may be decoded differently


def test_two_processes_give_equal_results(
    single_metrics, trained, tiny_config, synthetic, tmp_path
):
    """The command is that of the MogaNet repository, with its old options."""
    out, dump = tmp_path / 'results.pkl', tmp_path / 'dump.pkl'
    done = run_tool(
        'dist_test.sh',
        tiny_config,
        trained / 'iter_6.pth',
        2,
        '--out',
        out,
        '--eval',
        'mAP',
        '--dump',
        dump,
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        *UNEVEN,
        PORT=free_port(),
    )
    assert done.returncode == 0, done.stdout
    with out.open('rb') as file:
        _same_results(single_metrics, pickle.load(file), dump)


def test_two_processes_train_one_model(tiny_config, synthetic, tmp_path):
    """The launcher and the processes are new interpreters, as on the command line."""
    done = run_tool(
        'dist_train.sh',
        tiny_config,
        2,
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--auto-scale-lr',
        '--cfg-options',
        'auto_scale_lr.base_batch_size=4',
        PORT=free_port(),
        real=True,
    )
    assert done.returncode == 0, done.stdout
    loading, separator, _ = done.stdout.partition('System environment:')
    assert separator
    assert 'rror' not in loading
    assert 'world_size: 2' in done.stdout or 'GPU number: 2' in done.stdout
    content = read_checkpoint(tmp_path / 'work/iter_6.pth')
    assert content['meta']['iter'] == 6
    # 2 x 4 samples instead of 4: twice the learning rate of the config.
    (group,) = content['optimizer']['param_groups']
    assert group['initial_lr'] == pytest.approx(1e-3)


#: a hook that kills the second process in iteration 5, unless torchrun has restarted it
KILL_HOOK = """
import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.iter, runner.rank) == (4, 1) and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_restarted_processes_resume(tiny_config, synthetic, tmp_path):
    """torchrun --max-restarts starts both processes again after one was killed."""
    (tmp_path / 'kill_hook.py').write_text(KILL_HOOK)
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(tiny_config)!r}\n'
        "custom_imports = dict(imports=['kill_hook'], allow_failed_imports=False)\n"
        "custom_hooks = [dict(type='KillHook')]\n"
    )
    work = tmp_path / 'work'
    arguments = ['--nproc-per-node=2', '--max-restarts=1', f'--master-port={free_port()}']
    tool = [ROOT / 'tools/train.py', config, '--data-root', synthetic, '--work-dir', work]
    environment = tool_env()
    environment['PYTHONPATH'] += f':{tmp_path}'
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', *arguments, *tool, '--launcher=pytorch'],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    logs = sorted(work.glob('*/*.log'))
    assert len(logs) == 2
    # The second process may be killed before the first has saved iteration 4.
    assert re.search('resumed epoch: 0, iter: [24]', logs[1].read_text())
    content = read_checkpoint(work / 'iter_6.pth')
    assert content['meta']['iter'] == 6
    assert sorted(path.name for path in work.glob('iter_*.pth')) == [
        f'iter_{n}.pth' for n in (2, 4, 6)
    ]


def test_two_nodes_train_together(server, tiny_config, synthetic, tmp_path):
    """Two launchers; tools/dist_train.sh would start each."""
    shared = dict(NNODES='2', PORT=free_port(), MASTER_ADDR='127.0.0.1')
    command = ('_launch.py', ROOT / 'tools/train.py', 1, tiny_config, 1, '--data-root', synthetic)
    command += ('--work-dir', tmp_path / 'work')
    nodes = [server.start(*command, env=dict(shared, NODE_RANK=str(rank))) for rank in range(2)]
    statuses = [node.wait() for node in nodes]
    outputs = [node.output for node in nodes]
    assert statuses == [0, 0], outputs
    assert 'Iter(train) [6/6]' in outputs[0]
    assert 'Iter(train)' not in outputs[1]  # only the first node logs it
    assert read_checkpoint(tmp_path / 'work/iter_6.pth')['meta']['iter'] == 6


def test_nodes_with_different_checkpoints_raise(trained, tiny_config, synthetic, tmp_path):
    """The work dirs are not shared: one process resumes, the other would start a new run."""
    (tmp_path / 'first').mkdir()
    for name in ('iter_4.pth', 'tiny.py'):
        shutil.copy(trained / name, tmp_path / 'first')
    command = ('train.py', tiny_config, '--data-root', synthetic, '--resume')
    command += ('--launcher', 'pytorch', '--work-dir')
    nodes = run_together((*command, tmp_path / 'first'), (*command, tmp_path / 'second'))
    outputs = [node.stdout for node in nodes]
    assert [node.returncode for node in nodes] == [2, 2], outputs
    assert (
        'error: the processes would start from different checkpoints '
        '(iter_4.pth, no checkpoint)' in outputs[0] + outputs[1]
    )
    assert not list((tmp_path / 'second').glob('*.pth'))


def test_error_in_two_processes_is_printed_once(tiny_config, tmp_path):
    done = run_tool(
        'dist_train.sh', tiny_config, 2, '--data-root', tmp_path / 'nothing', PORT=free_port()
    )
    assert done.returncode == 2
    assert done.stdout.count('error: train annotations not found') == 1
    assert 'Traceback' not in done.stdout


FAKE_SRUN = """#!/usr/bin/env bash
# Replacement of Slurm's command: writes its arguments and environment variables.
cd "$(dirname "$0")"
printf '%s\\0' "$@" >arguments
env -0 >environment
exit 5
"""


@pytest.fixture
def run_on_slurm(tmp_path):
    """Function that runs a script for Slurm, and then the two tasks that it has requested."""
    srun = tmp_path / 'bin/srun'
    srun.parent.mkdir()
    srun.write_text(FAKE_SRUN)
    srun.chmod(0o755)

    def run(name: str, *arguments) -> list[subprocess.CompletedProcess]:
        env = dict(PATH=f'{srun.parent}:{os.environ["PATH"]}', GPUS='2', NO_GPU='1')
        done = run_tool(name, 'partition', 'job', *arguments, PORT=free_port(), **env)
        assert (done.returncode, done.stdout) == (5, '')
        words = srun.with_name('arguments').read_text().split('\0')[:-1]
        options = words[: words.index(sys.executable)]
        assert options == [
            '--partition=partition',
            '--job-name=job',
            '--ntasks=2',
            '--ntasks-per-node=2',
            '--cpus-per-task=5',
            '--kill-on-bad-exit=1',
        ]
        unbuffered, *command = words[len(options) + 1 :]
        assert unbuffered == '-u'
        content = srun.with_name('environment').read_text()
        variables = dict(word.split('=', 1) for word in content.split('\0')[:-1])
        shared = dict(variables, SLURM_NTASKS='2', SLURM_NTASKS_PER_NODE='2')
        return run_forked(
            [command, command],
            [dict(shared, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in '01'],
        )

    return run


def test_slurm_trains(run_on_slurm, tiny_config, synthetic, tmp_path):
    work = tmp_path / 'work'
    tasks = run_on_slurm(
        'slurm_train.sh',
        tiny_config,
        work,
        '--data-root',
        synthetic,
        '--cfg-options',
        'train_cfg.max_iters=2',
    )
    outputs = [task.stdout for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert 'world_size: 2' in outputs[0] or 'GPU number: 2' in outputs[0]
    assert read_checkpoint(work / 'iter_2.pth')['meta']['iter'] == 2


def test_slurm_tests(run_on_slurm, single_metrics, trained, tiny_config, synthetic, tmp_path):
    tasks = run_on_slurm(
        'slurm_test.sh',
        tiny_config,
        trained / 'iter_6.pth',
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--out',
        tmp_path / 'metrics.json',
        '--dump',
        tmp_path / 'dump.pkl',
        *UNEVEN,
    )
    assert [task.returncode for task in tasks] == [0, 0], [task.stdout for task in tasks]
    _same_results(
        single_metrics, json.loads((tmp_path / 'metrics.json').read_text()), tmp_path / 'dump.pkl'
    )


def test_error_in_one_process_is_printed(trained, tiny_config, synthetic, tmp_path):
    """Only one process reads the damaged image."""
    data = shutil.copytree(synthetic, tmp_path / 'data')
    annotations = data / 'annotations/person_keypoints_val.json'
    content = json.loads(annotations.read_text())
    people = [a for a in content['annotations'] if a['num_keypoints'] and not a['iscrowd']]
    by_image = [person['image_id'] for person in people]
    # The two processes load different images; the last one belongs to the second process.
    mine = by_image[-1]
    name = next(i['file_name'] for i in content['images'] if i['id'] == mine)
    (data / 'val' / name).write_text('not an image')
    # The check before the test reads only a sample of many images, and not the second.
    images = sorted(content['images'], key=lambda image: image['id'] == mine)
    more = [{**images[0], 'id': 1000 + number} for number in range(500)]
    content['images'] = [images[0], images[-1], *images[1:-1], *more]
    annotations.write_text(json.dumps(content))
    done = run_tool(
        'dist_test.sh',
        tiny_config,
        trained / 'iter_6.pth',
        2,
        '--data-root',
        data,
        '--work-dir',
        tmp_path / 'work',
        PORT=free_port(),
    )
    assert done.returncode == 2, done.stdout
    assert done.stdout.count(f'error: cannot read the image {data}') == 1
