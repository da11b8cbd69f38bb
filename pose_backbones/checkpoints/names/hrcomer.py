"""HRCoMer: parameter names of the original (ConvNeXtPose)."""

import re
from collections.abc import Iterable

from torch import Tensor

from . import convnext
from ._family import Family, OriginalModel, any_of

_BASE = 'base_net.'
_NORM = re.compile(r'norm\d\.')
#: parts of the head; in the original they are at the same level as the backbone
_HEADS = ('confidences_head.', 'joints_head.', 'heatmaps_head.', 'refine_head.')
_BLOCK_NORM = re.compile(r'(filter_blocks?(?:\.\d)?)\.norm(\d)\.')
#: a constant that checkpoints of the original can contain
_CONSTANT = '.regular_matrix'


def convert_base_net(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a ConvNeXt to the names of HRCoMer's base network.

    Args:
        weights: Name → tensor, without a prefix, of any release of ConvNeXt.

    Returns:
        Name → tensor, without the norms after the stages.
    """
    converted = convnext.convert_backbone(weights)
    return {name: converted[name] for name in converted if not _NORM.match(name)}


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an HRCoMer backbone to the names of `HRCoMer`.

    Args:
        weights: Name → tensor, without a prefix, in the original or the current naming.

    Returns:
        Name → tensor; current and unknown names are unchanged.
    """
    base = {
        name.removeprefix(_BASE): value for name, value in weights.items() if name.startswith(_BASE)
    }
    return {
        **{_BASE + name: value for name, value in convert_base_net(base).items()},
        **{name: value for name, value in weights.items() if not name.startswith(_BASE)},
    }


def convert_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of the head to the names of `HRCoMerHead`.

    Args:
        weights: Name → tensor, without a prefix, in the original or the current naming.

    Returns:
        Name → tensor, without the constants of the original.
    """
    return {
        _BLOCK_NORM.sub(r'\1.bn\2.', name): value
        for name, value in weights.items()
        if not is_constant(name)
    }


def is_constant(name: str) -> bool:
    """Return whether a name is that of a constant of the original."""
    return name.endswith(_CONSTANT)


def is_original(names: Iterable[str]) -> bool:
    """Return whether the head is at the same level as the backbone, as in the original."""
    return any(name.startswith(_HEADS) for name in names)


def convert_estimator(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a whole model to the names of `HRCoMerEstimator`.

    Args:
        weights: Name → tensor, in the original or the current naming.

    Returns:
        Name → tensor, `backbone.*` and `head.*`; `weights` itself if they are not of an HRCoMer.
    """
    if not is_hrcomer(weights):
        return weights
    backbone, head, others = {}, {}, {}
    for name, value in weights.items():
        if name.startswith('backbone.'):
            backbone[name.removeprefix('backbone.')] = value
        elif name.removeprefix('head.').startswith(_HEADS):
            head[name.removeprefix('head.')] = value
        else:
            others[name] = value
    return {
        **{f'backbone.{name}': value for name, value in convert_backbone(backbone).items()},
        **{f'head.{name}': value for name, value in convert_head(head).items()},
        **others,
    }


def is_hrcomer(names: Iterable[str]) -> bool:
    """Return whether names are of an estimator with an HRCoMer backbone."""
    return any(name.startswith('backbone.hr_adapter.') for name in names)


FAMILY = Family(
    name='HRCoMer',
    signature=any_of(r'hr_adapter\.stage2\.0\.branches\.0\.0\.conv1\.weight'),
    convert=convert_backbone,
    whole=OriginalModel(
        naming='ConvNeXtPose',
        is_family=is_hrcomer,
        is_original=is_original,
        is_constant=is_constant,
        convert=convert_estimator,
    ),
)
