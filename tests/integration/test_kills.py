"""Tests of runs that are killed at random times and continue without losing results.

The environment variable POSE_BACKBONES_KILLS (default 1) is the number of kills of each training
run. Use `-s` to print a table of the kills.
"""

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from pose_backbones.checkpoints.loading import read_checkpoint
from tests.helpers.processes import children, runs
from tests.helpers.tools import ROOT, TINY, free_port, run_together

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = int(os.environ.get('POSE_BACKBONES_KILLS', '1'))

#: start of the names of checkpoints
FIRST_WORD = dict(iterations='iter', epochs='epoch')
#: number of the last checkpoint
LAST = dict(iterations=6 + 8 * KILLS, epochs=3)

EPOCHS = """
_base_ = '{base}'
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs={epochs},
                 val_interval=1)
default_hooks = dict(checkpoint=dict(
    by_epoch=True, interval=1, max_keep_ckpts=1, save_best='coco/AP'))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=2, start_factor=0.1)]
log_processor = dict(by_epoch=True)
train_dataloader = dict(
    num_workers=2, persistent_workers=True, dataset=dict(indices=24),
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
"""


@pytest.fixture(scope='module')
def configs(tmp_path_factory) -> dict[str, Path]:
    """Configs that train by iterations and by epochs, with drop path."""
    folder = tmp_path_factory.mktemp('configs')
    text = TINY.format(
        root=ROOT, base='td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py', iters=LAST['iterations']
    ).replace('max_keep_ckpts=-1', 'max_keep_ckpts=1')
    text = text.replace('backbone=dict(', 'backbone=dict(drop_path_rate=0.2,')
    paths = {name: folder / f'{name}.py' for name in ('iterations', 'epochs')}
    paths['iterations'].write_text(text)
    paths['epochs'].write_text(EPOCHS.format(base=paths['iterations'], epochs=LAST['epochs']))
    return paths


def newest(work: Path) -> Path:
    """Return the last checkpoint of a complete run."""
    return max(work.glob('[ie]*_*.pth'), key=lambda file: int(file.stem.split('_')[1]))


def assert_same(actual: Path, expected: Path) -> None:
    """Check that weights and optimizer states are bit-identical."""
    assert actual.name == expected.name
    one, other = read_checkpoint(actual), read_checkpoint(expected)
    assert one['meta']['iter'] == other['meta']['iter']
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for name, value in other['state_dict'].items():
        assert torch.equal(one['state_dict'][name], value), name
    states = [content['optimizer']['state'] for content in (one, other)]
    assert states[0].keys() == states[1].keys()
    for number, moments in states[1].items():
        for name, value in moments.items():
            assert torch.equal(torch.as_tensor(states[0][number][name]), torch.as_tensor(value)), (
                number,
                name,
            )
    assert one['param_schedulers'] == other['param_schedulers']


def row(kind: str, kill: int, after: float, where: str, work: Path) -> None:
    """Print a row of the table of kills."""
    files = sorted(
        file.name for file in work.glob('*') if file.suffix in ('.pth', '.part', '.partial')
    )
    print(f'| {kind} | {kill} | {after:.2f} s | {where} | {" ".join(files)} |', flush=True)


def last_step(text: str) -> str:
    steps = [
        line
        for line in text.splitlines()
        if '(train)' in line or 'Saving' in line or '(val)' in line
    ]
    return steps[-1].split(' - ')[-1][:40] if steps else 'before training'


def killed_training(kind: str, begin, work: Path, steps: int) -> None:
    """Train with kills at random times with a fixed seed until the run is complete.

    Args:
        kind: Name for the table; its length determines the seed.
        begin: Function that starts the training in a process.
        work: Work directory.
        steps: Each process is killed after fewer steps, and up to 0.1 s later.
    """
    moments = random.Random(24 + len(kind))
    for kill in range(KILLS + 1):
        saved = {file.stem for file in work.glob(f'{FIRST_WORD[kind]}_*.pth')}
        process = begin()
        if kill < KILLS:
            process.wait_for('Checkpoints will be saved', '(train)', 'is complete')
            began = time.monotonic()
            step, wait = moments.randrange(steps), moments.random() / 10
            while process.output.count('(train)') < step and process.runs():
                time.sleep(0.005)
            time.sleep(wait)
            if process.runs():
                process.send(signal.SIGKILL, group=True)
                assert process.wait() == -signal.SIGKILL
                after = time.monotonic() - began
                row(kind, kill + 1, after, last_step(process.output), work)
                continue
        assert process.wait() == 0, process.output
        if saved and 'is complete' not in process.output:
            assert_resumed(kind, process.output, saved)


def assert_resumed(kind: str, text: str, saved: set[str]) -> None:
    """Check that a run has continued after a checkpoint with the next step or validation.

    Args:
        kind: `'iterations'` or `'epochs'`.
        text: Output of the run.
        saved: Names of the earlier checkpoints.
    """
    epoch, step = map(int, re.search(r'resumed epoch: (\d+), iter: (\d+)', text).groups())
    number, expected = (epoch, [epoch + 1, 1]) if kind == 'epochs' else (step, [step + 1])
    assert f'{FIRST_WORD[kind]}_{number}' in saved
    trained = [line for line in text.splitlines() if '(train)' in line]
    if not trained:  # The earlier run was killed in the validation at the end.
        assert '(val)' in text
        assert number == LAST[kind]
        return
    first = trained[0]
    counts = re.findall(r'\[ *(\d+)[]/]', first.partition('(train)')[2])
    assert list(map(int, counts)) == expected


@pytest.fixture(scope='module')
def trained(server, configs, synthetic, tmp_path_factory) -> dict[str, Path]:
    """Uninterrupted runs."""
    works = {}
    for kind, config in configs.items():
        works[kind] = tmp_path_factory.mktemp(kind) / 'work'
        process = server.start(
            'train.py', config, '--data-root', synthetic, '--work-dir', works[kind]
        )
        assert process.wait() == 0, process.output
    return works


@pytest.mark.parametrize(('kind', 'steps'), [('iterations', 8), ('epochs', 12)])
def test_training_after_kills(server, configs, trained, synthetic, tmp_path, kind, steps):
    work = tmp_path / 'work'
    killed_training(
        kind,
        lambda: server.start(
            'train.py', configs[kind], '--data-root', synthetic, '--work-dir', work, '--resume'
        ),
        work,
        steps,
    )
    assert_same(newest(work), newest(trained[kind]))
    assert not list(work.glob('*.part*'))


def test_training_in_two_processes_after_kills(server, configs, synthetic, tmp_path):
    """One process is killed, and the launcher ends the other one."""
    options = ('--data-root', synthetic, '--work-dir')
    command = ('_launch.py', ROOT / 'tools/train.py', 1, configs['iterations'], 2, *options)
    single = ('train.py', configs['iterations'], '--data-root', synthetic)
    single += ('--work-dir', tmp_path / 'unbroken', '--launcher', 'pytorch')
    for done in run_together(single, single):
        assert done.returncode == 0, done.stdout
    moments = random.Random(3)
    work = tmp_path / 'work'
    for kill in range(KILLS + 1):
        process = server.start(*command, work, '--resume', env=dict(PORT=free_port()))
        if kill < KILLS:
            process.wait_for('(train)', 'is complete')
            wait, which = moments.random() * 1.5, moments.randrange(2)
            time.sleep(wait)
            workers = children(process.pid)
            if len(workers) == 2:
                os.kill(workers[which], signal.SIGKILL)
                assert process.wait() == 128 + signal.SIGKILL
                assert process.user_messages() == [
                    line for line in process.user_messages() if 'was ended by SIGKILL' in line
                ]
                assert not any(map(runs, workers))
                row('one of two processes', kill + 1, wait, last_step(process.output), work)
                continue
        assert process.wait() == 0, process.output
    assert_same(newest(work), newest(tmp_path / 'unbroken'))


def killed(process, seed: int, span: float, *texts: str) -> bool:
    """Kill a tool some time after its start or some output; return whether it was still running."""
    while texts and process.runs() and not any(text in process.output for text in texts):
        time.sleep(0.005)
    until = time.monotonic() + random.Random(seed + 1).random() * span
    while time.monotonic() < until and process.runs():
        time.sleep(0.005)
    if not process.runs():
        assert process.wait() == 0
        return False
    process.send(signal.SIGKILL, group=True)
    status = process.wait()
    assert status in (0, -signal.SIGKILL)  # it may have ended before the signal
    return status != 0


def test_test_tool_after_kills(server, configs, trained, synthetic, tmp_path):
    checkpoint = newest(trained['iterations'])
    out, dump = tmp_path / 'm.json', tmp_path / 'd.pkl'

    def begin():
        return server.start(
            'test.py',
            configs['iterations'],
            checkpoint,
            '--data-root',
            synthetic,
            '--work-dir',
            tmp_path / 'work',
            '--out',
            out,
            '--dump',
            dump,
            '--cfg-options',
            'test_dataloader.batch_size=1',
            'default_hooks.logger.interval=1',
        )

    assert begin().wait() == 0
    expected = out.read_bytes(), dump.read_bytes()
    for kill in range(KILLS):
        began = time.monotonic()
        if killed(begin(), kill, 0.7, 'Iter(test)'):
            row('test', kill + 1, time.monotonic() - began, '', tmp_path)
        assert (out.read_bytes(), dump.read_bytes()) == expected
    assert begin().wait() == 0
    assert (out.read_bytes(), dump.read_bytes()) == expected


def test_inference_after_kills(server, configs, trained, synthetic, tmp_path):
    command = [
        'infer.py',
        synthetic / 'val',
        '--model',
        configs['iterations'],
        '--weights',
        newest(trained['iterations']),
        '--whole-image',
        '--batch-size',
        '1',
        '--save-every',
        '1',
        '--out',
    ]
    unbroken, work = tmp_path / 'unbroken', tmp_path / 'work'
    process = server.start(*command, unbroken)
    assert process.wait() == 0, process.output
    for kill in range(KILLS):
        resume = ['--resume'] if (work / 'journal.jsonl').is_file() else []
        began = time.monotonic()
        if killed(server.start(*command, work, *resume), kill, 1.0):
            row('infer', kill + 1, time.monotonic() - began, '', work)
        elif (work / 'predictions.json').is_file():
            shutil.rmtree(work)  # it was complete: start again
    resume = ['--resume'] if (work / 'journal.jsonl').is_file() else []
    process = server.start(*command, work, *resume)
    assert process.wait() == 0, process.output
    for name in ('predictions.json', 'predictions.csv'):
        assert (work / name).read_bytes() == (unbroken / name).read_bytes()


def test_report_after_kills(server, trained, synthetic, tmp_path):
    work = shutil.copytree(trained['epochs'], tmp_path / 'run')
    page = tmp_path / 'page.html'
    truth = synthetic / 'annotations/person_keypoints_val.json'
    people = json.loads(truth.read_text())['annotations']
    (work / 'predictions.keypoints.json').write_text(
        json.dumps(
            [
                dict(
                    image_id=person['image_id'],
                    category_id=1,
                    score=0.5,
                    keypoints=person['keypoints'],
                )
                for person in people
            ]
        )
    )
    command = [
        'report.py',
        work / 'predictions.keypoints.json',
        '--ann',
        truth,
        '--out',
        page,
        '--overwrite',
    ]
    process = server.start(*command)
    assert process.wait() == 0, process.output
    size = page.stat().st_size
    for kill in range(KILLS):
        began = time.monotonic()
        if killed(server.start(*command), kill, 0.6):
            row('report', kill + 1, time.monotonic() - began, '', tmp_path)
        assert page.stat().st_size == size
    assert server.start(*command).wait() == 0
    assert page.stat().st_size == size
