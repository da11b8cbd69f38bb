"""Get, set and check the states of the global random number generators.

Python, NumPy and PyTorch have global generators, which dropout, drop path and data augmentation
use. Their states are converted to dicts of tensors, integers and floats, which any checkpoint
reader supports.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from ..errors import shown

#: length of the Mersenne Twister key in NumPy; Python appends the position
_KEY = 624


def get_random_states() -> dict:
    """Return the states of the global generators of this process.

    Returns:
        `python`: key and position (625 integers) and the cached normal number or None; `numpy`: key
        (624 integers), position, whether a normal number is cached, and that number; `torch`: a
        byte tensor; `cuda`: a byte tensor for the current device, or None.
    """
    _, python, gauss = random.getstate()
    _, key, position, has_gauss, cached = np.random.get_state()
    return dict(
        python=dict(key=torch.tensor(python), gauss=gauss),
        numpy=dict(
            key=torch.from_numpy(key.astype(np.int64)),
            position=int(position),
            has_gauss=int(has_gauss),
            gauss=float(cached),
        ),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if _uses_cuda() else None,
    )


def set_random_states(states: dict) -> None:
    """Restore states that `get_random_states` has returned.

    Args:
        states: States of this process. States from a file have to be checked with
            `check_random_states` first.
    """
    python, numpy = states['python'], states['numpy']
    random.setstate((3, tuple(python['key'].tolist()), python['gauss']))
    np.random.set_state(
        (
            'MT19937',
            numpy['key'].cpu().numpy().astype(np.uint32),
            numpy['position'],
            numpy['has_gauss'],
            numpy['gauss'],
        )
    )
    torch.set_rng_state(states['torch'].cpu())
    if states['cuda'] is not None and _uses_cuda():
        torch.cuda.set_rng_state(states['cuda'].cpu())


@contextlib.contextmanager
def preserved_random_states(cuda: bool = True) -> Iterator[None]:
    """Restore the states of the global generators at the end of a `with` block.

    Args:
        cuda: Whether the block may use the generator of the GPU; reading its state synchronizes
            with the GPU.
    """
    # The states are not converted to plain data, which would take ten times as long.
    python, numpy = random.getstate(), np.random.get_state()
    cpu = torch.get_rng_state()
    gpu = torch.cuda.get_rng_state() if cuda and _uses_cuda() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu)


def check_random_states(states: object) -> None:
    """Check that a value from a file is a dict of random states.

    Args:
        states: The value.

    Raises:
        ValueError: With the invalid entry and the expected value.
    """
    _check_dict(states, 'random states', 'python', 'numpy', 'torch', 'cuda')
    python, numpy = states['python'], states['numpy']
    _check_dict(python, 'python', 'key', 'gauss')
    _check_dict(numpy, 'numpy', 'key', 'position', 'has_gauss', 'gauss')
    _check_key(python['key'], 'python', _KEY + 1)
    _check_key(numpy['key'], 'numpy', _KEY)
    if not 1 <= int(python['key'][-1]) <= _KEY:
        raise ValueError(
            f"python: the key's position is {int(python['key'][-1])}; expected 1 to {_KEY}"
        )
    for name, low, high in (('position', 0, _KEY), ('has_gauss', 0, 1)):
        value = numpy[name]
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f'numpy: {name} is {value!r}; expected {low} to {high}')
    for kind, gauss in (('python', python['gauss']), ('numpy', numpy['gauss'])):
        if type(gauss) is not float and not (kind == 'python' and gauss is None):
            raise ValueError(f'{kind}: gauss is {gauss!r}; expected a float')
    _check_bytes(states['torch'], 'torch', torch.get_rng_state().numel())
    if states['cuda'] is not None:
        _check_bytes(states['cuda'], 'cuda', 16)  # seed and offset
    try:  # PyTorch itself checks whether the bytes are a valid state.
        torch.Generator().set_state(states['torch'].cpu())
    except RuntimeError as error:
        raise ValueError(f'torch: {error}') from error


def _uses_cuda() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()


def _check_dict(value: object, what: str, *keys: str) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        shown = (
            f'the keys {sorted(map(str, value))}'
            if isinstance(value, dict)
            else type(value).__name__
        )
        raise ValueError(f'{what}: found {shown}; expected a dict with {", ".join(keys)}')


def _check_key(value: object, what: str, length: int) -> None:
    if (
        not isinstance(value, torch.Tensor)
        or value.dtype != torch.int64
        or value.shape != (length,)
    ):
        raise ValueError(
            f'{what}: key is {_describe(value)}; expected a tensor of {length} integers (int64)'
        )
    if value.min() < 0 or value.max() >= 2**32:
        raise ValueError(f'{what}: key contains values of more than 32 bits')


def _check_bytes(value: object, what: str, length: int) -> None:
    if (
        not isinstance(value, torch.Tensor)
        or value.dtype != torch.uint8
        or value.shape != (length,)
    ):
        raise ValueError(
            f'{what} is {_describe(value)}; expected a tensor of {length} bytes (uint8)'
        )


def _describe(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f'a tensor {tuple(value.shape)} of {value.dtype}'
    return shown(value, 60)
