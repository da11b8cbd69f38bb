"""MMEngine reads checkpoints as data.

Since PyTorch 2.6, `torch.load` refuses MMEngine's own training checkpoints,
and its allow-list of classes cannot be closed: methods of allowed classes run
on values of the file. MMEngine's loaders of paths and URLs, which MMPose,
MMDetection and MMSegmentation call, are replaced by
`pose_backbones.checkpoints`, which also reads safetensors.
"""

import mmengine.runner.checkpoint as upstream
from mmengine.runner import CheckpointLoader

from ..checkpoints import read_file, read_url

__all__ = ['install']


def _load_from_local(filename: str, map_location=None):
    """With the signature that MMEngine calls."""
    return read_file(filename, map_location)


def install() -> None:
    """Replace the loaders; calling it again changes nothing."""
    CheckpointLoader.register_scheme(('http://', 'https://', 'file://'),
                                     read_url,
                                     force=True)
    # The model zoos' schemes (open-mmlab://, torchvision://, …) call it too.
    upstream.load_from_http = read_url
    CheckpointLoader.register_scheme('', _load_from_local, force=True)
