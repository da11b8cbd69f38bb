"""Fuse modules for inference: same outputs in evaluation mode, in less time."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .replace_children import replace_children


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
    return fused() if callable(fused) else fuse_children(module)


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
    """Return whether a norm in evaluation mode is the same affine function of every input."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


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


@torch.no_grad()
def fuse_conv_norm(conv: nn.Conv2d, norm: _BatchNorm) -> nn.Conv2d:
    """Fold a batch norm into the convolution before it.

    Args:
        conv: The convolution.
        norm: With running statistics.

    Returns:
        A convolution with bias, without gradient.
    """
    fused = copy.deepcopy(conv).requires_grad_(False)
    fused.weight, fused.bias = _fold(fused.weight, fused.bias, norm)
    return fused


def _fold(weight: Tensor, bias: Tensor | None, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution that is fused with the batch norm after it."""
    return fuse_conv_bn_weights(
        weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


class FusesConvNorm(nn.Module):
    """Base class of blocks with norms that directly follow a convolution.

    Attributes:
        conv_norm_pairs: Names of the convolutions and of their norms.
    """

    conv_norm_pairs: tuple[tuple[str, str], ...]

    def fused(self) -> nn.Module:
        """Return a copy with each batch norm folded into its convolution, see `fuse`."""
        children = {}
        for conv, norm in self.conv_norm_pairs:
            if has_fixed_statistics(getattr(self, norm)):
                children[conv] = fuse_conv_norm(getattr(self, conv), getattr(self, norm))
                children[norm] = nn.Identity()
        return fuse_children(self, children)
