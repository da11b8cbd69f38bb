"""Safe reading of the checkpoints that MMEngine writes.

Since PyTorch 2.6, `torch.load` unpickles nothing but tensors and plain
containers (`weights_only=True`) unless told otherwise, because a pickle can
run any code. MMEngine's training checkpoints hold a few more things: its
`HistoryBuffer` of logged values and numpy arrays and scalars. This module
allows exactly those, and only as data:

- A `HistoryBuffer` pickles its statistics as `getattr(HistoryBuffer, 'mean')`;
  in place of `getattr`, which would open everything, a function is allowed
  that serves these public methods alone.
- An array is rebuilt by a stand-in of `numpy.ndarray` that takes numbers
  only. Numpy's own would also build arrays of objects, whose bytes are
  addresses in memory.

Files of safetensors are read, too, which MMEngine does not know.

MMEngine fetches a checkpoint by URL through `torch.hub`, whose default is
the unsafe load; the loader put in its place is the safe one.
"""

import argparse
import os
from pathlib import Path

import mmengine.runner.checkpoint as host
import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file

__all__ = ['install']

_STATISTICS = ('mean', 'min', 'max', 'current')


def _history_statistic(owner: type, name: str):
    """The only attributes that a checkpoint may ask for by name."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(HistoryBuffer, name)
    raise ValueError(
        f'the checkpoint asks for the attribute {name!r} of {owner!r}; only '
        f'{", ".join(_STATISTICS)} of HistoryBuffer are allowed')


def _check_numbers(dtype: np.dtype) -> None:
    if not isinstance(dtype, np.dtype) or dtype.kind not in 'biufc':
        raise ValueError(
            f'the checkpoint holds a numpy array of {dtype!r}; only numbers '
            'are allowed')


class _Array:
    """Stands for `numpy.ndarray` while a checkpoint is read."""

    def __new__(cls, *args):
        raise ValueError('the checkpoint builds a numpy array by hand')


class _PlainArray(np.ndarray):
    """An array that is filled from a checkpoint, with numbers only."""

    def __new__(cls, *args):
        raise ValueError('the checkpoint builds a numpy array by hand')

    def __setstate__(self, state) -> None:
        _version, shape, dtype, fortran, content = state
        _check_numbers(dtype)
        values = np.frombuffer(bytes(content), dtype)
        values = values.reshape(shape, order='F' if fortran else 'C')
        self.resize(values.nbytes, refcheck=False)
        self.dtype = dtype
        self.shape = values.shape
        self[...] = values


def _reconstruct(kind: type, shape: tuple, code: bytes) -> np.ndarray:
    """An empty array, which `__setstate__` then fills."""
    if kind is not _Array:
        raise ValueError(f'the checkpoint rebuilds {kind!r} as an array')
    return np.ndarray.__new__(_PlainArray, (0, ), np.uint8)


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    """A number of numpy."""
    _check_numbers(dtype)
    return np.frombuffer(bytes(content), dtype)[0]


def _allowed() -> list:
    # Numpy moved these between 1.x and 2.x; files hold either name.
    names = [(_Array, 'numpy.ndarray')]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        names += [(_reconstruct, f'{module}._reconstruct'),
                  (_scalar, f'{module}.scalar')]
    dtypes = [kind for kind in vars(np.dtypes).values()
              if isinstance(kind, type)]
    return [
        HistoryBuffer, np.dtype, *dtypes, *names, _PlainArray,
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
        if filename.endswith('.safetensors'):
            folder = Path(model_dir or f'{torch.hub.get_dir()}/checkpoints')
            return _read_safetensors(
                _download(filename, folder, progress), map_location)
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


def _download(url: str, folder: Path, progress: bool) -> Path:
    """The file of a URL, which is downloaded once."""
    file = folder / url.rsplit('/', 1)[-1]
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=progress)
    return file


def _read_safetensors(path: Path, map_location) -> dict[str, torch.Tensor]:
    """Weights of a safetensors file, which can hold nothing else."""
    device = 'cpu' if map_location in (None, 'default') else map_location
    return load_file(path, device=str(device))


def load_from_local(filename: str, map_location=None) -> dict:
    """Read a checkpoint file safely.

    Args:
        filename: The path, `.safetensors` or of `torch.save`; `~` stands
            for the home folder.
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
    if path.suffix == '.safetensors':
        return _read_safetensors(path, map_location)
    return torch.load(path, map_location=map_location, weights_only=True)


def install() -> None:
    """Allow what MMEngine's checkpoints hold, and load them safely."""
    torch.serialization.add_safe_globals(_allowed())
    CheckpointLoader.register_scheme(('http://', 'https://', 'file://'),
                                     load_from_http,
                                     force=True)
    # The model zoos' schemes (open-mmlab://, torchvision://, …) call it too.
    host.load_from_http = load_from_http
    CheckpointLoader.register_scheme('', load_from_local, force=True)
