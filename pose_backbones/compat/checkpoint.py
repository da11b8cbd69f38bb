"""Safe reading of the checkpoints that MMEngine writes.

Since PyTorch 2.6, `torch.load` unpickles nothing but tensors and plain
containers (`weights_only=True`) unless told otherwise, because a pickle can
run any code. MMEngine's training checkpoints hold a few more things: its
`HistoryBuffer` of logged values and numpy arrays and scalars. This module
allows exactly those. A `HistoryBuffer` pickles its statistics as
`getattr(HistoryBuffer, 'mean')`; in place of `getattr`, which would open
everything, a function is allowed that serves these public methods alone.

MMEngine fetches a checkpoint by URL through `torch.hub`, whose default is
the unsafe load; the loader registered here is the safe one.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

__all__ = ['install']

_STATISTICS = ('mean', 'min', 'max', 'current')


def _history_statistic(owner: type, name: str):
    """The only attributes that a checkpoint may ask for by name."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(HistoryBuffer, name)
    raise ValueError(
        f'the checkpoint asks for the attribute {name!r} of {owner!r}; only '
        f'{", ".join(_STATISTICS)} of HistoryBuffer are allowed')


def _allowed() -> list:
    array = np.arange(1)
    # Numpy moved these between 1.x and 2.x; files hold either name.
    reconstruct = array.__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    names = [(reconstruct, f'{module}.multiarray._reconstruct')
             for module in ('numpy.core', 'numpy._core')]
    names += [(scalar, f'{module}.multiarray.scalar')
              for module in ('numpy.core', 'numpy._core')]
    dtypes = [kind for kind in vars(np.dtypes).values()
              if isinstance(kind, type)]
    return [
        HistoryBuffer, np.ndarray, np.dtype, *dtypes, *names,
        # Released ImageNet checkpoints of timm's trainer hold its arguments.
        argparse.Namespace,
        (_history_statistic, 'builtins.getattr')
    ]


def load_from_http(filename: str,
                   map_location=None,
                   model_dir: str | None = None,
                   progress: bool = True) -> dict:
    """Download a checkpoint once, into PyTorch's cache, and read it safely.

    Args:
        filename: The URL.
        map_location: As in `torch.load`.
        model_dir: Folder of the downloads. Default: `checkpoints` under
            `torch.hub.get_dir()`.
        progress: Whether to show a progress bar.

    Returns:
        What the file holds.
    """

    def load():
        return torch.hub.load_state_dict_from_url(
            filename,
            model_dir=model_dir,
            map_location=map_location,
            progress=progress,
            weights_only=True)

    if get_world_size() == 1:
        return load()
    # The first process downloads while the others wait.
    checkpoint = load() if get_rank() == 0 else None
    torch.distributed.barrier()
    return load() if checkpoint is None else checkpoint


def load_from_local(filename: str, map_location=None) -> dict:
    """Read a checkpoint file safely.

    Args:
        filename: The path; `~` stands for the home folder.
        map_location: As in `torch.load`.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        pickle.UnpicklingError: If it holds anything but data.
    """
    path = Path(os.path.expanduser(filename))
    if not path.is_file():
        raise FileNotFoundError(f'{filename} can not be found.')
    return torch.load(path, map_location=map_location, weights_only=True)


def install() -> None:
    """Allow what MMEngine's checkpoints hold, and load them safely."""
    torch.serialization.add_safe_globals(_allowed())
    CheckpointLoader.register_scheme(('http://', 'https://'),
                                     load_from_http,
                                     force=True)
    CheckpointLoader.register_scheme('', load_from_local, force=True)
