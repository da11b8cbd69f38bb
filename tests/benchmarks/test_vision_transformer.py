"""Tests of benchmarks/vision_transformer.py."""

import pytest
import torch

from benchmarks import vision_transformer
from pose_backbones_env import finder


class _Worker:
    """Executor that runs in this process; the time of a task depends on the variant."""

    def __init__(self, count, context, prepare, arguments):
        self.variant = arguments[0]

    def submit(self, task, *args):
        self.value = self._value(task, *args)
        return self

    def result(self):
        return self.value

    def shutdown(self):
        pass

    def _value(self, task, *args):
        if task is vision_transformer.output:
            return torch.full((2,), 1.0 if self.variant == 'mmpretrain' else 1.5)
        base = 1.0 if args == ('inference',) else 3.0
        return base if self.variant == 'mmpretrain' else base / 2


def test_table_shows_medians_and_ratios(monkeypatch, capsys):
    monkeypatch.setattr(vision_transformer, 'ProcessPoolExecutor', _Worker)
    vision_transformer.main(['--rounds', '2'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('ViTPose backbone, small, batch 4, on ')
    assert lines[3] == '| inference | 1000.0 | 500.0 | 0.500 |'
    assert lines[4] == '| training step | 3000.0 | 1500.0 | 0.500 |'
    assert lines[5] == 'largest difference of the outputs: 5.0e-01'


@pytest.mark.skipif('mmpretrain' not in finder.active(), reason='mmpretrain is installed')
def test_replacement_is_measured(monkeypatch):
    monkeypatch.setattr(vision_transformer, '_SMALL', dict(vision_transformer._SMALL, num_layers=1))
    monkeypatch.setattr(vision_transformer, '_state', {})
    with pytest.raises(SystemExit, match='pip install mmpretrain'):
        vision_transformer.prepare('mmpretrain', 'small', 1)
    vision_transformer.prepare('replacement', 'small', 1)
    assert vision_transformer.output().shape == (1, 384, 16, 12)
    for task in vision_transformer.TASKS:
        assert vision_transformer.measure(task) > 0
    assert vision_transformer._state['model'].pos_embed.grad is not None
