"""Tests of the command `pose-backbones models`."""

import json

import pytest
import torch

from pose_backbones import build
from pose_backbones.cli.models import find_rows, main
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import find_model, find_name, list_models, list_releases, read_models
from pose_backbones.zoo.mmpose import read_mmpose_models, read_sizes
from pose_backbones.zoo.names import full_name


def lines(capsys: pytest.CaptureFixture, *options: str) -> list[str]:
    main(list(options))
    return capsys.readouterr().out.splitlines()


def test_all_models_are_listed(capsys: pytest.CaptureFixture) -> None:
    output = lines(capsys)
    own, others = list_models(), list_models(source='mmpose')
    assert output[0] == f'Models of this package: {len(own)}'
    assert f'Models of MMPose: {len(others)}' in output
    names = {line.split(' ')[0] for line in output if line}
    assert names >= {*own, *(full_name(name, 'mmpose') for name in others)}


def test_each_printed_name_leads_to_its_row(capsys: pytest.CaptureFixture) -> None:
    """Both packages have four configs of the same names."""
    for source in ('pose_backbones', 'mmpose'):
        configs = {find_model(f'{source}::{name}').config for name in list_models(source=source)}
        found = [find_model(row.name) for row in find_rows(source)]
        assert {entry.source for entry in found} == {source}
        assert {entry.config for entry in found} == configs
        assert len(found) == len(configs)
    rows = json.loads('\n'.join(lines(capsys, 'swin-l-p4-w7', '256x192', '--json')))
    name = 'td-hm_swin-l-p4-w7_8xb32-210e_coco-256x192'
    assert [row['name'] for row in rows] == [name, f'mmpose::{name}']
    assert [line.split(' ')[0] for line in lines(capsys, 'swin-l-p4-w7', '256x192')][-1] == (
        f'mmpose::{name}'
    )
    releases = list_releases('swin')
    assert name in releases
    assert all(find_model(each).release == release for each, release in releases.items())


def test_shares_are_in_percent(capsys: pytest.CaptureFixture) -> None:
    """MMPose's metafiles have fractions and percentages, and distances in millimeters or pixels."""
    metrics = {
        row['name']: row['metrics'] for row in json.loads('\n'.join(lines(capsys, '--json')))
    }
    wholebody = 'cspnext-m_udp_8xb64-210e_coco-wholebody-256x192'
    assert read_mmpose_models()[wholebody].metrics['COCO-WholeBody']['Body AP'] == 0.687
    assert metrics[wholebody]['COCO-WholeBody']['Body AP'] == 68.7
    assert lines(capsys, wholebody)[-1].split()[1:5] == ['Body', 'AP', '68.7', '(COCO-WholeBody)']
    body = 'td-hm_moganet-s_8xb32-210e_coco-256x192'
    assert metrics[body]['COCO']['AP'] == 74.9
    fashion = metrics['td-hm_hrnet-w48_udp_8xb32-210e_deepfashion_full-256x192']['DeepFashion']
    assert fashion['PCK@0.2'] == 98.3  # as stated
    face = 'rtmpose-m_8xb32-60e_coco-wholebody-face-256x256'
    assert metrics[face]['COCO-WholeBody-Face']['NME'] == 4.66
    assert 'NME 4.66 (COCO-WholeBody-Face)' in lines(capsys, face)[-1]
    lifting = 'image-pose-lift_tcn_8xb64-200e_h36m'
    assert metrics[lifting]['Human3.6M']['P-MPJPE'] == 34.3
    assert 'MPJPE 43.4 mm (Human3.6M)' in lines(capsys, lifting)[-1]
    shares = [
        (name, value)
        for datasets in metrics.values()
        for values in datasets.values()
        for name, value in values.items()
        if 'MPJPE' not in name and name not in ('EPE', 'MRRPE')
    ]
    assert len(shares) > 1900
    assert all(1 < value <= 100 for _, value in shares)


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
    assert lines(capsys, 'mmpose::rtmo-s', 'body7') == output
    assert 'PCK@0.2 96.4 (Hand5)' in lines(capsys, 'hand5', '--weights')[-1]


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
