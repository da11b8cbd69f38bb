"""Convert weights of MSPN to the parameter names of other implementations."""

import re

import torch
from torch import Tensor

UNITS = 4
TO_HEAD = re.compile(r'predict_layers\.(\d+)\.conv_layers\.([01])\.(.+)')
#: pattern of a name → name in MMPose
TO_MMPOSE = (
    (r'^top\.conv\.', 'top.top.0.'),
    (r'^stage(\d)\.', r'multi_stage_mspn.\1.'),
    (r'\.conv_bn_relu(\d)\.(conv|bn)\.', r'.\2\1.'),
    (r'\.u_skip\.', '.in_skip.'),
    (r'\.skip([12])\.', r'.out_skip\1.'),
)


def to_original(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the estimator with the names of the original.

    Args:
        weights: Name → tensor, `backbone.*` and `head.*`.

    Returns:
        Name → tensor. The original checkpoints contain them in the entry `model`.
    """
    converted = {}
    for name, value in weights.items():
        part, _, name = name.partition('.')
        match = TO_HEAD.fullmatch(name) if part == 'head' else None
        if match:
            index, layer, leaf = match.groups()
            stage, unit = divmod(int(index), UNITS)
            name = f'stage{stage}.upsample.up{unit + 1}.res_conv{int(layer) + 1}.{leaf}'
        converted[name] = value
    return converted


def to_mmpose(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the estimator for MMPose's MSPN.

    MMPose's MSPN has no biases before batch norms. They are subtracted from the running means of
    the norms, which gives the same outputs.

    Args:
        weights: Name → tensor, `backbone.*` and `head.*`.

    Returns:
        Name → tensor.

    Raises:
        ValueError: If there is a bias before a norm without a running mean.
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
