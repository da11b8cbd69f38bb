"""The table of MMPose's models: docs/scripts/make_mmpose_table.py and measure_mmpose_exports.py."""

import json
from math import inf

import make_mmpose_table
import measure_mmpose_exports
import pytest

from pose_backbones.zoo import list_models
from tests.helpers.mmpose_models import REFUSED, ROWS


def test_page_is_up_to_date():
    """Otherwise, run PYTHONPATH=. python docs/scripts/make_mmpose_table.py."""
    text = make_mmpose_table.PAGE.read_text(encoding='utf-8')
    assert make_mmpose_table.page(text) == text


def test_each_row_is_another_config_of_mmpose():
    names = [row.config for row in ROWS]
    assert len(names) == len(set(names)) >= 40
    names += [row.config for row in REFUSED]
    assert set(names) <= set(list_models(source='mmpose'))


def test_exports_are_of_rows():
    assert measure_mmpose_exports.read_exports().keys() <= {row.config for row in ROWS}


@pytest.mark.parametrize(
    ('result', 'cell'),
    [
        ({'pixels': 0.00123, 'stable': 0.98}, '0.0012 (98%)'),
        ({'mean': 0.00123, 'stable': 0.0}, 'mean 0.0012'),
        ('no result within 9 s', 'error: no result within 9 s'),
        (None, 'not measured'),
    ],
)
def test_cell_of_an_export(result, cell):
    assert make_mmpose_table._exported(result) == cell


def test_measurement_continues(tmp_path, monkeypatch):
    """The file has the models that were exported before; those with few FLOPs are first."""
    monkeypatch.setattr(measure_mmpose_exports, 'EXPORTS', tmp_path / 'exports.json')
    heavy, light = (
        next(row for row in ROWS if row.config.startswith(name))
        for name in ('td-hm_hrnet-w32_8xb64-210e_coco', 'td-hm_shufflenetv2')
    )
    calls = []

    def stopped(row, limit):
        calls.append(row)
        if row is heavy:
            raise KeyboardInterrupt
        return {'pixels': 0.5, 'stable': 1.0}

    monkeypatch.setattr(measure_mmpose_exports, 'export_in_process', stopped)
    with pytest.raises(KeyboardInterrupt):
        measure_mmpose_exports.measure([heavy, light], 9, inf)
    assert calls == [light, heavy]
    measured = json.loads((tmp_path / 'exports.json').read_text())
    assert measured == {light.config: {'pixels': 0.5, 'stable': 1.0}}
    monkeypatch.setattr(measure_mmpose_exports, 'export_in_process', lambda row, limit: 'x ' * 500)
    measure_mmpose_exports.measure([heavy], 9, inf)
    assert measure_mmpose_exports.read_exports() == {**measured, heavy.config: 'x ' * 199 + 'x…'}
    measure_mmpose_exports.measure([light], 9, end=0)  # the time is over
    assert measure_mmpose_exports.read_exports()[light.config] == measured[light.config]
