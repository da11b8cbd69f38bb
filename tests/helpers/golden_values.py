"""Load reference outputs of the original models, and the weights from which they were computed.

A file in `tests/golden` contains the name of each tensor of the original checkpoint (`state`), the
seed and the scale of the random weights (`seed`, `fill`), the shape of the input, and values of the
outputs at some flat indices.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / 'golden'


def load(case: str) -> dict:
    """Load the record of a case, which is a file name without its suffix."""
    return json.loads((FOLDER / f'{case}.json').read_text())


def published_figures(family: str) -> list[dict]:
    """Return the rows of the tables of a model family, as read by `tests/golden/figures.py`."""
    return json.loads((FOLDER / 'published_figures.json').read_text())[family]['rows']


def weights(record: dict, prefix: str = '') -> dict[str, torch.Tensor]:
    """Return the weights of the original checkpoint, without the prefix of their names."""
    return {
        name.removeprefix(prefix): torch.from_numpy(
            _tensor(name, shape, record['seed'], **record['fill'])
        )
        for name, shape in record['state']
    }


def _tensor(name: str, shape: list[int], seed: int, var: float, scale: float) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(f'{seed}:{name}'.encode()))
    leaf = name.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    if leaf == 'running_var':
        values = var * rng.uniform(0.8, 1.2, shape)
    elif leaf == 'running_mean':
        values = 0.1 * rng.standard_normal(shape)
    elif any(p in name for p in ('layer_scale', 'sigma.scale', 'gamma')):
        values = scale * (1 + 0.25 * rng.standard_normal(shape))
    elif leaf in ('bias', 'beta'):
        values = 0.05 * rng.standard_normal(shape)
    elif len(shape) <= 1:
        values = 1 + 0.1 * rng.standard_normal(shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))
    return np.asarray(values, dtype=np.float32)


def image(record: dict) -> torch.Tensor:
    """Return the input (N, C, H, W)."""
    rng = np.random.default_rng(record['seed'] + 1)
    return torch.from_numpy(rng.standard_normal(record['input']).astype(np.float32))


def assert_reproduced(outputs, record: dict) -> None:
    """Assert that outputs equal those of the original within 1e-4 of their largest value."""
    assert len(outputs) == len(record['outputs']) > 0
    for output, expected in zip(outputs, record['outputs']):
        assert list(output.shape) == expected['shape']
        values = output.flatten()[expected['idx']].numpy()
        worst = np.abs(values - expected['values']).max()
        assert worst <= 1e-4 * expected['absmax'], expected['name']
        np.testing.assert_allclose(output.std(correction=0).item(), expected['std'], rtol=1e-4)
