"""Description of a family of backbones, by which checkpoints are recognized and converted."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

#: name → tensor, without a prefix
Weights = dict[str, Tensor]


def any_of(*patterns: str) -> re.Pattern:
    """Return a pattern that matches if any of the patterns matches; without patterns, none."""
    return re.compile('|'.join(f'(?:{pattern})' for pattern in patterns) or r'(?!)')


#: matches no name
NOTHING = any_of()


def unchanged(weights: Weights) -> Weights:
    """Return the weights; for families whose releases have the current names."""
    return weights


@dataclass(frozen=True)
class OriginalModel:
    """Conversion of whole models of original code that has no separate backbone and head.

    Attributes:
        naming: Value of `Conversion.naming`.
        is_family: Returns whether names of a whole model are of this family, in the original or the
            current naming.
        is_original: Returns whether names are in the original naming.
        is_constant: Returns whether a name is that of a constant, which the conversion removes.
        convert: Converts weights in any naming to current names, `backbone.*` and `head.*`.
    """

    naming: str
    is_family: Callable[[Iterable[str]], bool]
    is_original: Callable[[Iterable[str]], bool]
    is_constant: Callable[[str], bool]
    convert: Callable[[Weights], Weights]


@dataclass(frozen=True)
class Family:
    """A family of backbones; the patterns match names of the backbone without prefix.

    Current names are not listed: they are determined from the class of the backbone, see
    `pose_backbones.models.backbones.naming`.

    Attributes:
        name: Name of the backbone class.
        signature: Matches a name that every release of this family has, and no other family.
        convert: Converts the weights of any release to current names.
        original: Matches a name that only the original ImageNet releases have.
        timm: Matches a name that only timm's releases have.
        classifier: Matches the names of the classifier.
        pretext: Matches names that only the pretext task of self-supervised pretraining uses.
        fills: Matches current names that can be missing in a release; the conversion adds them.
        alone: Whether the family can be identified without the prefix `backbone.`.
        whole: Conversion of whole models of the original code, if they need one.
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
