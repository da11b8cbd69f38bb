"""MMEngine reads checkpoints as data.

Since PyTorch 2.6, `torch.load` refuses MMEngine's own training checkpoints,
and its allow-list of classes cannot be closed: methods of allowed classes run
on values of the file. MMEngine's loaders of paths and URLs, which MMPose,
MMDetection and MMSegmentation call, are replaced by
`pose_backbones.checkpoints`, which also reads safetensors.

Inference functions such as MMPose's `init_model` load what fits and go on
with random weights for the rest. For a model with a backbone of this package,
everything has to fit. Runners, which may train from a part of a file, still
load what fits.
"""

from functools import wraps

import mmengine.runner.checkpoint as upstream
from mmengine.runner import CheckpointLoader
from torch import nn

from ..checkpoints import read_file, read_url

__all__ = ['install']


def _load_from_local(filename: str, map_location=None):
    """With the signature that MMEngine calls."""
    return read_file(filename, map_location)


def _strict_for_inference(original):
    """MMEngine's `load_state_dict`, strict for our models in inference."""

    @wraps(original)
    def load_state_dict(module: nn.Module, state_dict, strict=False, logger=None):
        # Runners pass their logger; inference functions pass none.
        if logger is not None or not any(
            getattr(part, 'loads_strictly', False) for part in module.modules()
        ):
            original(module, state_dict, strict, logger)
            return
        from ..checkpoints.loading import get_weights, load_weights

        load_weights(module, get_weights(state_dict), 'the checkpoint')

    load_state_dict.is_strict_for_inference = True
    return load_state_dict


def install() -> None:
    """Replace the loaders; calling it again changes nothing."""
    if not hasattr(upstream.load_state_dict, 'is_strict_for_inference'):
        upstream.load_state_dict = _strict_for_inference(upstream.load_state_dict)
    CheckpointLoader.register_scheme(('http://', 'https://', 'file://'), read_url, force=True)
    # The model zoos' schemes (open-mmlab://, torchvision://, …) call it too.
    upstream.load_from_http = read_url
    CheckpointLoader.register_scheme('', _load_from_local, force=True)
