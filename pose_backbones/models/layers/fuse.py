"""Fuse modules for inference: same outputs in evaluation mode, in less time."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .packed import PackedConv2d, PackedConvTranspose2d
from .replace_children import replace_children

#: subclasses of PyTorch's convolutions with which MMCV supports empty batches
_MMCV_CONVOLUTIONS = ('mmcv.cnn.bricks.wrappers.Conv2d', 'mmcv.cnn.bricks.wrappers.ConvTranspose2d')


#: name of a class with its module → function that fuses its instances
_RULES: dict[str, Callable[[nn.Module], nn.Module]] = {}


def fuses(*names: str) -> Callable:
    """Register a function that fuses instances of classes of other packages.

    It is not used for subclasses with another `forward`.

    Args:
        names: Names of the classes, with their modules. They are not imported.
    """

    def register(rule: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def _rule(kind: type) -> Callable[[nn.Module], nn.Module] | None:
    """Return the registered function for a class, or None."""
    for base in kind.__mro__:
        rule = _RULES.get(f'{base.__module__}.{base.__qualname__}')
        if rule is not None and kind.forward is base.forward:  # type: ignore[attr-defined]
            return rule
    return None


def fuse(module: nn.Module) -> nn.Module:
    """Return a module that computes the same for inference, in less time.

    If the module has a method `fused`, it is called; otherwise, the children are fused.

    Args:
        module: An estimator, or a part of one. It is not changed.

    Returns:
        A module for inference only, which computes what `module` computes in evaluation mode. It
        shares the weights that need no change, does not follow later changes of the others, and
        its state dict has other names. `module` itself if nothing in it can be fused.
    """
    fused = getattr(module, 'fused', None)
    if callable(fused):
        return fused()
    rule = _rule(type(module))
    if rule is not None:
        return rule(module)
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return fuse_sequence(module)
    return fuse_children(module)


def fuse_children(module: nn.Module, replaced: dict[str, nn.Module] | None = None) -> nn.Module:
    """Fuse the children of a module.

    Args:
        module: It is not changed.
        replaced: Name of a child → module to use in its place, for those that are not to be fused
            by `fuse`.

    Returns:
        A copy with the fused children; `module` itself if there is no difference.
    """
    children = dict(replaced or {})
    for name, child in module.named_children():
        if name not in children:
            fused = fuse(child)
            if fused is not child:
                children[name] = fused
    return replace_children(module, children) if children else module


def has_fixed_statistics(norm: nn.Module) -> bool:
    """Return whether a norm in evaluation mode is the same affine function of every input.

    That is the case for batch norms with running statistics, but not for subclasses that compute
    something else, such as timm's batch norms with an activation.
    """
    return (
        isinstance(norm, _BatchNorm)
        and type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
        and norm.running_mean is not None
    )


@torch.no_grad()
def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in evaluation mode multiplies by and adds.

    Args:
        norm: With running statistics.

    Returns:
        Scale and shift, each (C,).
    """
    identity = norm.running_mean.new_ones(norm.num_features, 1, 1, 1)
    scale, shift = _fold(identity, None, norm)
    return scale.flatten(), shift


def can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    """Return whether `fuse_conv_norm` can fold a norm into the convolution before it.

    Subclasses that transform their weight, such as those with weight standardization, and
    parametrized convolutions cannot be folded.
    """
    return (
        _is_plain(conv)
        and has_fixed_statistics(norm)
        and norm.num_features == conv.out_channels  # type: ignore[union-attr]
        and not (isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1)
    )


def _is_plain(conv: nn.Module) -> bool:
    """Return whether a module is PyTorch's 2D convolution or MMCV's subclass of the same name."""
    kind = type(conv)
    return (
        kind in (nn.Conv2d, nn.ConvTranspose2d, PackedConv2d, PackedConvTranspose2d)
        or f'{kind.__module__}.{kind.__name__}' in _MMCV_CONVOLUTIONS
    ) and not conv._forward_pre_hooks  # such as those of weight norms


@torch.no_grad()
def fuse_conv_norm(
    conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module, activation: str | None = None
) -> PackedConv2d | PackedConvTranspose2d:
    """Fold a batch norm, and optionally an activation, into the convolution before it.

    Args:
        conv: The convolution.
        norm: With running statistics, see `can_fold`. An identity keeps the weights.
        activation: See `PackedConv2d`.

    Returns:
        A convolution with bias, without gradient.
    """
    packed = PackedConvTranspose2d if isinstance(conv, nn.ConvTranspose2d) else PackedConv2d
    if isinstance(norm, nn.Identity):
        return packed(conv, activation=activation)  # type: ignore[arg-type]
    transposed = isinstance(conv, nn.ConvTranspose2d)
    weight, bias = _fold(conv.weight, conv.bias, norm, transposed)
    return packed(conv, weight, bias, activation)  # type: ignore[arg-type]


def _fold(
    weight: Tensor, bias: Tensor | None, norm: nn.Module, transposed: bool = False
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution that is fused with the batch norm after it."""
    return fuse_conv_bn_weights(
        weight,
        bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transposed,
    )


def activation_name(module: nn.Module | None) -> str | None:
    """Return the name by which `PackedConv2d` knows an activation; None if it does not."""
    if isinstance(module, nn.GELU):
        return 'gelu' if module.approximate == 'none' else None
    return {nn.ReLU: 'relu', nn.SiLU: 'silu'}.get(type(module))  # type: ignore[arg-type]


def fuse_sequence(sequence: nn.Sequential) -> nn.Sequential:
    """Fuse the layers of a sequence, which keep their indices.

    Args:
        sequence: Norms that follow a convolution directly are folded, and an activation after the
            norm too.

    Returns:
        See `fuse`.
    """
    children = dict(sequence.named_children())
    names, replaced = list(children), {}
    for index, (name, after) in enumerate(pairwise(names)):
        if can_fold(children[name], children[after]):
            activation = None
            if index + 2 < len(names):
                activation = activation_name(children[names[index + 2]])
            replaced[name] = fuse_conv_norm(children[name], children[after], activation)
            replaced[after] = nn.Identity()
            if activation:
                replaced[names[index + 2]] = nn.Identity()
    return fuse_children(sequence, replaced)
