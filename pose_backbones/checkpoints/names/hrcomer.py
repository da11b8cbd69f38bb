"""HRCoMer: names of the original (ConvNeXtPose)."""

import re
from collections.abc import Iterable

from torch import Tensor

from . import convnext
from ._family import Family, OriginalModel, any_of

_BASE = 'base_net.'
_NORM = re.compile(r'norm\d\.')
#: the parts of the head; in the original they stand beside the backbone
_HEADS = ('confidences_head.', 'joints_head.', 'heatmaps_head.', 'refine_head.')
_BLOCK_NORM = re.compile(r'(filter_blocks?(?:\.\d)?)\.norm(\d)\.')
#: a constant that the original's checkpoints may hold
_CONSTANT = '.regular_matrix'


def convert_base_net(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a ConvNeXt's weights to those of HRCoMer's base network.

    Args:
        weights: Name → tensor, without a prefix, of any release of ConvNeXt.

    Returns:
        Name → tensor; without the norms behind the stages.
    """
    converted = convnext.convert_backbone(weights)
    return {name: converted[name] for name in converted if not _NORM.match(name)}


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename an HRCoMer backbone's weights to those of `HRCoMer`.

    Args:
        weights: Name → tensor, without a prefix: the original's or today's.

    Returns:
        Name → tensor; names that are today's or unknown stay as they are.
    """
    base = {
        name.removeprefix(_BASE): value for name, value in weights.items() if name.startswith(_BASE)
    }
    return {
        **{_BASE + name: value for name, value in convert_base_net(base).items()},
        **{name: value for name, value in weights.items() if not name.startswith(_BASE)},
    }


def convert_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the head's weights to those of `HRCoMerHead`.

    Args:
        weights: Name → tensor, without a prefix: the original's or today's.

    Returns:
        Name → tensor; without the constants of the original.
    """
    return {
        _BLOCK_NORM.sub(r'\1.bn\2.', name): value
        for name, value in weights.items()
        if not is_constant(name)
    }


def is_constant(name: str) -> bool:
    """Whether a name is of a constant that the original may have saved."""
    return name.endswith(_CONSTANT)


def is_original(names: Iterable[str]) -> bool:
    """Whether parts of the head stand beside the backbone, as there."""
    return any(name.startswith(_HEADS) for name in names)


def convert_estimator(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a whole model to those of today's estimator.

    Args:
        weights: Name → tensor, the original's or today's.

    Returns:
        Name → tensor, `backbone.*` and `head.*`; `weights` itself if they
        are of no HRCoMer.
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
    """Whether names are of an estimator on HRCoMer."""
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
