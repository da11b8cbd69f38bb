"""Comparison of a state dict with a model: names, shapes and values."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, shown_name

#: whether to skip the comparison: the state dict was already compared, or is deliberately
#: incomplete
_MATCHED = ContextVar('matched', default=False)


#: prefix of names in DEKR checkpoints of MMPose 0.x, which the hook of the current head converts
_RESCORE_NET = 'rescore_net.'


@contextmanager
def already_matched() -> Iterator[None]:
    """Disable the state dict check of the backbones inside the `with` block."""
    token = _MATCHED.set(True)
    try:
        yield
    finally:
        _MATCHED.reset(token)


def is_already_matched() -> bool:
    """Return whether the code runs inside a `with already_matched()` block."""
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
        """Return what does not match, in one line; an empty string if everything matches."""
        return '; '.join(
            part
            for part in (
                _summarize('missing {}', self.missing_keys),
                _summarize('unexpected {}', self.unexpected_keys),
                _summarize('{} with a mismatched shape', self.mismatched),
                _summarize('{} with invalid values', self.invalid),
            )
            if part
        )

    def describe_skipped(self) -> list[str]:
        """Return one line of text for each key that is not loaded."""
        missing = self.missing_optional + self.missing_keys
        return [
            *(f'missing key: {name}' for name in missing),
            *(f'unexpected key: {shown_name(name)}' for name in self.unexpected_keys),
            *(f'mismatched shape: {text}' for text in self.mismatched),
            *(f'invalid values: {text}' for text in self.invalid),
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
        reason = _invalid_reason(name, weights[name], state[name])
        if reason:
            invalid.append(f'{name} ({reason})')
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


#: dtypes that can be converted to the model's dtype; float8 cannot, because its scale factors are
#: not in the state dict
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _invalid_reason(name: str, value: Tensor, expected: Tensor) -> str:
    """Return why a tensor cannot replace that of the model; an empty string if it can."""
    if value.layout != torch.strided or value.is_quantized:
        return 'a sparse tensor' if not value.is_quantized else 'quantized'
    if value.is_meta:
        return 'on the meta device, without values'
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


def _summarize(kind: str, names: list[str]) -> str:
    """Return the number of names and the first three; `{}` in `kind` stands for "keys"."""
    if not names:
        return ''
    listed = ', '.join(map(shown_name, names[:3])) + (', …' if len(names) > 3 else '')
    return f'{len(names)} {kind.format("key" if len(names) == 1 else "keys")}: {listed}'


def rename_keys(
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


def is_bare_backbone(model: nn.Module, keys: Iterable[str]) -> bool:
    """Return whether keys are those of a bare backbone while the model is a whole estimator.

    Args:
        model: A model.
        keys: Keys of a state dict. A bare backbone has keys without the prefix `backbone.`.

    Returns:
        False if any key starts with the name of a child module of the model (except `head`), or if
        the model has no backbone.
    """
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        return False
    # Checkpoints of backbones can have `head.` too: the classifier.
    parts = tuple(f'{name}.' for name, _ in model.named_children() if name != 'head')
    return any(not key.startswith(('head.', 'keypoint_head.')) for key in keys) and not any(
        key.startswith(parts) for key in keys
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
        prefixes = (prefix, _RESCORE_NET) if name == 'head' else prefix
        part = {key: weights[key] for key in weights if key.startswith(prefixes)}
        local = dict(metadata.get(name, {}))
        if 'version' not in local and _is_current(prefix, part, state):
            local['version'] = module._version
        names = list(part)
        for hook in hooks:
            try:
                hook(part, prefix, local, False, [], [], [])
            except (AssertionError, IndexError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f'{source} does not match the model: the keys with the prefix {prefix!r} do '
                    f'not belong to a {type(module).__name__}'
                ) from error
            except ValueError as error:
                raise CheckpointError(f'{source} does not match the model: {error}') from error
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
