"""Read checkpoints and load their weights into a model, strictly."""

import os
import reprlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import nn

from ..errors import CheckpointError, ConfigError, closest, shorten, shown_name
from ..utils.files import is_url
from .matching import (
    already_matched,
    compare_arch,
    convert_by_hooks,
    is_bare_backbone,
    match_state_dict,
    rename_keys,
)
from .names import distillation, vitpose

#: Keys of a checkpoint under which the weights may be stored as a dict; the first one present is
#: used. Trained weights take precedence over their moving averages, as in the training code of the
#: released pose models, and the teacher of a self-distillation, which is its result, over the
#: student.
WEIGHT_KEYS = (
    'state_dict',
    'model',
    'module',
    'model_state_dict',
    'net',
    'state_dict_ema',
    'model_ema',
    'ema_state_dict',
    'teacher',
    'student',
)
#: prefixes of the names of data-parallel and averaged (`module.`) and compiled models
_MODEL_PREFIXES = ('module.', '_orig_mod.')
#: maximum number of nested dicts under `WEIGHT_KEYS`; real files have up to two
_DEEPEST = 10
#: counters of averaged models, which are in the dict of the weights and have no prefix
_COUNTERS = ('steps', 'n_averaged')


def check_checkpoint_path(path: str | os.PathLike) -> None:
    """Raise if a checkpoint file does not exist.

    Args:
        path: Path or URL; URLs are not checked.

    Raises:
        CheckpointError: If the file does not exist; the message has similar names in the directory.
    """
    if is_url(path) or os.path.lexists(os.path.expanduser(path)):
        return
    folder = Path(path).expanduser().parent
    if not folder.is_dir():
        hint = f'; the folder {folder} does not exist'
    else:
        names = sorted(
            file.name for pattern in ('*.pth*', '*.safetensors') for file in folder.glob(pattern)
        )
        hint = closest(Path(path).name, names) or (
            f'; in {folder} there are: {", ".join(names[:5])}'
            if names
            else f'; there is no *.pth file in {folder}'
        )
    raise CheckpointError(f'checkpoint not found: {path}{hint}')


def read_checkpoint(path: str | os.PathLike, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint file or URL without running code from it.

    Args:
        path: Path or URL (see `local_file`) of a `.safetensors` file or a file of `torch.save`.
        map_location: As in `torch.load`.

    Returns:
        The content of the file, as a dict of plain objects (see
        `pose_backbones.checkpoints.read_file`).

    Raises:
        CheckpointError: If the file is missing, truncated, unsafe, unreachable, or not a
            checkpoint.
        ConfigError: See `local_file`.
    """
    path = os.fspath(path)
    check_checkpoint_path(path)
    try:
        content = CheckpointLoader.load_checkpoint(path, map_location, logger='silent')
    except (CheckpointError, ConfigError):
        raise
    except Exception as error:  # storage backends of other URL schemes raise any type
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise CheckpointError(f'checkpoint unreadable: {path} ({reason})') from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f'{path} holds a {type(content).__name__}, not a checkpoint: expected a dict of weights'
        )
    return content


def get_weights(checkpoint: dict, key: str | None = None) -> dict[str, torch.Tensor]:
    """Return the weights in the content of a checkpoint file.

    Args:
        checkpoint: Content of the file. The weights are at the top level, or in dicts under one or
            more nested keys of `WEIGHT_KEYS`.
        key: Key of the entry with the weights; None means the first key of `WEIGHT_KEYS` that is
            present.

    Returns:
        Name → tensor, without the prefix `module.` of data-parallel training.

    Raises:
        CheckpointError: If there are no weights.
    """
    weights = checkpoint
    if key is not None:
        keys = wrapped_in(checkpoint)
        if key not in keys:
            raise CheckpointError(
                f'no weights under {key!r} in the checkpoint: expected '
                f'{", ".join(keys) or "none, they stand at the top"}'
            )
        weights = checkpoint[key]
    for _ in range(_DEEPEST):
        if not wrapped_in(weights):
            break
        weights = weights[wrapped_in(weights)[0]]
    else:
        raise CheckpointError(
            f'no weights in the checkpoint within {_DEEPEST} levels of {", ".join(WEIGHT_KEYS)}'
        )
    metadata = getattr(weights, '_metadata', None)
    weights = OrderedDict(
        (name, value) for name, value in weights.items() if torch.is_tensor(value)
    )
    if not weights:
        first_keys = ', '.join(shown_name(name) for name in list(checkpoint)[:8])
        raise CheckpointError(
            f'no weights in the checkpoint: it has the keys '
            f'{first_keys or "(none)"}; expected tensors, or one of '
            f'{", ".join(WEIGHT_KEYS)}'
        )
    invalid = [name for name in weights if not isinstance(name, str)]
    if invalid:
        raise CheckpointError(
            f'a weight of the checkpoint has the key {invalid[0]!r}, a '
            f'{type(invalid[0]).__name__}: expected names'
        )
    if isinstance(metadata, Mapping):
        weights._metadata = metadata  # type: ignore[attr-defined]
    return _strip_model_prefixes(weights)


def wrapped_in(checkpoint: dict) -> list[str]:
    """Return the keys of a checkpoint that can contain the weights, in the order of priority.

    Args:
        checkpoint: Content of the file.

    Returns:
        Some of `WEIGHT_KEYS`; empty if the weights are at the top level.
    """
    return [key for key in WEIGHT_KEYS if isinstance(checkpoint.get(key), dict)]


def get_metainfo(checkpoint: dict, source: str) -> dict | None:
    """Return the metainfo of the dataset that a checkpoint was trained on.

    Args:
        checkpoint: Content of the file.
        source: Its path or URL, for messages.

    Returns:
        `meta.dataset_meta`, the parsed metainfo of MMPose, or None if the checkpoint has none. Of
        its entries, some may be missing; `keypoint_id2name`, `flip_indices` and `skeleton_links`
        match `num_keypoints`.

    Raises:
        CheckpointError: If an entry is invalid.
    """
    metainfo = checkpoint
    for key in ('meta', 'dataset_meta'):
        value = metainfo.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _metainfo_error(source, key, value, 'a dict')
        metainfo = value
    if not metainfo:
        return None
    stated = metainfo.get('num_keypoints')
    count = stated if type(stated) is int else None
    names = metainfo.get('keypoint_id2name', {})
    checks = dict(
        num_keypoints=(stated is None or count is not None, 'an integer'),
        keypoint_id2name=(
            isinstance(names, dict)
            and all(isinstance(name, str) for name in names.values())
            and (not names or (names.keys() == set(range(len(names))) and len(names) == count)),
            f'the names of {count} keypoints',
        ),
        flip_indices=(
            _are_indices(metainfo.get('flip_indices', []), count, count),
            f'the indices of {count} keypoints',
        ),
        skeleton_links=(
            isinstance(limbs := metainfo.get('skeleton_links', []), list | tuple)
            and all(_are_indices(limb, count, 2) and limb for limb in limbs),
            f'pairs of indices of {count} keypoints',
        ),
    )
    for name, (valid, expected) in checks.items():
        if not valid:
            raise _metainfo_error(source, f'meta.dataset_meta.{name}', metainfo[name], expected)
    return metainfo


def _are_indices(values: Any, end: Any, length: Any) -> bool:
    """Return whether a value is empty or has `length` indices, which are less than `end`."""
    return isinstance(values, list | tuple) and (
        not values
        or (
            type(end) is int
            and len(values) == length
            and all(type(value) is int and 0 <= value < end for value in values)
        )
    )


def _metainfo_error(source: str, name: str, value: Any, expected: str) -> CheckpointError:
    value = shorten(' '.join(reprlib.repr(value).split()))  # a tensor has several lines
    return CheckpointError(
        f'{source} does not describe its keypoints correctly: {name} is {value}; '
        f'expected {expected}. To use the weights alone, convert the file to .safetensors '
        '(tools/convert_checkpoint.py)'
    )


def _strip_model_prefixes(weights: OrderedDict) -> OrderedDict:
    for prefix in _MODEL_PREFIXES * 2:  # twice, since they can be nested in either order
        names = [name for name in weights if name not in _COUNTERS]
        if names and all(name.startswith(prefix) for name in names):
            weights = rename_keys(
                weights,
                {name: name[len(prefix) :] for name in names},
                partial(_without_prefix, prefix),
            )
    return weights


def _without_prefix(prefix: str, module: str) -> str | None:
    return module[len(prefix) :] if f'{module}.'.startswith(prefix) else None


def load_weights(
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    source: str,
    strict: bool = True,
    ignore: Sequence[str] = (),
    optional: Sequence[str] = (),
    hint: str = '',
    dataset: str | None = None,
) -> None:
    """Load weights into a model, and raise or log if any weight is not loaded.

    The hooks of the model convert the names of other releases (see `BaseBackbone.convert_names`).
    Those of the original ViTPose are converted, too, and of ViTPose+, the expert and the head of
    one dataset are loaded. Weights of a backbone without prefix are loaded into `model.backbone`.

    Args:
        model: Its parameters and buffers are overwritten.
        weights: Name → tensor.
        source: Path or URL of the weights, for messages.
        strict: Whether all names and shapes must match. If False, missing, unexpected and
            mismatched keys are logged.
        ignore: Prefixes of names in `weights` that are not loaded, such as those of a classifier.
        optional: Prefixes of names of the model that may be missing in `weights`; missing ones are
            logged and keep their values.
        hint: Advice for the user, for the error message.
        dataset: `dataset_name` of the metainfo, which determines the head of ViTPose+. Default:
            that of `model.dataset_meta`, or the dataset with the number of keypoints of the model.

    Raises:
        CheckpointError: If the weights do not match, or no tensor matches even with `strict=False`.
            The model is then unchanged.
    """
    weights = _convert_vitpose(model, weights, source, dataset)
    if distillation.is_distillation(weights) and not hasattr(model, 'student'):
        raise CheckpointError(
            f'{source} is the checkpoint of a distillation, with a student and a teacher: write '
            f'the student to a file, with pose-backbones convert {source} FILE --config CONFIG, '
            'where CONFIG is that of the student'
        )
    ignored = [name for name in weights if name.startswith(tuple(ignore))]
    weights = rename_keys(weights, {name: name for name in weights if name not in ignored})
    is_backbone = is_bare_backbone(model, weights)
    if is_backbone:
        weights = rename_keys(
            weights,
            {name: f'backbone.{name}' for name in weights},
            lambda module: f'backbone.{module}'.rstrip('.'),
        )
    with already_matched():
        convert_by_hooks(model, weights, source)
    match = match_state_dict(model, weights, optional)
    if not match.num_matching or (strict and match.problems()):
        if is_backbone and match.num_matching:
            hint = (
                'It holds a backbone alone; to start training from it: '
                '--cfg-options model.backbone.init_cfg.type=Pretrained '
                f'model.backbone.init_cfg.checkpoint={source}'
            )
        sentences = (
            f'{source} is not a checkpoint of this model: '
            f'{match.num_matching} of {match.total} tensors fit; '
            f'{match.problems()}',
            compare_arch(model, weights),
            hint,
        )
        raise CheckpointError('. '.join(sentence for sentence in sentences if sentence))
    not_loaded = match.describe_skipped()
    not_loaded += [f'ignored key: {shown_name(name)}' for name in ignored]
    if not_loaded:
        print_log(
            f'{source} was loaded in part, {match.num_matching} of {match.total} '
            'tensors. Left out:\n  ' + '\n  '.join(not_loaded),
            logger='current',
        )
    state = model.state_dict()
    matching = OrderedDict((name, weights[name]) for name in state if name in match.matching_keys)
    # With the versions in the model's own metadata, hooks do not convert the names again.
    matching._metadata = getattr(state, '_metadata', None)  # type: ignore[attr-defined]
    with already_matched():
        model.load_state_dict(matching, strict=False)


def _convert_vitpose(
    model: nn.Module, weights: dict[str, torch.Tensor], source: str, dataset: str | None
) -> dict[str, torch.Tensor]:
    """Convert the weights of an original ViTPose or ViTPose+, and return others unchanged."""
    if not vitpose.is_original(weights):
        return weights
    if vitpose.is_mixture(weights):
        metainfo = getattr(model, 'dataset_meta', None) or {}
        name = dataset or metainfo.get('dataset_name')
        count = getattr(getattr(model, 'head', None), 'out_channels', None)
        chosen = vitpose.choose_dataset(name, count)
        if chosen is None:
            raise CheckpointError(
                f'{source} is a ViTPose+ checkpoint with heads for {", ".join(vitpose.DATASETS)}; '
                f'a model of the dataset {name!r} with {count} keypoints does not determine which '
                'one to load: convert it first, with pose-backbones convert and --dataset'
            )
        weights = vitpose.select_dataset(weights, chosen)
    return vitpose.convert_model(weights)
