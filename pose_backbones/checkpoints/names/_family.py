"""Description of a family of backbones, by which checkpoints are recognized and converted."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

#: name → tensor, without a prefix
Weights = dict[str, Tensor]


def any_of(*patterns: str) -> re.Pattern:
    """Return a pattern that matches what one of the patterns matches; nothing if there is none."""
    return re.compile('|'.join(f'(?:{pattern})' for pattern in patterns) or r'(?!)')


#: matches no name
NOTHING = any_of()


def unchanged(weights: Weights) -> Weights:
    """Return the weights; for families whose releases have today's names."""
    return weights


@dataclass(frozen=True)
class OriginalModel:
    """Whole models of the original code, which do not consist of backbone and head as MMPose's.

    Attributes:
        naming: Name of the naming, for `Conversion.naming`.
        is_family: Whether names of a whole model are of this family, original or today's.
        is_original: Whether they are the original's.
        is_constant: Whether a name is that of a constant that the conversion leaves out.
        convert: Any naming → today's, `backbone.*` and `head.*`.
    """

    naming: str
    is_family: Callable[[Iterable[str]], bool]
    is_original: Callable[[Iterable[str]], bool]
    is_constant: Callable[[str], bool]
    convert: Callable[[Weights], Weights]


@dataclass(frozen=True)
class Family:
    """A family of backbones; the patterns match names of the backbone without prefix.

    Today's names are not listed: the class of that name knows them, see
    `pose_backbones.models.backbones.naming`.

    Attributes:
        name: Name of the class.
        signature: A name that every release of the family has, and no other's.
        convert: Any release's names → today's.
        original: A name that only the family's own ImageNet releases have.
        timm: A name that only timm's releases have.
        classifier: What a classifier has and a backbone has not.
        pretext: What only the task of a self-supervised pretraining needs.
        fills: Today's names that a release may lack without loss; the conversion adds them.
        alone: Whether the names tell the family without the prefix `backbone.`.
        whole: Whole models of the original code, if they need a conversion of their own.
    """

    name: str
    signature: re.Pattern
    convert: Callable[[Weights], Weights] = unchanged
    original: re.Pattern = NOTHING
    timm: re.Pattern = NOTHING
    classifier: re.Pattern = NOTHING
    pretext: re.Pattern = NOTHING
    fills: re.Pattern = NOTHING
    alone: bool = True
    whole: OriginalModel | None = None
