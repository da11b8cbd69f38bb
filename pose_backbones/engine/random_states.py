"""The states of the global random generators, as plain data.

Python, NumPy and PyTorch each have global generators, which dropout, drop
path and augmentation draw from. Their states are turned into dicts of
tensors, integers and floats, which any reader of checkpoints admits.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

#: length of the Mersenne Twister's key in NumPy; Python adds a position
_KEY = 624


def get_random_states() -> dict:
    """The states of this process's global generators.

    Returns:
        `python`: its key and position (625 integers) and the stored normal
        number or None; `numpy`: key (624 integers), position, whether a
        normal number is stored, that number; `torch`: a byte tensor; `cuda`:
        a byte tensor of the current device, or None.
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
    """Put back what `get_random_states` returned.

    Args:
        states: Of this process. Values of a file are to be checked with
            `check_random_states` beforehand.
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
    """What runs inside does not change the global random generators.

    Args:
        cuda: Whether it may use the GPU's; looking there waits for the GPU.
    """
    # As they are: plain data would take ten times as long for each batch.
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
    """Refuse values from a file that are no random states.

    Args:
        states: What the file holds in their place.

    Raises:
        ValueError: With the entry and what it should be.
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
    try:  # the library itself decides whether the bytes are a state
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
        raise ValueError(f'{what}: found {shown}; expected a dict of {", ".join(keys)}')


def _check_key(value: object, what: str, length: int) -> None:
    if (
        not isinstance(value, torch.Tensor)
        or value.dtype != torch.int64
        or value.shape != (length,)
    ):
        raise ValueError(
            f'{what}: key is {_shown(value)}; expected a tensor of {length} integers (int64)'
        )
    if value.min() < 0 or value.max() >= 2**32:
        raise ValueError(f'{what}: key holds values outside of 32 bits')


def _check_bytes(value: object, what: str, length: int) -> None:
    if (
        not isinstance(value, torch.Tensor)
        or value.dtype != torch.uint8
        or value.shape != (length,)
    ):
        raise ValueError(f'{what} is {_shown(value)}; expected a tensor of {length} bytes (uint8)')


def _shown(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f'a tensor {tuple(value.shape)} of {value.dtype}'
    return repr(value)[:60]
