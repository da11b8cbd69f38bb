"""How well weights and a model fit: names, shapes, values."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import CheckpointError

#: whether what is loaded now has been compared already, or is meant as a part
_COMPARED = ContextVar('compared', default=False)


@contextmanager
def compared() -> Iterator[None]:
    """Weights that are loaded in here are not compared by backbones again."""
    token = _COMPARED.set(True)
    try:
        yield
    finally:
        _COMPARED.reset(token)


def is_compared() -> bool:
    """Whether the weights that are being loaded have been compared."""
    return _COMPARED.get()


@dataclass(frozen=True)
class Fit:
    """Which tensors of a model and of a file have no partner.

    Attributes:
        total: Tensors of the model.
        lacking: Names that only the model has and that may be so.
        missing: The other names that only the model has.
        unexpected: Names that only the file has.
        reshaped: Name and both shapes, as text, where they differ.
        unfit: Name and what is wrong with the values, as text.
        usable: Names whose shapes and values fit.
    """

    total: int
    lacking: list[str]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]
    unfit: list[str]
    usable: frozenset[str]

    @property
    def matching(self) -> int:
        """Tensors of the same name and shape, with values that fit."""
        return len(self.usable)

    def problems(self) -> str:
        """What does not fit, in one line; empty if all does."""
        return '; '.join(
            part
            for part in (
                _count('missing in the file', self.missing),
                _count('unknown to the model', self.unexpected),
                _count('of another shape', self.reshaped),
                _count('with unusable values', self.unfit),
            )
            if part
        )

    def left_out(self) -> list[str]:
        """What is not loaded, a line each."""
        lines = [f'missing in the file: {name}' for name in self.lacking + self.missing]
        lines += [f'unknown to the model: {printable(name)}' for name in self.unexpected]
        lines += [f'of another shape: {text}' for text in self.reshaped]
        return lines + [f'unusable values: {text}' for text in self.unfit]


def compare(model: nn.Module, weights: dict[str, Tensor], optional: Sequence[str] = ()) -> Fit:
    """Compare weights with a model's.

    Args:
        model: A model.
        weights: Name → tensor, in the model's names.
        optional: Prefixes of names that `weights` may lack.

    Returns:
        What fits and what does not.
    """
    own = model.state_dict()
    absent = [name for name in own if name not in weights]
    lacking = [name for name in absent if name.startswith(tuple(optional))]
    reshaped, unfit, usable = [], [], []
    for name in own:
        if name not in weights:
            continue
        if own[name].shape != weights[name].shape:
            reshaped.append(
                f'{name} is {tuple(weights[name].shape)} in the file and '
                f'{tuple(own[name].shape)} in the model'
            )
            continue
        problem = _problem(name, weights[name], own[name])
        if problem:
            unfit.append(f'{name} ({problem})')
        else:
            usable.append(name)
    return Fit(
        total=len(own),
        lacking=lacking,
        missing=[name for name in absent if name not in lacking],
        unexpected=[name for name in weights if name not in own],
        reshaped=reshaped,
        unfit=unfit,
        usable=frozenset(usable),
    )


#: Copied into a model's own type; float8 is not, without its scales.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _problem(name: str, value: Tensor, own: Tensor) -> str:
    """Why values cannot take the place of a model's; empty if they can."""
    if value.layout != torch.strided or value.is_quantized:
        return 'a sparse tensor' if not value.is_quantized else 'quantized'
    if value.is_meta:
        return 'without values, of the device meta'
    if own.dtype == value.dtype and not own.is_floating_point():
        return ''
    if not own.is_floating_point():
        if (
            own.dtype not in _INTEGERS
            or value.dtype not in (*_INTEGERS, *_FLOATS)
            or not torch.equal(value.to(torch.int64).to(value.dtype), value)
        ):
            return f'{_type(value)} in place of {_type(own)}'
        return ''
    if value.dtype not in _FLOATS:
        return f'{_type(value)} in place of {_type(own)}'
    if own.is_meta:
        return ''
    bad = value.numel() - int(value.to(own.dtype).isfinite().sum())
    if bad:
        return f'{bad:,} of {value.numel():,} values are NaN or infinite'
    if name.endswith('running_var') and value.numel() and value.min() < 0:
        return 'a negative variance'
    return ''


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')


def printable(name) -> str:
    """A name of a file for messages: one line of at most 100 characters."""
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
    """Some weights under other names, with the versions of their modules.

    Args:
        weights: Name → tensor; a state dict's `_metadata` tells the versions
            of the modules, by which hooks know what they have to rename.
        names: Name → new name, of those that are kept.
        module: Name of a module → new name, or None to leave it out.

    Returns:
        New name → tensor, with `_metadata` if `weights` has it.
    """
    found = OrderedDict((new, weights[name]) for name, new in names.items())
    metadata = getattr(weights, '_metadata', None)
    if metadata is not None:
        found._metadata = OrderedDict(
            (module(name), entry) for name, entry in metadata.items() if module(name) is not None
        )
    return found


def is_backbone_alone(model: nn.Module, weights: Iterable[str]) -> bool:
    """Whether names are a backbone's, without prefix, and the model has more.

    Args:
        model: An estimator, or anything else.
        weights: Names.

    Returns:
        False if any name begins with a part of the model.
    """
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        return False
    # `head.` stands in backbones' files, too: the classifier.
    parts = tuple(f'{name}.' for name, _ in model.named_children() if name != 'head')
    return any(not name.startswith(('head.', 'keypoint_head.')) for name in weights) and not any(
        name.startswith(parts) for name in weights
    )


def rename(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Let the model's modules rename weights of older releases, in place.

    MMPose's estimators know the names of MMPose 0.x, our backbones those of
    their family's releases.

    Args:
        model: Its hooks are called.
        weights: Name → tensor.
        source: Where they come from, for the message.

    Raises:
        CheckpointError: If a module cannot do with what it finds.
    """
    metadata = getattr(weights, '_metadata', None) or {}
    own = model.state_dict()
    for name, module in model.named_modules():
        if not module._load_state_dict_pre_hooks:
            continue
        prefix = f'{name}.' if name else ''
        part = {key: weights[key] for key in weights if key.startswith(prefix)}
        local = dict(metadata.get(name, {}))
        if 'version' not in local and _is_todays(prefix, part, own):
            local['version'] = module._version
        names = list(part)
        for hook in module._load_state_dict_pre_hooks.values():
            try:
                hook(part, prefix, local, False, [], [], [])
            except (AssertionError, IndexError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f'{source} is not a checkpoint of this model: what it '
                    f'has under {prefix!r} is of another kind than the '
                    f"model's {type(module).__name__}"
                ) from error
        for key in names:
            if key not in part:
                del weights[key]
        weights.update(part)


def _is_todays(prefix: str, part: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    """Whether weights without a version have the names that the module has.

    Files of safetensors, and those of scripts that keep the tensors alone,
    tell no version, which MMPose's hooks take for an old one.
    """
    shapes = {key: value.shape for key, value in own.items() if key.startswith(prefix)}
    return bool(shapes) and shapes == {key: value.shape for key, value in part.items()}


def compare_arch(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """What the model's backbone says about weights of another size.

    Args:
        model: An estimator or a backbone.
        weights: Name → tensor, in the model's names.

    Returns:
        A sentence, or an empty string.
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
