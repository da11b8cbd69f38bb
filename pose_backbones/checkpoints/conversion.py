"""Conversion of checkpoints of other releases to the names of current estimators."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from ..errors import CheckpointError
from ..registry import MODELS
from .loading import get_weights, wrapped_in
from .names import FAMILIES, Family, distillation, vitpose
from .names.head import convert_head

#: the parts of an estimator, with the prefix of the head in MMPose 0.x
_PARTS = ('backbone', 'neck', 'head', 'keypoint_head')
#: prefix of the names in checkpoints of PyTorch Lightning
_TRAINER = 'model.'
_CLASSIFIER = 'of the classifier'
_PRETEXT = 'of the pretraining'
_CONSTANT = 'constant, from the config'
_BUFFER = 'constant, from the constructor'
_OTHER_DATASET = 'of another dataset'
_DISTILLATION = 'only for the distillation'


@dataclass(frozen=True)
class Conversion:
    """Converted weights and a record of the conversion.

    Attributes:
        family: Class of the backbone.
        naming: Naming of the file: `'MMPose 0.x'`, `'MMPose 1.x'` (current estimators),
            `'ConvNeXtPose'`, `'MSPN'`, `'ViTPose'`, `'ViTPose+'`, `'DWPose'`, `'mmpretrain'`,
            `'timm'`, `'ImageNet release'`, or `'pose_backbones'` (a current backbone without head).
        weights: Name → tensor, `backbone.*`, `neck.*` and `head.*`.
        left_out: Name in the file → reason why it is not in `weights`. Every name of the file is
            either converted or in this dict; any other name raises an error.
        added: Names in `weights` that are missing in the file and have a default value: constants,
            and norms of maps, which are initialized with 1 and 0.
        entries: Entries of the file that contain weights; the first one was used.
    """

    family: str
    naming: str
    weights: dict[str, Tensor]
    left_out: dict[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


def convert_state_dict(state_dict: dict) -> dict[str, Tensor]:
    """Convert the weights of a release to the names of current estimators.

    Supports MMPose 0.x and 1.x; the ImageNet releases of MogaNet, UniFormer (also with token
    labelling and layer scale), ConvNeXt, ConvNeXt V2 (also its self-supervised pretraining) and
    Swin Transformer; ConvNeXt and Swin of mmpretrain and timm; and the pose models of ConvNeXtPose
    and of the original MSPN and ViTPose (`inspect_state_dict` also converts ViTPose+); and the
    student of a distillation with MMPose's DWPose. The values
    do not change, except for sums in the position embedding of ViTPose; some tensors get another
    shape or order.

    Weights of other timm models are not converted, since the names of their backbones depend on the
    model. `TimmBackbone` loads them directly.

    Args:
        state_dict: Content of a checkpoint file: the weights, or entries that contain them (see
            `pose_backbones.checkpoints.loading.WEIGHT_KEYS`).

    Returns:
        Name → tensor, `backbone.*` and, if the file has a head, `head.*`. The classifier of an
        ImageNet release and the decoder of a pretraining are removed; `inspect_state_dict` returns
        what was removed and added.

    Raises:
        CheckpointError: If the family of the backbone or a name is unknown. The message has the
            number of recognised names and the unknown names.
    """
    return inspect_state_dict(state_dict).weights


def inspect_state_dict(
    state_dict: dict, key: str | None = None, dataset: str | None = None
) -> Conversion:
    """Convert weights as `convert_state_dict` does, and return a record of the conversion.

    Args:
        state_dict: Content of a checkpoint file.
        key: Entry that contains the weights, such as `'state_dict_ema'`; None means the first of
            `pose_backbones.checkpoints.loading.WEIGHT_KEYS`.
        dataset: Dataset whose expert and head of ViTPose+ are converted, one of
            `pose_backbones.checkpoints.names.vitpose.DATASETS`. None for all other weights.

    Returns:
        Converted weights and record.

    Raises:
        CheckpointError: As for `convert_state_dict`; or if `dataset` is missing, or is given for
            weights that are not of ViTPose+.
    """
    weights = get_weights(state_dict, key)
    entries = tuple(sorted(wrapped_in(state_dict), key=lambda name: name != key))
    if vitpose.is_original(weights):
        return _inspect_vitpose(weights, entries, dataset)
    if dataset is not None:
        raise CheckpointError(
            f'the dataset is {dataset!r}, but the weights are not of ViTPose+: expected none'
        )
    if distillation.is_distillation(weights):
        return _inspect_distillation(state_dict, weights, entries)
    inner, outer = _without_model(weights)
    whole = next((f.whole for f in FAMILIES if f.whole and f.whole.is_family(inner)), None)
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
    backbone, unused = _without_tasks(family, parts['backbone'])
    left_out = {
        **{outer + name: _CONSTANT for name in constant},
        **dict.fromkeys(constants, _BUFFER),
        **{prefix + name: unused[name] for name in unused},
    }
    converted = family.convert(backbone)
    unknown_names = _unknown_names(family, converted)
    unknown += [f'backbone.{name}' for name in unknown_names]
    tensors = set(map(id, backbone.values()))
    added = [
        f'backbone.{name}'
        for name, value in converted.items()
        if name not in unknown_names and family.fills.fullmatch(name) and id(value) not in tensors
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


def _inspect_vitpose(
    weights: dict[str, Tensor], entries: tuple[str, ...], dataset: str | None
) -> Conversion:
    """Convert the weights of an original ViTPose, or of one dataset of ViTPose+."""
    mixture = vitpose.is_mixture(weights)
    if mixture != (dataset is not None):
        expected = f'one of {", ".join(vitpose.DATASETS)}' if mixture else 'none'
        raise CheckpointError(
            f'the dataset is {dataset!r}, but the weights are of ViTPose{"+" * mixture}: '
            f'expected {expected} (--dataset)'
        )
    selected = vitpose.select_dataset(weights, dataset) if dataset is not None else weights
    return Conversion(
        family='VisionTransformer',
        naming=f'ViTPose{"+" * mixture}',
        weights=OrderedDict(vitpose.convert_model(selected)),
        left_out={
            name: _OTHER_DATASET
            for name in weights
            if mixture and vitpose.is_of_other_dataset(name, str(dataset))
        },
        entries=entries,
    )


def _inspect_distillation(
    state_dict: dict, weights: dict[str, Tensor], entries: tuple[str, ...]
) -> Conversion:
    """Select the student of a distillation."""
    meta = state_dict.get('meta')
    config = meta.get('cfg') if isinstance(meta, dict) else None
    selected = distillation.select_student(weights, distillation.is_second_stage(weights, config))
    return Conversion(
        family='CSPNeXt',
        naming='DWPose',
        weights=OrderedDict(
            (distillation.without_prefix(name), value) for name, value in selected.items()
        ),
        left_out={name: _DISTILLATION for name in weights if name not in selected},
        entries=entries,
    )


def _find_family(names: Iterable[str], alone: bool) -> Family | None:
    """Return the family whose signature is among names without prefix.

    Args:
        names: Names of a backbone's weights.
        alone: Whether the names have no prefix in the file.
    """
    names = list(names)
    for family in FAMILIES:
        if (family.alone or not alone) and any(family.signature.fullmatch(name) for name in names):
            return family
    return None


def _unknown_names(family: Family, names: Iterable[str]) -> list[str]:
    """Return the names that no backbone of the family has.

    The class of the backbone determines them. If it cannot be imported (Swin without MMPose), the
    result is empty.
    """
    backbone = MODELS.get(family.name)
    return [] if backbone is None else backbone.unknown_names(names)


def _without_model(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return the weights without the prefix of PyTorch Lightning, and the removed prefix."""
    if not all(name.startswith(_TRAINER) for name in weights):
        return weights, ''
    return {name[len(_TRAINER) :]: weights[name] for name in weights}, _TRAINER


def _without_tasks(
    family: Family, weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of the backbone, and for the other names the reason for removal."""
    unused = {}
    for name in weights:
        if family.classifier.fullmatch(name):
            unused[name] = _CLASSIFIER
        elif family.pretext.fullmatch(name):
            unused[name] = _PRETEXT
    return {name: value for name, value in weights.items() if name not in unused}, unused


def _is_prefixed(weights: dict[str, Tensor]) -> bool:
    return any(name.startswith('backbone.') for name in weights)


def _split(weights: dict[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Return the weights of each part, without prefix, and the names that belong to no part."""
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
    """Return converted weights with the versions of neck and head in `_metadata`.

    From these versions, MMPose's modules determine that the names are current.

    Args:
        converted: Weights in current names.
        weights: Weights of the file, with or without the `_metadata` of a state dict.
        outer: Prefix of the names in the file.
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
    """Return whether a head has the names of mmpretrain's linear classifiers."""
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
    """Return an error with the number of recognised names and the unknown names."""
    shown = ', '.join(unknown[:5]) + (', …' if len(unknown) > 5 else '')
    families = ', '.join(entry.name for entry in FAMILIES)
    summary = (
        f'{recognised} of {len(weights)} names are known, of a {family.name}'
        if family
        else f'a backbone of no known family ({families})'
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
    return CheckpointError(f'weights of an unknown release: {summary}. {problem}{hint}')
