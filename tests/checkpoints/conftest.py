"""Fixtures for tests of downloads: a server on localhost, and a cache without waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pose_backbones.checkpoints import transfer as transfers
from tests.helpers.download_cases import CONTENT
from tests.helpers.faulty_server import FaultyServer, File, faulty_server


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    """Run a server with the file `/x.pth`."""
    with faulty_server({'/x.pth': File(CONTENT)}) as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return the directory of a cache; there are no waits between attempts."""
    monkeypatch.setattr(transfers, 'WAITS', (0.0, 0.0, 0.0))
    monkeypatch.setattr(transfers, 'STALLED', 0.5)
    for name in ('POSE_BACKBONES_MIRROR', 'POSE_BACKBONES_OFFLINE', 'HF_HUB_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'cache'
