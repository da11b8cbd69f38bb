"""Tests of benchmarks/mmcv_ops.py."""

import sys
from types import ModuleType

import pytest
import torch

from benchmarks import mmcv_ops
from pose_backbones.errors import ConfigError
from pose_backbones_env.replacements import mmcv_ext


def test_table_has_times_and_differences(monkeypatch, capsys):
    compiled = ModuleType('mmcv._ext')
    compiled.__file__ = '_ext.so'
    vars(compiled).update({name: getattr(mmcv_ext, name) for name in mmcv_ext.__all__})
    compiled.bbox_overlaps = lambda boxes1, boxes2, ious, **_: ious.fill_(2.0)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', compiled)
    import mmcv.ops

    before = mmcv.ops.bbox.ext_module
    mmcv_ops.main(['--rounds', '1', '--operators', 'bbox_overlaps', 'nms', 'carafe'])
    _, _, _, overlaps, nms = capsys.readouterr().out.splitlines()  # carafe has no CPU version
    assert overlaps.startswith('| bbox_overlaps | 2000x4, 100x4 |')
    assert overlaps.endswith('| 2.0e+00 |')  # 2 - 0
    assert nms.endswith('| 0.0e+00 |')
    assert mmcv.ops.bbox.ext_module is before


def test_gradients_are_compared():
    inputs = [torch.ones(2, 3, requires_grad=True), torch.ones(3)]
    output, gradient = mmcv_ops.run_once(lambda x, y: x * x * y, inputs)
    assert output.dtype == torch.float64
    torch.manual_seed(1)
    torch.testing.assert_close(gradient, 2 * torch.randn(2, 3).double())


def test_without_compiled_operators_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv._ext', mmcv_ext)
    with pytest.raises(ConfigError, match='no compiled operators: install the full mmcv'):
        mmcv_ops.main([])
