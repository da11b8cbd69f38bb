"""What can be known of a timm model's feature maps without computing them.

A copy of the model is built on PyTorch's meta device, where tensors have
shapes and gradients paths, but no values. Where a model needs values to be
built, the CPU serves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import timm
import torch
from timm.layers import Format, PatchEmbed
from torch import Tensor, nn

from ...errors import closest
from ..layers import watch_saved_tensors

#: what timm raises where a model, its arguments or an image do not fit
TIMM_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class TimmModel:
    """A timm model's name and arguments, checked when it is made.

    Args:
        name: As in `timm.list_models()`, with or without a tag of weights.
        in_channels: Of the image.
        img_size: (height, width) for models that are built for one size.
        arguments: More of the model's own arguments.

    Raises:
        ValueError: If timm has no model or no tag of this name.
    """

    name: str
    in_channels: int
    img_size: tuple[int, int] | None
    arguments: Mapping

    def __post_init__(self):
        arch = self.name.split('.')[0]
        if not timm.is_model(arch):
            raise ValueError(
                f'timm {timm.__version__} has no model {self.name!r} (names: '
                f'timm.list_models()){closest(arch, timm.list_models())}'
            )
        try:
            timm.get_pretrained_cfg(self.name)
        except RuntimeError as error:
            tagged = timm.list_models(f'{arch}.*', pretrained=True)
            raise ValueError(
                f'timm {timm.__version__} has no weights {self.name!r}: '
                f'expected {arch!r} or one of {", ".join(tagged)}'
            ) from error

    @property
    def has_weights(self) -> bool:
        """Whether timm knows where pretrained weights of it are."""
        return (
            'pretrained_cfg_overlay' in self.arguments
            or timm.get_pretrained_cfg(self.name).has_weights
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image that it is made for."""
        default = timm.get_pretrained_cfg(self.name).input_size[-2:]
        return self.img_size or tuple(default)

    def create(
        self, out_indices: Sequence[int] | None = None, pretrained: bool = False
    ) -> nn.Module:
        """Build the model; it returns its feature maps as a list.

        Args:
            out_indices: Which maps; None: those of timm's choice.
            pretrained: Whether timm loads its weights.

        Raises:
            ValueError: If the model has no maps or refuses an argument.
        """
        given = dict(self.arguments, in_chans=self.in_channels)
        if self.img_size is not None:
            given['img_size'] = self.img_size
        if out_indices is not None:
            given['out_indices'] = tuple(out_indices)
        try:
            return timm.create_model(self.name, pretrained=pretrained, features_only=True, **given)
        except TypeError as error:
            if "argument 'img_size'" in str(error):
                raise ValueError(
                    f"img_size is {self.img_size}: timm's {self.name} is "
                    'not built for one size; leave img_size out'
                ) from error
            raise ValueError(
                f"timm's {self.name} refuses the arguments {dict(self.arguments)} ({error})"
            ) from error
        except TIMM_ERRORS as error:
            if pretrained:
                raise
            raise ValueError(
                f"timm's {self.name} cannot be built as a backbone that "
                f'gives feature maps ({first_line(error)})'
            ) from error

    def names(self) -> set[str]:
        """Of all the tensors of the whole model, its classifier included."""
        arguments = {
            key: value for key, value in self.arguments.items() if key != 'feature_cls'
        }  # of a backbone only
        if self.img_size is not None:
            arguments['img_size'] = self.img_size
        return _without_values(
            lambda model: set(
                timm.create_model(model.name, in_chans=model.in_channels, **arguments).state_dict()
            ),
            self,
        )


@dataclass(frozen=True)
class Features:
    """A model's feature maps, called stages.

    Args:
        maps: Without values, with the graph that they came from.
        parameters: Name → parameter in that graph.
        strides: Pixels of the image per cell, of each map.
        channels_last: Whether the model returns (N, H, W, C).
    """

    maps: Sequence[Tensor]
    parameters: Mapping[str, nn.Parameter]
    strides: tuple[int, ...]
    channels_last: bool

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each map."""
        axis = -1 if self.channels_last else 1
        return tuple(one.shape[axis] for one in self.maps)

    @torch.enable_grad()
    def users(self, names: Sequence[str], stages: Sequence[int]) -> dict[str, int]:
        """Which map depends on a parameter.

        Args:
            names: Of parameters.
            stages: The maps to try, in this order.

        Returns:
            Name → the first of `stages` whose map depends on it; without
            those on which none does.
        """
        found = {}
        for stage in stages:
            rest = [
                name for name in names if name not in found and self.parameters[name].requires_grad
            ]
            if not rest or not self.maps[stage].requires_grad:
                continue
            gradients = torch.autograd.grad(
                self.maps[stage].sum(),
                [self.parameters[name] for name in rest],
                retain_graph=True,
                allow_unused=True,
            )
            found.update(
                {name: stage for name, gradient in zip(rest, gradients) if gradient is not None}
            )
        return found


def inspect(model: TimmModel) -> Features:
    """Learn of the maps of a model.

    Args:
        model: Which.

    Raises:
        ValueError: If it has no maps, or cannot take `img_size`.
    """
    return _without_values(_inspect, model)


def _without_values(measure: Callable, model: TimmModel):
    """`measure(model)` on the meta device; on the CPU if it needs values."""
    for device in ('meta', 'cpu'):
        try:
            with torch.device(device), torch.enable_grad():
                return measure(model)
        except TIMM_ERRORS as error:
            if device == 'cpu' or 'meta tensor' not in str(error):
                raise


def _inspect(model: TimmModel) -> Features:
    count = len(model.create().feature_info)
    net = model.create(range(count)).eval()
    _check_patches(net, model)
    try:
        maps = net(torch.zeros(1, model.in_channels, *model.size))
    except TIMM_ERRORS as error:
        what = (
            f"timm's {model.name} gives no feature maps"
            if model.img_size is None
            else f"img_size is {model.img_size}: timm's {model.name} cannot take it"
        )
        raise ValueError(f'{what} ({first_line(error)})') from error
    if any(one.ndim != 4 for one in maps):
        raise ValueError(
            f"timm's {model.name} gives no feature maps, but tensors of "
            f'shapes {", ".join(str(tuple(one.shape)) for one in maps)}'
        )
    return Features(
        maps=maps,
        parameters=dict(net.named_parameters()),
        strides=tuple(net.feature_info.reduction()),
        channels_last=getattr(net, 'output_fmt', None) == Format.NHWC,
    )


def _check_patches(net: nn.Module, model: TimmModel) -> None:
    """Refuse a size of which timm would silently leave out a border."""
    for module in net.modules():
        if not isinstance(module, PatchEmbed) or module.dynamic_img_pad:
            continue
        sides = model.img_size or ()
        if any(side % patch for side, patch in zip(sides, module.patch_size)):
            raise ValueError(
                f'img_size is {model.img_size}: expected multiples of the '
                f"patches of timm's {model.name}, {module.patch_size}"
            )


def size_problem(model: TimmModel, size: tuple[int, int]) -> str:
    """Say why a model cannot take images of a size.

    Args:
        model: Which.
        size: (height, width).

    Returns:
        timm's reason; an empty string if the size is not the problem.
    """
    with torch.device('meta'):
        try:
            net = model.create().eval()
            net(torch.zeros(1, model.in_channels, *model.size))
        except TIMM_ERRORS:
            return ''
        try:
            net(torch.zeros(1, model.in_channels, *size))
        except TIMM_ERRORS as error:
            return first_line(error)
    return ''


def checkpoint_activations(net: nn.Module) -> None:
    """Turn on timm's activation checkpointing.

    Args:
        net: As `TimmModel.create` returns it.

    Raises:
        AssertionError, AttributeError: If the model has none.
    """
    owner = net if hasattr(net, 'set_grad_checkpointing') else net.model
    owner.set_grad_checkpointing(True)


def can_checkpoint(model: TimmModel) -> bool:
    """Whether activation checkpointing saves memory in a model.

    Args:
        model: Which.
    """
    return _without_values(_can_checkpoint, model)


def _can_checkpoint(model: TimmModel) -> bool:
    plain, checkpointing = model.create().train(), model.create().train()
    try:
        checkpoint_activations(checkpointing)
    except (AssertionError, AttributeError):
        return False
    return _kept_for_backward(checkpointing, model) < _kept_for_backward(plain, model)


def _kept_for_backward(net: nn.Module, model: TimmModel) -> int:
    """Return how many numbers a step keeps for its backward pass."""
    sizes = []
    with watch_saved_tensors(lambda tensor: sizes.append(tensor.numel())):
        net(torch.zeros(2, model.in_channels, *model.size))
    return sum(sizes)


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message."""
    text = str(error).strip().split('\n')[0].rstrip('.')
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
