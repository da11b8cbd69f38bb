"""Tests of benchmarks/busy.py."""

import json
import os

import pytest

from benchmarks import busy
from pose_backbones.errors import PoseBackbonesError

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def test_table_and_json(capsys, tmp_path, monkeypatch):
    calls = []

    def in_this_process(task, *args):
        calls.append((args[1], args[2], os.environ.get('OMP_WAIT_POLICY')))
        return task(*args)

    monkeypatch.setattr(busy, 'in_new_process', in_this_process)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    path = tmp_path / 'busy.json'
    options = ['--busy', '0', '1', '--threads', '1', '--batch', '1', '--seconds', '0.01']
    busy.main(['--model', MODEL, *options, '--repeat', '1', '--json', str(path)])
    rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines()[-4:]]
    assert [row[:3] for row in rows] == [
        [task, str(count), '1'] for task in ('inference', 'training') for count in (0, 1)
    ]
    content = json.loads(path.read_text())
    assert len(content) == 12
    assert all(row['rates'][0] > 0 for row in content)
    assert calls[:3] == [
        ('inference', 1, None),
        ('inference', 1, None),
        ('inference', 1, 'PASSIVE'),
    ]
    assert 'OMP_WAIT_POLICY' not in os.environ


@pytest.mark.parametrize('options', [['--threads', '0'], ['--model', 'no-such-model']])
def test_invalid_arguments(options):
    with pytest.raises(PoseBackbonesError):
        busy.main(options)
