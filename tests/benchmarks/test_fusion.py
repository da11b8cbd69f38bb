"""Tests of benchmarks/fusion.py."""

import json

import pytest
import torch

from benchmarks.fusion import Row, build, main, predict
from pose_backbones.errors import PoseBackbonesError
from pose_backbones.models.layers import fuse

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def test_table_and_json(capsys, tmp_path):
    path = tmp_path / 'fusion.json'
    options = ['--batch', '2', '--threads', '1', '--repeat', '2', '--json', str(path)]
    assert main([MODEL, *options]) is None
    cells = capsys.readouterr().out.splitlines()[-1].strip('| ').split(' | ')
    assert cells[:3] == [MODEL, '2', '1']
    assert 0 < float(cells[-1]) < 1e-4
    (row,) = json.loads(path.read_text())
    assert (row['batch'], row['threads']) == (2, 1)
    assert len(row['unfused']) == len(row['fused']) == 2
    assert 2 * 2e8 < row['flops'] < 2 * 2e9  # 128x96: about a quarter of 3.6 GFLOPs


def test_model_of_mmpose(capsys):
    name = 'rtmpose-t_8xb256-420e_coco-256x192'
    main([name, '--batch', '1', '--threads', '1', '--repeat', '1'])
    cells = capsys.readouterr().out.splitlines()[-1].strip('| ').split(' | ')
    assert cells[:3] == [name, '1', '1']
    assert 0 < float(cells[-1]) < 1e-4


def test_ratio_and_share():
    row = Row('x', 1, 1, 100, 50.0, 0.0, unfused=[4.0, 6.0, 16.0], fused=[2.0, 4.0, 4.0])
    assert row.ratio == 2
    assert row.ratio_of_minima == 2
    assert row.share(row.fused) == 1


def test_every_part_of_the_model_affects_the_output():
    """Otherwise, the difference of the fused model would not mean anything."""
    model, shape = build(MODEL)
    fused, images = fuse(model), torch.randn(1, 3, *shape)
    expected = predict(fused, images)[0]
    for block in (fused.backbone.blocks1[0], fused.backbone.blocks4[0]):
        weight = block.fc1.weight
        changed = {**block.state_dict(), 'fc1.weight': 1.1 * weight}
        block.load_state_dict(changed)
        output = predict(fused, images)[0]
        assert (output - expected).abs().max() > 1e-3 * expected.abs().max()
        expected = output


@pytest.mark.parametrize('options', [['no-such-model'], ['--repeat', '0'], ['--batch', '0']])
def test_invalid_arguments(options):
    with pytest.raises(PoseBackbonesError):
        main(options)
