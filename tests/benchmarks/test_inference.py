"""Tests of benchmarks/inference.py."""

import re

import pytest
import torch

import pose_backbones
from benchmarks import inference
from benchmarks.inference import main
from pose_backbones.cli import allocator
from pose_backbones.errors import CheckpointError, ConfigError

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def test_variants_agree(tmp_path, capfd, monkeypatch):
    """Both inferencers predict the same keypoints, with random weights; speeds are not compared.

    Only MMPose's runs in a new process.
    """
    run = inference.in_new_process
    monkeypatch.setattr(
        inference,
        'in_new_process',
        lambda task, variant, *args: (
            run(task, variant, *args) if variant == 'mmpose' else task(variant, *args)
        ),
    )
    settings = []
    monkeypatch.setattr(allocator, 'keep_freed_memory', lambda: settings.append('kept'))
    torch.manual_seed(0)
    torch.save(dict(state_dict=pose_backbones.build(MODEL).state_dict()), tmp_path / 'weights.pth')
    main(
        [
            '--weights',
            str(tmp_path / 'weights.pth'),
            '--images',
            '3',
            '--repeat',
            '2',
            '--people',
            '2',
            '3',
            '--batch-size',
            '4',
            '--data',
            str(tmp_path / 'data'),
            '--variants',
            'pose_backbones',
            'mmpose',
        ]
    )
    assert settings == ['kept']
    own, mmpose, last = capfd.readouterr().out.strip().split('\n')[-3:]
    counts = [
        int(re.match(rf'{name}: (\d+) crops in', line)[1])
        for name, line in (('pose_backbones', own), ('mmpose', mmpose))
    ]
    assert counts[0] == counts[1] >= 8
    distance = re.fullmatch(
        r'pose_backbones is [\d.]+ times as fast as mmpose; the keypoints are [\d.]+ pixels apart '
        r'on average, at most ([\d.]+)',
        last,
    )[1]
    assert float(distance) < 0.01


def test_invalid_options_raise_before_images_are_drawn(tmp_path):
    data = tmp_path / 'data'
    with pytest.raises(ConfigError, match='--images 0: expected at least 1'):
        main(['--weights', 'none.pth', '--images', '0'])
    with pytest.raises(CheckpointError, match='checkpoint not found: none'):
        main(['--weights', 'none.pth', '--data', str(data)])
    assert not data.exists()
