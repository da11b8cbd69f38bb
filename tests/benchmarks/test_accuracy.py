"""Tests of benchmarks/accuracy.py."""

import json
import subprocess
import sys

import pytest

from benchmarks.accuracy import MMPOSE_NAMES, NAMES, average_precision, main
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import find_model
from tests.helpers.tools import ROOT

OWN = 'td-hm_moganet-xt_8xb32-210e_coco-256x192'


def test_values_of_upstream():
    values = [average_precision(find_model(name)) for name in MMPOSE_NAMES]
    assert values == [0.716, 0.746, 0.739, 0.718, 0.746]
    assert [average_precision(find_model(name)) for name in NAMES[:2]] == [0.721, 0.749]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_models_of_both_packages(tmp_path):
    """In a new process, see tests/deploy/test_export.py."""
    path = tmp_path / 'accuracy.json'
    options = '--precision fp32 --batch 1 --threads 1 --repeat 3 --json'
    command = [sys.executable, '-m', 'benchmarks.accuracy', OWN, MMPOSE_NAMES[0]]
    done = subprocess.run(
        [*command, *options.split(), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own, other = json.loads(path.read_text())['rows']
    assert (own['package'], own['average_precision'], own['flip_test']) == (
        'pose_backbones',
        0.721,
        True,
    )
    assert (other['package'], other['average_precision']) == ('mmpose', 0.716)
    assert {len(row['seconds']['fp32']) for row in (own, other)} == {3}
    rate = 1 / sorted(own['seconds']['fp32'])[1]
    assert f'| {OWN} | 72.1 | True | {rate:.1f} |' in done.stdout


def test_models_without_ap_raise():
    with pytest.raises(ConfigError, match='has no AP'):
        main(['td-hm_moganet-xt_1xb8-demo_synthetic-128x96'])
