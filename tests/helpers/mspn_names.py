"""Weights of today's MSPN in the names of other implementations."""

import re

import torch
from torch import Tensor

UNITS = 4
TO_HEAD = re.compile(r'predict_layers\.(\d+)\.conv_layers\.([01])\.(.+)')
#: today's names → MMPose's
TO_MMPOSE = (
    (r'^top\.conv\.', 'top.top.0.'),
    (r'^stage(\d)\.', r'multi_stage_mspn.\1.'),
    (r'\.conv_bn_relu(\d)\.(conv|bn)\.', r'.\2\1.'),
    (r'\.u_skip\.', '.in_skip.'),
    (r'\.skip([12])\.', r'.out_skip\1.'),
)


def to_original(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of today's estimator in the names of the original.

    Args:
        weights: Name → tensor, `backbone.*` and `head.*`.

    Returns:
        Name → tensor; the original checkpoints have them in the entry `model`.
    """
    converted = {}
    for name, value in weights.items():
        part, _, name = name.partition('.')
        found = TO_HEAD.fullmatch(name) if part == 'head' else None
        if found:
            index, layer, leaf = found.groups()
            stage, unit = divmod(int(index), UNITS)
            name = f'stage{stage}.upsample.up{unit + 1}.res_conv{int(layer) + 1}.{leaf}'
        converted[name] = value
    return converted


def to_mmpose(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of today's estimator for MMPose's own MSPN.

    It has no biases in front of its batch norms; they are taken off the
    norms' running means, which gives the same outputs.

    Args:
        weights: Name → tensor, `backbone.*` and `head.*`.

    Returns:
        Name → tensor.

    Raises:
        ValueError: If a norm with a bias in front has no running mean.
    """
    converted = {}
    for name, value in weights.items():
        if name.endswith('.conv.bias'):
            mean = name.replace('.conv.bias', '.bn.running_mean')
            if mean not in weights:
                raise ValueError(
                    f"{name} has no place in MMPose's MSPN, and no batch "
                    'norm whose running mean could take it'
                )
            continue
        if name.endswith('.bn.running_mean'):
            bias = name.replace('.bn.running_mean', '.conv.bias')
            value = value - weights.get(bias, torch.zeros_like(value))
        part, _, name = name.partition('.')
        converted[f'{part}.{_rename(name)}'] = value
    return converted


def _rename(name: str) -> str:
    for pattern, replacement in TO_MMPOSE:
        name = re.sub(pattern, replacement, name)
    return name
