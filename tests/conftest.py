"""Fixtures shared by the tests: tiny data, a tiny config, running tools."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import config as config_module
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import runner as runner_module
from mmengine.visualization import Visualizer

import pose_backbones  # noqa: F401  (before mmpose, for mmcv-lite)
from tests.helpers.processes import Server
from tests.helpers.tools import ROOT, TINY

# One for each process of pytest-xdist; the models here are too small for more.
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow modules where several processes share the tests."""
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: item.get_closest_marker('slow') is None)


def pytest_collection_finish() -> None:
    """Exempt what is imported from garbage collection; MMEngine collects often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _quick_runs() -> Iterator[None]:
    """Skip what takes MMEngine's runner a second for its log.

    Configs are written without formatting, and no compiler is asked for its
    version. The tools in processes of their own do both.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_module, 'FormatCode', lambda text, **options: (text, True))
        patch.setattr(runner_module, 'collect_env', dict)
        yield


@pytest.fixture(scope='module', autouse=True)
def _reset_mmengine() -> None:
    """Remove the visualizer, the scope and the loggers of runs in other modules.

    MMEngine would use them again. A logger may have a log file on a disk that is full.
    """
    Visualizer._instance_dict.clear()
    DefaultScope._instance_dict.clear()
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    MMLogger._instance_dict.clear()


@pytest.fixture
def notes(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, from the level INFO on."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='session')
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope='session')
def synthetic(tmp_path_factory) -> Path:
    """A synthetic data set of 24 training and 10 validation images."""
    from pose_backbones.synthetic import make_synthetic_coco

    folder = tmp_path_factory.mktemp('data') / 'synthetic'
    make_synthetic_coco(folder, 24, 10, seed=3)
    return folder


@pytest.fixture(scope='session')
def server(tmp_path_factory) -> Iterator[Server]:
    """Starts tools in forked processes, which get signals."""
    server = Server(tmp_path_factory.mktemp('server'))
    yield server
    server.close()


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory) -> Path:
    """A config of a model of 40,000 parameters, six steps of four people."""
    path = tmp_path_factory.mktemp('configs') / 'tiny.py'
    path.write_text(
        TINY.format(root=ROOT, base='td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py', iters=6)
    )
    return path
