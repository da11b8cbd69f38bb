"""Tests of the command `pose-backbones models`."""

import json

import pytest
import torch

from pose_backbones import build
from pose_backbones.cli.models import find_rows, main
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import find_name, list_models, read_models
from pose_backbones.zoo.mmpose import read_sizes


def lines(capsys: pytest.CaptureFixture, *options: str) -> list[str]:
    main(list(options))
    return capsys.readouterr().out.splitlines()


def test_all_models_are_listed(capsys: pytest.CaptureFixture) -> None:
    output = lines(capsys)
    own, others = list_models(), list_models(source='mmpose')
    assert output[0] == f'Models of this package: {len(own)}'
    assert f'Models of MMPose: {len(others)}' in output
    names = {line.split(' ')[0] for line in output if line}
    assert names >= {*own, *others}


def test_search(capsys: pytest.CaptureFixture) -> None:
    output = lines(capsys, 'RTMO-S', 'body7')
    assert [' '.join(line.split()) for line in output] == [
        'Models of MMPose: 1',
        '',
        'name result upstream params, M FLOPs, G input data licence',
        'rtmo-s_8xb32-600e_body7-640x640 (rtmo-s) AP 68.6 (COCO) 9.9 12.0 640x640 '
        'AI Challenger, COCO, CrowdPos… not stated',
    ]
    (row,) = lines(capsys, 'moganet-s', 'coco-256x192')[3:]
    cells = row.split()
    assert cells == [
        'td-hm_moganet-s_8xb32-210e_coco-256x192',
        *'AP 74.9 (COCO) 29.0 6.0 256x192 COCO Apache-2.0'.split(),
    ]
    assert 'PCK@0.2 0.964 (Hand5)' in lines(capsys, 'hand5', '--weights')[-1]


def test_options(capsys: pytest.CaptureFixture) -> None:
    rows = json.loads('\n'.join(lines(capsys, '--source', 'pose_backbones', '--json')))
    models = read_models()
    assert [row['name'] for row in rows] == sorted(models, key=str.lower)
    for row in rows:
        model = models[row['name']]
        assert row['params'] == model.params
        assert '{}x{}'.format(*row['input']) == model.size
        assert row['weights'] == model.weights
    released = json.loads('\n'.join(lines(capsys, '--weights', '--json')))
    assert all(row['weights'] for row in released)
    assert 0 < sum(row['source'] == 'pose_backbones' for row in released) < len(models)


def test_short_names_are_names() -> None:
    shown = {short: row.name for row in find_rows() for short in row.short_names}
    assert len(shown) > 25
    assert all(find_name(short) == name for short, name in shown.items())


@pytest.mark.parametrize('words', [['no-such-model'], ['rtmpose', 'moganet']])
def test_no_match(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"no model matches '{' '.join(words)}'"):
        main(words)
    with pytest.raises(ConfigError, match='did you mean rtmpose-m'):
        main(['rtmpse-m'])


def test_sizes_of_models_of_mmpose() -> None:
    """The file is up to date: its names, and the sizes of some small models."""
    sizes = read_sizes()
    assert set(sizes) <= set(list_models(source='mmpose'))
    assert len(sizes) > 350
    for name in (
        'rtmpose-t_8xb256-420e_coco-256x192',
        'td-hm_litehrnet-18_8xb64-210e_coco-256x192',
    ):
        model = build(f'mmpose::{name}')
        assert sum(value.numel() for value in model.parameters()) == sizes[name]['params']
        height, width = sizes[name]['input']
        assert model(torch.zeros(1, 3, height, width), None, mode='tensor') is not None
