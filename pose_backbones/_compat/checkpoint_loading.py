"""Patch MMEngine to read checkpoints as data, and to load them strictly for inference.

Since PyTorch 2.6, `torch.load` rejects the training checkpoints that MMEngine writes. Adding their
classes to an allow-list would not be safe, because methods of these classes would run on values
from the file. This patch replaces MMEngine's loaders of paths and URLs, which MMPose, MMDetection
and MMSegmentation call, by the given functions.

Inference functions such as MMPose's `init_model` load the parameters that match and leave the
others randomly initialized. With this patch, all parameters have to match if the model contains a
backbone of this package. Runners are not affected; they may initialize a model from a part of a
checkpoint.
"""

from collections.abc import Callable
from functools import wraps

import mmengine.runner.checkpoint as mmengine_checkpoint
from mmengine.runner import CheckpointLoader
from torch import nn


def _strict_for_inference(original: Callable, load_strictly: Callable) -> Callable:
    """Wrap MMEngine's `load_state_dict`."""

    @wraps(original)
    def load_state_dict(module: nn.Module, state_dict, strict=False, logger=None):
        # Runners pass their logger; inference functions do not pass one.
        if logger is not None or not any(
            getattr(part, 'loads_strictly', False) for part in module.modules()
        ):
            original(module, state_dict, strict, logger)
        else:
            load_strictly(module, state_dict)

    load_state_dict.is_strict_for_inference = True
    return load_state_dict


def install(read_file: Callable, read_url: Callable, load_strictly: Callable) -> None:
    """Install the patch. Calling this function again has no effect.

    Args:
        read_file: `(path, map_location) -> checkpoint`.
        read_url: `(url, map_location) -> checkpoint`.
        load_strictly: `(module, checkpoint) -> None`; loads all parameters or raises an error.
    """
    if not hasattr(mmengine_checkpoint.load_state_dict, 'is_strict_for_inference'):
        mmengine_checkpoint.load_state_dict = _strict_for_inference(
            mmengine_checkpoint.load_state_dict, load_strictly
        )

    def load_from_local(filename: str, map_location=None):
        # MMEngine passes these arguments by name.
        return read_file(filename, map_location)

    CheckpointLoader.register_scheme(
        ('http://', 'https://', 'file://', 'hf://'), read_url, force=True
    )
    # The loaders of model zoos (open-mmlab://, torchvision://, …) call this function as well.
    mmengine_checkpoint.load_from_http = read_url
    CheckpointLoader.register_scheme('', load_from_local, force=True)
