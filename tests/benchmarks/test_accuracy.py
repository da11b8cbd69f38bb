"""Tests of benchmarks/accuracy.py."""

import json

import pytest

from benchmarks.accuracy import MMPOSE_NAMES, NAMES, main, mmpose_models
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import find_name, read_models

OWN = 'td-hm_moganet-xt_8xb32-210e_coco-256x192'


def test_values_of_upstream():
    models, zoo = mmpose_models(), read_models()
    assert [models[name][1] for name in MMPOSE_NAMES] == [0.716, 0.746, 0.739, 0.718, 0.746]
    assert all('AP' in zoo[find_name(name)].metrics for name in NAMES)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_models_of_both_packages(tmp_path, capfd):
    path = tmp_path / 'accuracy.json'
    options = '--precision fp32 --batch 1 --threads 1 --repeat 2 --json'
    main([OWN, MMPOSE_NAMES[0], *options.split(), str(path)])
    own, other = json.loads(path.read_text())['rows']
    assert (own['package'], own['average_precision'], own['flip_test']) == (
        'pose_backbones',
        0.721,
        True,
    )
    assert (other['package'], other['average_precision']) == ('mmpose', 0.716)
    assert {len(row['seconds']['fp32']) for row in (own, other)} == {2}
    rate = 1 / min(own['seconds']['fp32'])
    assert f'| {OWN} | 72.1 | True | {rate:.1f} |' in capfd.readouterr().out


def test_models_without_ap_raise():
    with pytest.raises(ConfigError, match='has no AP'):
        main(['td-hm_moganet-xt_1xb8-demo_synthetic-128x96'])
