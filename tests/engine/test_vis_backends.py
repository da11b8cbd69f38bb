"""Logging to TensorBoard, MLflow and Weights & Biases, in local stores that are read back."""

import json
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from pose_backbones.errors import ConfigError
from pose_backbones.preflight import vis_backends
from tests.helpers.tools import run_code

#: trains four iterations, or four more with `resume`, and logs a name with parentheses
CODE = """
import sys
from tests.helpers.toy_runs import toy_config, with_validation
from pose_backbones.engine.runner import PoseRunner

backend, work_dir, resume = sys.argv[1:]
changes = with_validation(4)
changes['train_cfg__max_iters'] = 8 if resume else 4
changes['param_scheduler'] = []
cfg = toy_config(work_dir, resume=bool(resume), visualizer=dict(
    type='Visualizer', name='logs',
    vis_backends=[dict(type='LocalVisBackend'), dict(type=backend)]), **changes)
runner = PoseRunner.from_cfg(cfg)
runner.visualizer.add_scalars({'coco/AP (M)': 0.5}, step=0)
runner.train()
"""
Scalars = list[tuple[str, int | None, float]]


def read_tensorboard(folder: Path) -> Scalars:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [
        (name, event.step, event.value)
        for name in events.Tags()['scalars']
        for event in events.Scalars(name)
    ]


def read_mlflow(folder: Path) -> Scalars:
    with sqlite3.connect(folder / 'mlflow.db') as store:
        assert store.execute('SELECT status FROM runs').fetchall() == [('FINISHED',)]
        assert store.execute("SELECT value FROM params WHERE key = 'log_level'").fetchall()
        return store.execute('SELECT key, step, value FROM metrics').fetchall()


def read_wandb(folder: Path) -> Scalars:
    """Read a file of W&B: records in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob('wandb/offline-run-*/run-*.wandb')
    data, position, parts, result = path.read_bytes(), 7, b'', []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack('<HB', data[position + 4 : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record.FromString(parts)
            parts = b''
            for item in record.history.item:
                name = item.key or '/'.join(item.nested_key)
                if not name.startswith('_'):
                    result.append((name, None, json.loads(item.value_json)))
    return result


BACKENDS: dict[str, tuple[str, str, Callable[[Path], Scalars], float]] = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard', read_tensorboard, 1e-6),
    'mlflow': ('MLflowVisBackend', 'alembic', read_mlflow, 1e-12),
    'wandb': ('WandbVisBackend', 'wandb', read_wandb, 1e-12),
}


def logged(folder: Path) -> Scalars:
    """Return the scalars in the run's JSON file."""
    lines = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
    return [
        (name, line['step'], value)
        for line in lines
        for name, value in line.items()
        if name != 'step'
    ]


@pytest.mark.parametrize('name', BACKENDS)
def test_scalars_equal_those_of_the_run(name, tmp_path):
    """The store has the scalars of the JSON file; a resumed run logs the following steps."""
    backend, package, read, tolerance = BACKENDS[name]
    pytest.importorskip(package)
    pytest.importorskip(name)
    folders: list[Path] = []
    for resume in ('', '1'):
        done = run_code(CODE, backend, tmp_path, resume, WANDB_MODE='offline', WANDB_SILENT='true')
        assert done.returncode == 0, done.stdout
        time.sleep(1)  # the folder of a run is named after the second in which it starts
        (folder,) = set(tmp_path.glob('*/vis_data')) - set(folders)
        folders.append(folder)
        expected, found = logged(folder), read(folder)
        if name == 'wandb':  # counts its own steps
            expected = [(key, None, value) for key, _, value in expected]
        if name == 'mlflow':
            expected = [(key.replace('(M)', 'M'), *rest) for key, *rest in expected]
        order = lambda entry: (entry[0], entry[1] or 0, entry[2])  # noqa: E731
        assert len(found) == len(expected) > 30
        for got, want in zip(sorted(found, key=order), sorted(expected, key=order)):
            assert got[:2] == want[:2]
            assert got[2] == pytest.approx(want[2], rel=tolerance, abs=tolerance)
        iterations = [value for key, _, value in found if key == 'iter']
        assert sorted(iterations) == ([5, 6, 7, 8] if resume else [1, 2, 3, 4])


@pytest.mark.parametrize('backend', vis_backends.PACKAGES)
def test_missing_package(backend, monkeypatch):
    monkeypatch.setattr(vis_backends, 'find_spec', lambda name: None)
    entries = [dict(type='LocalVisBackend'), dict(type=f'mmengine.{backend}')]
    cfg = Config(dict(visualizer=dict(vis_backends=entries)), filename='my.py', cfg_text=' ')
    with pytest.raises(ConfigError, match=f'my.py: {backend} in .* which is not installed: pip'):
        vis_backends.check_vis_backends(cfg)
    monkeypatch.setattr(vis_backends, 'find_spec', lambda name: object())
    vis_backends.check_vis_backends(cfg)
