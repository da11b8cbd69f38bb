"""Reference outputs of the original models, made from a recipe of weights.

A file of `tests/golden` names every tensor of the original checkpoint
(`state`), the seed and scale of the recipe (`seed`, `fill`), the input's
shape, and values of the outputs at some flat indices.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / 'golden'


def load(case: str) -> dict:
    """The record of a case, a file's name without its ending."""
    return json.loads((FOLDER / f'{case}.json').read_text())


def published_figures(family: str) -> list[dict]:
    """The rows of a family's tables, as `tests/golden/figures.py` reads them."""
    return json.loads((FOLDER / 'published_figures.json').read_text())[family]['rows']


def weights(record: dict, prefix: str = '') -> dict[str, torch.Tensor]:
    """The original checkpoint's weights, their names without the prefix."""
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
    """The input (N, C, H, W)."""
    rng = np.random.default_rng(record['seed'] + 1)
    return torch.from_numpy(rng.standard_normal(record['input']).astype(np.float32))


def assert_reproduced(outputs, record: dict) -> None:
    """Outputs are the original's, to 1e-4 of their largest value."""
    assert len(outputs) == len(record['outputs']) > 0
    for output, expected in zip(outputs, record['outputs']):
        assert list(output.shape) == expected['shape']
        values = output.flatten()[expected['idx']].numpy()
        worst = np.abs(values - expected['values']).max()
        assert worst <= 1e-4 * expected['absmax'], expected['name']
        np.testing.assert_allclose(output.std(correction=0).item(), expected['std'], rtol=1e-4)
