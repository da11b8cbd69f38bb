"""Contents of files that tests download, and functions to download them."""

import hashlib
import random
from pathlib import Path

from pose_backbones.checkpoints.downloads import Release, local_file
from tests.helpers.faulty_server import FaultyServer

CONTENT = random.Random(0).randbytes(50_000)
OTHER = random.Random(1).randbytes(50_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def get(
    server: FaultyServer, folder: Path, name: str = 'x.pth', sha256: str | None = None
) -> bytes:
    """Download a file of the server into a cache, and return its content."""
    release = Release((f'{server.url}/{name}',), sha256)
    return local_file(release, str(folder), progress=False).read_bytes()


def names(folder: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(path.name for path in folder.glob('*'))
