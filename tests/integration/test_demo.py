"""Tests of tools/demo.sh with fewer training steps: all steps run and write their outputs."""

import json
import os
import re
import subprocess

import cv2
import pytest

from tests.helpers.tools import ROOT, run_tool, tool_env

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def coco_folder(synthetic, tmp_path):
    """Synthetic data with the file names of COCO."""
    folder = tmp_path / 'my_coco'
    (folder / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (folder / f'{split}2017').symlink_to(synthetic / split)
        (folder / f'annotations/person_keypoints_{split}2017.json').symlink_to(
            synthetic / f'annotations/person_keypoints_{split}.json'
        )
    return folder


def run_demo(*arguments, **env):
    return subprocess.run(
        ['bash', str(ROOT / 'tools/demo.sh'), *map(str, arguments)],
        env=tool_env(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


def test_demo_continues_on_a_coco_directory(coco_folder, tmp_path):
    work = tmp_path / 'work'
    options = '--cfg-options train_cfg.max_iters={} default_hooks.logger.interval=1'
    # The demo was stopped after two steps, and continues.
    config = ROOT / 'configs/moganet/td-hm_moganet-xt_1xb8-demo_coco-128x96.py'
    start = ['--data-root', coco_folder, '--work-dir', work, '--no-validate']
    stopped = run_tool('train.py', config, *start, *options.format(2).split())
    assert stopped.returncode == 0, stopped.stdout
    done = run_demo(coco_folder, WORK=str(work), TRAIN_OPTIONS=options.format(3))
    assert done.returncode == 0, done.stdout
    steps = re.findall(r'Iter\(train\) +\[ *(\d+)/3\]', done.stdout)
    assert steps == ['3']
    assert 'Average Precision  (AP) @[ IoU=0.50:0.95' in done.stdout
    metrics = json.loads((work / 'metrics.json').read_text())
    assert 0 <= metrics['coco/AP'] <= 1
    assert f'coco/AP        {metrics["coco/AP"]:.3f}' in done.stdout
    assert (work / 'iter_3.pth').is_file()
    results = json.loads((work / 'predictions.keypoints.json').read_text())
    assert len(results[0]['keypoints']) == 51
    for name in ('training.png', 'pictures/overview.jpg'):
        assert cv2.imread(str(work / name)).size
    page = (work / 'report.html').read_text(encoding='utf-8')
    assert f'{metrics["coco/AP"]:.3f}' in page
    assert 'loss' in page  # curves of the training run


def test_demo_with_missing_directory(tmp_path):
    done = run_demo(tmp_path / 'none', WORK=str(tmp_path / 'work'))
    assert done.returncode == 2
    assert 'error: train annotations not found' in done.stdout
    assert not os.path.exists(tmp_path / 'work')
