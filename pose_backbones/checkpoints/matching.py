"""Comparison of a state dict with a model: names, shapes and values."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import CheckpointError

#: whether the weights that are being loaded were matched before, or are a part on purpose
_MATCHED = ContextVar('matched', default=False)


@contextmanager
def already_matched() -> Iterator[None]:
    """Let backbones accept the weights that are loaded in this context without a comparison."""
    token = _MATCHED.set(True)
    try:
        yield
    finally:
        _MATCHED.reset(token)


def is_already_matched() -> bool:
    """Return whether the code runs in the context `already_matched`."""
    return _MATCHED.get()


@dataclass(frozen=True)
class StateDictMatch:
    """Result of the comparison of a state dict with a model.

    Attributes:
        total: Number of tensors of the model.
        missing_optional: Names that only the model has, and that the state dict need not have.
        missing_keys: Other names that only the model has.
        unexpected_keys: Names that only the state dict has.
        mismatched: Names with both shapes, as text, where these differ.
        invalid: Names with the problem of their values, as text.
        matching_keys: Names with the right shape and valid values.
    """

    total: int
    missing_optional: list[str]
    missing_keys: list[str]
    unexpected_keys: list[str]
    mismatched: list[str]
    invalid: list[str]
    matching_keys: frozenset[str]

    @property
    def num_matching(self) -> int:
        """Number of tensors of the same name and shape, with valid values."""
        return len(self.matching_keys)

    def problems(self) -> str:
        """Return what does not match, in one line; empty if everything does."""
        return '; '.join(
            part
            for part in (
                _count('missing in the file', self.missing_keys),
                _count('unknown to the model', self.unexpected_keys),
                _count('of another shape', self.mismatched),
                _count('with unusable values', self.invalid),
            )
            if part
        )

    def left_out(self) -> list[str]:
        """Return what is not loaded, as lines of text."""
        missing = self.missing_optional + self.missing_keys
        return [
            *(f'missing in the file: {name}' for name in missing),
            *(f'unknown to the model: {printable(name)}' for name in self.unexpected_keys),
            *(f'of another shape: {text}' for text in self.mismatched),
            *(f'unusable values: {text}' for text in self.invalid),
        ]


def match_state_dict(
    model: nn.Module, weights: dict[str, Tensor], optional: Sequence[str] = ()
) -> StateDictMatch:
    """Compare a state dict with a model.

    Args:
        model: A model.
        weights: Name → tensor, in the model's names.
        optional: Prefixes of names that `weights` need not have.

    Returns:
        The missing, unexpected, mismatched, invalid and matching keys.
    """
    state = model.state_dict()
    missing = [name for name in state if name not in weights]
    missing_optional = [name for name in missing if name.startswith(tuple(optional))]
    mismatched, invalid, matching = [], [], []
    for name in state:
        if name not in weights:
            continue
        if state[name].shape != weights[name].shape:
            mismatched.append(
                f'{name} is {tuple(weights[name].shape)} in the file and '
                f'{tuple(state[name].shape)} in the model'
            )
            continue
        problem = _problem(name, weights[name], state[name])
        if problem:
            invalid.append(f'{name} ({problem})')
        else:
            matching.append(name)
    return StateDictMatch(
        total=len(state),
        missing_optional=missing_optional,
        missing_keys=[name for name in missing if name not in missing_optional],
        unexpected_keys=[name for name in weights if name not in state],
        mismatched=mismatched,
        invalid=invalid,
        matching_keys=frozenset(matching),
    )


#: types that are converted to the model's; float8 is not, since its scales are missing
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _problem(name: str, value: Tensor, expected: Tensor) -> str:
    """Return why values cannot replace the model's; empty if they can."""
    if value.layout != torch.strided or value.is_quantized:
        return 'a sparse tensor' if not value.is_quantized else 'quantized'
    if value.is_meta:
        return 'without values, of the device meta'
    if expected.dtype == value.dtype and not expected.is_floating_point():
        return ''
    if not expected.is_floating_point():
        if (
            expected.dtype not in _INTEGERS
            or value.dtype not in (*_INTEGERS, *_FLOATS)
            or not torch.equal(value.to(torch.int64).to(value.dtype), value)
        ):
            return f'{_type(value)} in place of {_type(expected)}'
        return ''
    if value.dtype not in _FLOATS:
        return f'{_type(value)} in place of {_type(expected)}'
    if expected.is_meta:
        return ''
    num_invalid = value.numel() - int(value.to(expected.dtype).isfinite().sum())
    if num_invalid:
        return f'{num_invalid:,} of {value.numel():,} values are NaN or infinite'
    if name.endswith('running_var') and value.numel() and value.min() < 0:
        return 'a negative variance'
    return ''


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')


def printable(name: object) -> str:
    """Return a name from a file for messages: one line of at most 100 characters."""
    text = name if isinstance(name, str) and name.isprintable() else repr(name)
    return text if len(text) <= 100 else f'{text[:99]}…'


def _count(what: str, names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return ''
    shown = ', '.join(map(printable, names[:3])) + (', …' if len(names) > 3 else '')
    return f'{len(names)} {what}: {shown}'


def renamed(
    weights: Mapping[str, Tensor],
    names: Mapping[str, str],
    module: Callable[[str], str | None] = lambda name: name,
) -> OrderedDict[str, Tensor]:
    """Return some weights under other names, with the versions of their modules.

    Args:
        weights: Name → tensor. The `_metadata` of a state dict has the versions of the modules,
            which hooks need to rename weights.
        names: Name → new name, of the weights that are kept.
        module: Name of a module → new name, or None to leave it out.

    Returns:
        New name → tensor, with `_metadata` if `weights` has it.
    """
    result = OrderedDict((new, weights[name]) for name, new in names.items())
    metadata = getattr(weights, '_metadata', None)
    if metadata is not None:
        result._metadata = OrderedDict(  # type: ignore[attr-defined]
            (module(name), entry) for name, entry in metadata.items() if module(name) is not None
        )
    return result


def is_backbone_alone(model: nn.Module, weights: Iterable[str]) -> bool:
    """Return whether names are those of a backbone, without prefix, and the model has more.

    Args:
        model: An estimator, or anything else.
        weights: Names.

    Returns:
        False if any name begins with a part of the model.
    """
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        return False
    # Checkpoints of backbones can have `head.` too: the classifier.
    parts = tuple(f'{name}.' for name, _ in model.named_children() if name != 'head')
    return any(not name.startswith(('head.', 'keypoint_head.')) for name in weights) and not any(
        name.startswith(parts) for name in weights
    )


def convert_by_hooks(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Let the hooks of a model rename weights of other releases, in place.

    MMPose's estimators have hooks for the names of MMPose 0.x; the backbones of this package for
    the releases of their family.

    Args:
        model: Its hooks are called.
        weights: Name → tensor.
        source: Path or URL of the weights, for the message.

    Raises:
        CheckpointError: If a hook fails on the weights.
    """
    metadata = getattr(weights, '_metadata', None) or {}
    state = model.state_dict()
    for name, module in model.named_modules():
        hooks = _load_hooks(module)
        if not hooks:
            continue
        prefix = f'{name}.' if name else ''
        part = {key: weights[key] for key in weights if key.startswith(prefix)}
        local = dict(metadata.get(name, {}))
        if 'version' not in local and _is_current(prefix, part, state):
            local['version'] = module._version
        names = list(part)
        for hook in hooks:
            try:
                hook(part, prefix, local, False, [], [], [])
            except (AssertionError, IndexError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f'{source} is not a checkpoint of this model: the part '
                    f'under {prefix!r} is of another kind than the '
                    f"model's {type(module).__name__}"
                ) from error
        for key in names:
            if key not in part:
                del weights[key]
        weights.update(part)


def _load_hooks(module: nn.Module) -> list[Callable]:
    """Return the hooks of `register_load_state_dict_pre_hook`, a private attribute in PyTorch."""
    return list(module._load_state_dict_pre_hooks.values())


def _is_current(prefix: str, part: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Return whether weights without a version have the module's names and shapes.

    Files of safetensors and scripts that save only the tensors have no versions. MMPose's hooks
    treat this as an old version.
    """
    shapes = {key: value.shape for key, value in state.items() if key.startswith(prefix)}
    return bool(shapes) and shapes == {key: value.shape for key, value in part.items()}


def compare_arch(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """Return a sentence for an error message if weights are of another size than the model.

    Args:
        model: An estimator or a backbone.
        weights: Name → tensor, in the model's names.

    Returns:
        The sentence, or an empty string.
    """
    for name, module in model.named_modules():
        if hasattr(module, 'compare_arch'):
            prefix = f'{name}.' if name else ''
            return module.compare_arch(
                {
                    key[len(prefix) :]: value
                    for key, value in weights.items()
                    if key.startswith(prefix)
                }
            )
    return ''
