"""Tests of tools/demo.sh with fewer training steps: all steps run and write their outputs."""

import json
import os
import subprocess

import cv2
import pytest

from tests.helpers.tools import ROOT, tool_env

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


def test_demo_with_coco_directory(coco_folder, tmp_path):
    work = tmp_path / 'work'
    short = '--cfg-options train_cfg.max_iters=2 default_hooks.logger.interval=1'
    done = run_demo(coco_folder, WORK=str(work), TRAIN_OPTIONS=short)
    assert done.returncode == 0, done.stdout
    assert 'Average Precision  (AP) @[ IoU=0.50:0.95' in done.stdout
    metrics = json.loads((work / 'metrics.json').read_text())
    assert 0 <= metrics['coco/AP'] <= 1
    assert f'coco/AP        {metrics["coco/AP"]:.3f}' in done.stdout
    assert (work / 'iter_2.pth').is_file()
    results = json.loads((work / 'predictions.keypoints.json').read_text())
    assert len(results[0]['keypoints']) == 51
    for name in ('training.png', 'pictures/overview.jpg'):
        assert cv2.imread(str(work / name)).size
    page = (work / 'report.html').read_text(encoding='utf-8')
    assert f'{metrics["coco/AP"]:.3f}' in page
    assert 'loss' in page  # curves of the training run
    # A second call does not repeat the complete training run.
    written = (work / 'iter_2.pth').stat().st_mtime_ns
    again = run_demo(coco_folder, WORK=str(work), TRAIN_OPTIONS=short)
    assert again.returncode == 0, again.stdout
    assert 'is complete' in again.stdout
    assert (work / 'iter_2.pth').stat().st_mtime_ns == written


def test_demo_with_missing_directory(tmp_path):
    done = run_demo(tmp_path / 'none', WORK=str(tmp_path / 'work'))
    assert done.returncode == 2
    assert 'error: train annotations not found' in done.stdout
    assert not os.path.exists(tmp_path / 'work')
