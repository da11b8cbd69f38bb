"""From what a checkpoint file holds to the weights of today's estimator."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from ..errors import CheckpointError
from ..registry import MODELS
from .loading import get_weights, wrapped_in
from .names import FAMILIES, Family
from .names.head import convert_head

#: the parts of an estimator, with the prefix of the head in MMPose 0.x
_PARTS = ('backbone', 'neck', 'head', 'keypoint_head')
#: what PyTorch Lightning's trainers put before a model's names
_TRAINER = 'model.'
_CLASSIFIER = 'of the classifier'
_PRETEXT = 'of the pretraining'
_CONSTANT = 'constant, from the config'
_BUFFER = 'constant, from the constructor'


@dataclass(frozen=True)
class Conversion:
    """Weights in today's names, and an account of how they came there.

    Attributes:
        family: Class of the backbone.
        naming: `'MMPose 0.x'`, `'MMPose 1.x'` (today's estimator),
            `'ConvNeXtPose'`, `'mmpretrain'`, `'timm'`,
            `'ImageNet release'`, or `'pose_backbones'` (today's backbone
            alone).
        weights: Name → tensor, `backbone.*`, `neck.*` and `head.*`.
        left_out: Name in the file → why it has no place in `weights`. What
            is neither here nor in `weights` does not exist: such names are
            an error.
        added: Names in `weights` that the file lacks and that have a value
            all the same: constants, and norms of maps that start as 1 and 0.
        entries: Entries of the file that hold weights; the first was taken.
    """

    family: str
    naming: str
    weights: dict[str, Tensor]
    left_out: dict[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


def convert_state_dict(state_dict: dict) -> dict[str, Tensor]:
    """Rename the weights of a release to those of today's estimators.

    Takes MMPose 0.x and 1.x, the ImageNet releases of MogaNet, UniFormer
    (with token labelling and layer scale, too), ConvNeXt, ConvNeXt V2 (and
    of its self-supervised pretraining) and Swin Transformer, mmpretrain's
    and timm's of ConvNeXt and Swin. The values are the same; some have
    another shape or order.

    Weights of other timm models are not converted: which of their names a
    backbone has depends on the model. `TimmBackbone` takes them as they are.

    Args:
        state_dict: What a checkpoint file holds: the weights, or entries
            around them (see `pose_backbones.checkpoints.loading.WRAPPERS`).

    Returns:
        Name → tensor, `backbone.*` and, if the file has one, `head.*`.
        Without the classifier of an ImageNet release or the decoder of a
        pretraining; `inspect_state_dict` says what was left out and added.

    Raises:
        CheckpointError: If the family is unknown, or a name of a known one;
            says what was recognised and what was not.
    """
    return inspect_state_dict(state_dict).weights


def inspect_state_dict(state_dict: dict, key: str | None = None) -> Conversion:
    """The same as `convert_state_dict`, with an account of what was done.

    Args:
        state_dict: What a checkpoint file holds.
        key: The entry to take, such as `'state_dict_ema'`; None: the first
            of `pose_backbones.checkpoints.loading.WRAPPERS`.

    Returns:
        Weights and account.

    Raises:
        CheckpointError: As for `convert_state_dict`.
    """
    weights = get_weights(state_dict, key)
    found = wrapped_in(state_dict)
    entries = tuple(sorted(found, key=lambda name: name != key))
    inner, outer = _without_model(weights)
    whole = next((one.whole for one in FAMILIES if one.whole and one.whole.is_family(inner)), None)
    constants, original = [], False
    if whole is not None:
        constants = [outer + name for name in inner if whole.is_constant(name)]
        original = whole.is_original(inner)
        inner = whole.convert(inner)
    parts, others = _split(inner)
    prefix = outer + ('backbone.' if _is_prefixed(inner) else '')
    family = _find_family(parts['backbone'], alone=prefix == outer)
    if family is None:
        raise _unknown(
            weights,
            0,
            [*(prefix + name for name in parts['backbone']), *(outer + name for name in others)],
        )

    constant = [name for name in others if name.startswith('data_preprocessor.')]
    unknown = [outer + name for name in others if name not in constant]
    backbone, of_no_use = _without_tasks(family, parts['backbone'])
    left_out = {
        **{outer + name: _CONSTANT for name in constant},
        **dict.fromkeys(constants, _BUFFER),
        **{prefix + name: of_no_use[name] for name in of_no_use},
    }
    converted = family.convert(backbone)
    not_todays = _unknown_names(family, converted)
    unknown += [f'backbone.{name}' for name in not_todays]
    given = set(map(id, backbone.values()))
    added = [
        f'backbone.{name}'
        for name, value in converted.items()
        if name not in not_todays and family.fills.fullmatch(name) and id(value) not in given
    ]
    if unknown or len(converted) - len(added) != len(backbone):
        raise _unknown(weights, len(weights) - len(unknown), unknown, family)

    head = parts['head']
    if _is_classifier(head):
        left_out.update({f'{outer}head.{name}': _CLASSIFIER for name in head})
        head = {}
    head = {**head, **convert_head(parts['keypoint_head'])}
    return Conversion(
        family=family.name,
        naming=whole.naming if whole and original else _naming(family, parts, head),
        weights=_with_versions(
            OrderedDict(
                {
                    **_named('backbone', converted),
                    **_named('neck', parts['neck']),
                    **_named('head', head),
                }
            ),
            {} if original or parts['keypoint_head'] else weights,
            outer,
        ),
        left_out=left_out,
        added=tuple(added),
        entries=entries,
    )


def _find_family(names: Iterable[str], alone: bool) -> Family | None:
    """Return the family whose signature is among names without prefix.

    Args:
        names: Names of a backbone's weights.
        alone: Whether they had no prefix in the file either.
    """
    names = list(names)
    for family in FAMILIES:
        if (family.alone or not alone) and any(family.signature.fullmatch(name) for name in names):
            return family
    return None


def _unknown_names(family: Family, names: Iterable[str]) -> list[str]:
    """Return the names that no backbone of the family has.

    The backbone's class tells them. One that cannot be imported (Swin without MMPose) knows all.
    """
    backbone = MODELS.get(family.name)
    return [] if backbone is None else backbone.unknown_names(names)


def _without_model(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The weights without a trainer's `model.`, and what was taken off."""
    if not all(name.startswith(_TRAINER) for name in weights):
        return weights, ''
    return {name[len(_TRAINER) :]: weights[name] for name in weights}, _TRAINER


def _without_tasks(
    family: Family, weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a backbone has; and name → why not, of the others."""
    of_no_use = {}
    for name in weights:
        if family.classifier.fullmatch(name):
            of_no_use[name] = _CLASSIFIER
        elif family.pretext.fullmatch(name):
            of_no_use[name] = _PRETEXT
    return {name: value for name, value in weights.items() if name not in of_no_use}, of_no_use


def _is_prefixed(weights: dict[str, Tensor]) -> bool:
    return any(name.startswith('backbone.') for name in weights)


def _split(weights: dict[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Part → its weights, without prefix; and names of no part."""
    if not _is_prefixed(weights):
        return {part: weights if part == 'backbone' else {} for part in _PARTS}, []
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    others = []
    for name, value in weights.items():
        part, _, rest = name.partition('.')
        if part in parts and rest:
            parts[part][rest] = value
        else:
            others.append(name)
    return parts, others


def _named(part: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f'{part}.{name}': weights[name] for name in weights}


def _with_versions(converted: OrderedDict, weights: dict[str, Tensor], outer: str) -> OrderedDict:
    """Converted weights with the versions of the neck and the head.

    By them, MMPose's modules know that the names are today's.

    Args:
        converted: In today's names.
        weights: Of the file, with the `_metadata` of a state dict or without.
        outer: What stands before its names.
    """
    versions = {
        name.removeprefix(outer): entry for name, entry in getattr(weights, '_metadata', {}).items()
    }
    kept = {
        name: entry for name, entry in versions.items() if name.split('.')[0] in ('neck', 'head')
    }
    if kept:
        versioned = {'': versions.get('', {}), **kept}
        converted._metadata = OrderedDict(versioned)  # type: ignore[attr-defined]
    return converted


def _is_classifier(head: dict[str, Tensor]) -> bool:
    """Whether a head has the names of mmpretrain's linear classifiers."""
    return bool(head) and all(name.startswith(('fc.', 'layers.')) for name in head)


def _naming(family: Family, parts: dict, head: dict[str, Tensor]) -> str:
    if parts['keypoint_head']:
        return 'MMPose 0.x'
    if head or parts['neck']:
        return 'MMPose 1.x'
    names = parts['backbone']
    for naming, pattern in (('ImageNet release', family.original), ('timm', family.timm)):
        if any(pattern.fullmatch(name) for name in names):
            return naming
    if parts['head'] or _unknown_names(family, names):
        return 'mmpretrain'
    return 'pose_backbones'


def _unknown(
    weights: dict[str, Tensor], recognised: int, unknown: list[str], family: Family | None = None
) -> CheckpointError:
    """The error that says what was recognised and what was not."""
    shown = ', '.join(unknown[:5]) + (', …' if len(unknown) > 5 else '')
    known = ', '.join(known.name for known in FAMILIES)
    what = (
        f'{recognised} of {len(weights)} names are known, of a {family.name}'
        if family
        else f'a backbone of no known family ({known})'
    )
    problem = (
        f'Not recognised: {shown}'
        if unknown
        else 'Different names stand for one and the same weight'
    )
    hint = (
        ''
        if family
        else (
            '. Weights of a timm model need no conversion: model.backbone=dict('
            "type='TimmBackbone', model_name=NAME, init_cfg=dict("
            "type='Pretrained', checkpoint=FILE)) takes them"
        )
    )
    return CheckpointError(f'weights of an unknown release: {what}. {problem}{hint}')
