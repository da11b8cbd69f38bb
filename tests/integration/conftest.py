"""Fixtures of tests that run the tools in this process."""

import os
import shutil
import signal

import pytest
import torch

from pose_backbones.cli import entry_point as cli


class _Exit(Exception):
    """Exception in place of the end of the process."""


def end_data_workers() -> None:
    """End the data workers of a run in this process; the garbage collector takes five seconds."""
    handler = signal.getsignal(signal.SIGCHLD)
    cli._end_data_workers()
    signal.signal(signal.SIGCHLD, handler)


@pytest.fixture
def fail(monkeypatch, capsys):
    """Function that runs a main function, which must fail, and returns the error line."""

    end, process = os._exit, os.getpid()

    def leave(status):
        if os.getpid() != process:  # a data worker
            end(status)
        raise _Exit(status)

    monkeypatch.setattr(cli.os, '_exit', leave)

    def run(main, *arguments):
        with pytest.raises(_Exit) as caught:
            cli.run(lambda _: main([str(a) for a in arguments]))
        end_data_workers()
        assert caught.value.args == (2,)
        lines = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')
        ]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def weights(tiny_config, tmp_path):
    """Checkpoint of the tiny model with random weights."""
    from mmengine.config import Config
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(str(tiny_config)).model)
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


@pytest.fixture
def data(synthetic, tmp_path):
    """Copy of the synthetic data that a test may change."""
    return shutil.copytree(synthetic, tmp_path / 'data')
