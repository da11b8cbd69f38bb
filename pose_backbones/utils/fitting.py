"""How well weights and a model fit: names, shapes, sizes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor, nn

from .errors import CheckpointError

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
    """

    total: int
    lacking: list[str]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def matching(self) -> int:
        """Tensors of the same name and shape."""
        return self.total - sum(
            map(len, (self.lacking, self.missing, self.reshaped)))

    def problems(self) -> str:
        """What does not fit, in one line; empty if all does."""
        return '; '.join(
            part for part in (_count('missing in the file', self.missing),
                              _count('unknown to the model', self.unexpected),
                              _count('of another shape', self.reshaped))
            if part)

    def left_out(self) -> list[str]:
        """What is not loaded, a line each."""
        lines = [f'missing in the file: {name}'
                 for name in self.lacking + self.missing]
        lines += [f'unknown to the model: {name}' for name in self.unexpected]
        return lines + [f'of another shape: {text}' for text in self.reshaped]


def compare(model: nn.Module, weights: dict[str, Tensor],
            optional: Sequence[str] = ()) -> Fit:
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
    return Fit(
        total=len(own),
        lacking=lacking,
        missing=[name for name in absent if name not in lacking],
        unexpected=[name for name in weights if name not in own],
        reshaped=[
            f'{name} is {tuple(weights[name].shape)} in the file and '
            f'{tuple(own[name].shape)} in the model' for name in own
            if name in weights and own[name].shape != weights[name].shape
        ])


def _count(what: str, names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return ''
    shown = ', '.join(names[:3]) + (', …' if len(names) > 3 else '')
    return f'{len(names)} {what}: {shown}'


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
    parts = tuple(f'{name}.' for name, _ in model.named_children()
                  if name != 'head')
    return any(not name.startswith(('head.', 'keypoint_head.'))
               for name in weights) and not any(
                   name.startswith(parts) for name in weights)


def rename(model: nn.Module, weights: dict[str, Tensor],
           source: str) -> None:
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
    for name, module in model.named_modules():
        prefix = f'{name}.' if name else ''
        for hook in module._load_state_dict_pre_hooks.values():
            try:
                hook(weights, prefix, {}, False, [], [], [])
            except AssertionError as error:
                raise CheckpointError(
                    f'{source} is not a checkpoint of this model: what it '
                    f'has under {prefix!r} is of another kind than the '
                    f"model's {type(module).__name__}") from error


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
            return module.compare_arch({
                key[len(prefix):]: value
                for key, value in weights.items() if key.startswith(prefix)
            })
    return ''
