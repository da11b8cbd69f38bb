"""Fixtures of the tests of COCO files."""

import pytest

from pose_backbones.structures.coco import CocoFile
from tests.helpers import damaged_coco


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and opens it."""

    def write(content, name: str = 'file.json') -> CocoFile:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else damaged_coco.dumps(content))
        return CocoFile(path)

    return write
