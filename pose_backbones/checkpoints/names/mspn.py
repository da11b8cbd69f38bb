"""MSPN: parameter names of the original, of MMPose, and of ImageNet ResNets.

The current backbone has the names of the original checkpoints. The layers that predict heatmaps,
which are in the backbone of the original, are in the head, with MMPose's names. MMPose's
convolutions before norms have no biases; these are set to zero.
"""

import re
from collections.abc import Iterable, Sequence

from torch import Tensor

from ._family import Family, OriginalModel, any_of

#: pattern → replacement
_Names = Sequence[tuple[re.Pattern, str]]


def _patterns(*pairs: tuple[str, str]) -> _Names:
    return tuple((re.compile(pattern), name) for pattern, name in pairs)


#: MMPose's names → current names
_MMPOSE = _patterns(
    (r'^top\.top\.0\.', 'top.conv.'),
    (r'^multi_stage_mspn\.(\d)\.', r'stage\1.'),
    (r'(layer\d\.\d+)\.(conv|bn)(\d)\.', r'\1.conv_bn_relu\3.\2.'),
    (r'\.in_skip\.', '.u_skip.'),
    (r'\.out_skip([12])\.', r'.skip\1.'),
)
#: names of torchvision, and of the original's renamed ResNets → current names
_RESNET = _patterns(
    (r'^conv1\.', 'top.conv.conv.'),
    (r'^bn1\.', 'top.conv.bn.'),
    (r'^conv\.(conv|bn)\.', r'top.conv.\1.'),
    (r'^(?:stage0\.)?(?:downsample\.)?layer', 'stage0.downsample.layer'),
    (r'(layer\d\.\d+)\.(conv|bn)(\d)\.', r'\1.conv_bn_relu\3.\2.'),
    (r'(layer\d\.\d+\.downsample)\.0\.', r'\1.conv.'),
    (r'(layer\d\.\d+\.downsample)\.1\.', r'\1.bn.'),
)
_RESNET_LAYER = re.compile(r'(stage0\.)?(downsample\.)?layer4\.0\..+')
_CLASSIFIER = 'fc.'
_HEAD = re.compile(r'stage(\d)\.upsample\.up(\d)\.res_conv([12])\.(.+)')
_CONV = re.compile(r'(.*conv)\.weight')
_UNITS = 4


def convert_backbone(weights: dict[str, Tensor], stages: int = 1) -> dict[str, Tensor]:
    """Convert the weights of an MSPN backbone to the names of `MSPN`.

    Supports the original, MMPose, and ImageNet weights of a ResNet (with the names of torchvision
    or of the original), which are copied to every stage. The classifier of ImageNet weights is
    removed, and so are the layers of the original that predict heatmaps, which belong to the head.

    Args:
        weights: Name → tensor, without a prefix.
        stages: Number of stages of the model, for ImageNet weights.

    Returns:
        Name → tensor; unknown names are unchanged.
    """
    imagenet = any(_RESNET_LAYER.fullmatch(name) for name in weights) and not any(
        '.upsample.' in name for name in weights
    )
    converted = {}
    for name, value in weights.items():
        if _HEAD.fullmatch(name) or (imagenet and name.startswith(_CLASSIFIER)):
            continue
        name = _rename(name, _RESNET if imagenet else _MMPOSE)
        converted[name] = value
        if imagenet and name.startswith('stage0.'):
            for stage in range(1, stages):
                converted[name.replace('stage0', f'stage{stage}')] = value
    return _with_biases(converted)


def convert_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add zero biases, which MMPose's MSPN head does not have.

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor.
    """
    return _with_biases(weights)


def convert_estimator(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a whole MSPN to the names of `MSPNEstimator`.

    Args:
        weights: Name → tensor, in the naming of the original (with or without the prefix
            `backbone.`), of MMPose 0.x or 1.x, or in the current naming.

    Returns:
        Name → tensor, `backbone.*` and `head.*`; `weights` itself if they are not of an MSPN.
    """
    original_names = {name.removeprefix('backbone.'): name for name in weights}
    if not is_mspn(original_names):
        return weights
    backbone, head, others = {}, {}, {}
    for name, original_name in original_names.items():
        value, match = weights[original_name], _HEAD.fullmatch(name)
        part, _, rest = name.partition('.')
        if match:
            stage, unit, layer, leaf = match.groups()
            index = _UNITS * int(stage) + int(unit) - 1
            head[f'predict_layers.{index}.conv_layers.{int(layer) - 1}.{leaf}'] = value
        elif part in ('head', 'keypoint_head'):
            head[rest] = value
        elif part == 'top' or part.startswith(('stage', 'multi_stage_mspn')):
            backbone[name] = value
        else:
            others[original_name] = value
    return {
        **_prefixed('backbone', convert_backbone(backbone)),
        **_prefixed('head', convert_head(head)),
        **others,
    }


def is_mspn(names: Iterable[str]) -> bool:
    """Return whether names without prefix are of an MSPN, and not of an ImageNet ResNet."""
    return any(re.match(r'(stage0|multi_stage_mspn\.0)\.upsample\.up1\.', name) for name in names)


def _rename(name: str, names: _Names) -> str:
    for pattern, replacement in names:
        name = pattern.sub(replacement, name)
    return name


def _with_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, with a zero bias for every convolution without bias."""
    filled = {}
    for name, value in weights.items():
        filled[name] = value
        match = _CONV.fullmatch(name)
        if match and f'{match[1]}.bias' not in weights:
            filled[f'{match[1]}.bias'] = value.new_zeros(len(value))
    return filled


def _prefixed(part: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f'{part}.{name}': weights[name] for name in weights}


def is_original(names: Iterable[str]) -> bool:
    """Return whether the layers that predict heatmaps are in the backbone, as in the original."""
    return any(_HEAD.fullmatch(name.removeprefix('backbone.')) for name in names)


FAMILY = Family(
    name='MSPN',
    signature=any_of(r'(stage0|multi_stage_mspn\.0)\.upsample\.up1\.(u|in)_skip\.conv\.weight'),
    convert=convert_backbone,
    # MMPose's convolutions have no bias.
    fills=any_of(r'.+\.conv\.bias'),
    whole=OriginalModel(
        naming='MSPN',
        is_family=is_original,
        is_original=is_original,
        is_constant=lambda name: False,
        convert=convert_estimator,
    ),
)
