"""ViTPose: parameter names of the original repository, also those of ViTPose+.

The current names are those of mmpretrain's `VisionTransformer`, which MMPose's ViTPose configs use.

ViTPose+ (arXiv 2212.04246) is trained on six datasets. In each block, the last features of the
second linear layer of the MLP are computed by one of six experts, one for each dataset, and each
dataset has a head. For one dataset, this is a ViTPose: its expert completes the linear layer.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from ...errors import CheckpointError
from .head import convert_head

#: dataset of ViTPose+ → number of keypoints, in the order of the experts. The head of the first one
#: is `keypoint_head`, the others are `associate_keypoint_heads`.
DATASETS = {'coco': 17, 'aic': 14, 'mpii': 16, 'ap10k': 17, 'apt36k': 17, 'wholebody': 133}
#: `dataset_name` in the metainfo of MMPose, if it is another one → dataset
_METAINFO_NAMES = {'coco_wholebody': 'wholebody', 'ubody2d': 'wholebody'}

_EXPERT = re.compile(r'backbone\.(blocks\.\d+\.mlp)\.experts\.(\d+)\.(weight|bias)')
_OTHER_HEAD = re.compile(r'associate_keypoint_heads\.(\d+)\.(.+)')
_BACKBONE, _HEAD = 'backbone.', 'keypoint_head.'
_LAST_NORM = 'last_norm.weight'  # the name in timm's models and in MAE is another one
#: part of a name in the original repository → current name
_PARTS = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^blocks\.', 'layers.'),
    (r'^last_norm\.', 'ln1.'),
    (r'\.norm([12])\.', r'.ln\1.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
)


def is_original(names: Iterable[str]) -> bool:
    """Return whether names of a whole model are those of the original repository."""
    return _BACKBONE + _LAST_NORM in names


def is_mixture(names: Iterable[str]) -> bool:
    """Return whether names of a whole model are those of ViTPose+, with experts."""
    return any(_EXPERT.fullmatch(name) for name in names)


def choose_dataset(dataset_name: str | None, num_keypoints: int | None) -> str | None:
    """Return the dataset of ViTPose+ whose keypoints a model predicts.

    Args:
        dataset_name: `dataset_name` of the model's metainfo, or None.
        num_keypoints: Number of keypoints that the model predicts, or None.

    Returns:
        One of `DATASETS`; None if the arguments do not determine it. Without a name, 16 and 133
        keypoints do; the 14 of AI Challenger and of CrowdPose are others.
    """
    if dataset_name is not None:
        name = _METAINFO_NAMES.get(dataset_name, dataset_name)
        return name if name in DATASETS else None
    return {16: 'mpii', 133: 'wholebody'}.get(num_keypoints or 0)


def is_of_other_dataset(name: str, dataset: str) -> bool:
    """Return whether a name of ViTPose+ is that of an expert or a head of another dataset.

    Args:
        name: Name of a weight of a whole model.
        dataset: One of `DATASETS`.
    """
    index = list(DATASETS).index(dataset)
    expert, head = _EXPERT.fullmatch(name), _OTHER_HEAD.fullmatch(name)
    if expert:
        return int(expert[2]) != index
    if head:
        return int(head[1]) != index - 1
    return name.startswith(_HEAD) and index != 0


def select_dataset(weights: dict[str, Tensor], dataset: str) -> dict[str, Tensor]:
    """Return the ViTPose of one dataset from the weights of ViTPose+.

    Args:
        weights: Name → tensor, of a whole model.
        dataset: One of `DATASETS`.

    Returns:
        Name → tensor, in the names of the original ViTPose.

    Raises:
        CheckpointError: If there is no such dataset, or the weights have no expert or head for it.
    """
    if dataset not in DATASETS:
        raise CheckpointError(
            f'{dataset!r} is not a dataset of ViTPose+: expected one of {", ".join(DATASETS)}'
        )
    selected, heads, experts = {}, {}, {}
    for name, value in weights.items():
        expert, head = _EXPERT.fullmatch(name), _OTHER_HEAD.fullmatch(name)
        if is_of_other_dataset(name, dataset):
            continue
        if expert:
            experts[expert[1], expert[3]] = value
        elif head or name.startswith(_HEAD):
            heads[_HEAD + head[2] if head else name] = value
        else:
            selected[name] = value
    if not experts or not heads:
        part = 'head' if experts else 'expert'
        raise CheckpointError(f'the ViTPose+ checkpoint has no {part} for the dataset {dataset!r}')
    for (mlp, kind), value in experts.items():
        name = f'{_BACKBONE}{mlp}.fc2.{kind}'
        if name not in selected or selected[name].shape[1:] != value.shape[1:]:
            raise CheckpointError(f'the expert of {mlp}.fc2.{kind} does not fit the ViTPose+ layer')
        selected[name] = torch.cat((selected[name], value))
    for kind in ('weight', 'bias'):  # a head may have outputs that its dataset does not have
        name = f'{_HEAD}final_layer.{kind}'
        if name in heads:
            heads[name] = heads[name][: DATASETS[dataset]]
    return {**selected, **heads}


def convert_model(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an original ViTPose to the names of MMPose 1.x.

    The model adds the first entry of its position embedding, that of a class token which it does
    not have, to all others. The current model has one entry for each patch: their sum.

    Args:
        weights: Name → tensor, `backbone.*` and `keypoint_head.*`.

    Returns:
        Name → tensor, `backbone.*`, `head.*` and the others.
    """
    converted, head = {}, {}
    for name, value in weights.items():
        if name.startswith(_BACKBONE):
            inner = name.removeprefix(_BACKBONE)
            if inner == 'pos_embed' and value.ndim == 3:
                value = value[:, 1:] + value[:, :1]
            for part, replacement in _PARTS:
                inner = re.sub(part, replacement, inner)
            converted[_BACKBONE + inner] = value
        elif name.startswith(_HEAD):
            head[name.removeprefix(_HEAD)] = value
        else:
            converted[name] = value
    converted.update({f'head.{name}': value for name, value in convert_head(head).items()})
    return converted
