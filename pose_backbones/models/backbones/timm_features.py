"""Inspect the feature maps of timm models without computing them.

A copy of the model is built on PyTorch's meta device, where tensors have shapes and an autograd
graph, but no values. A model that needs values at construction is built on the CPU.

timm is imported by the functions, since its import takes long and other models do not need it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import closest
from ..layers import watch_saved_tensors

#: errors that timm raises if a model, its arguments or an image size are not supported
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
    """Name and arguments of a timm model, checked at construction.

    Args:
        name: A name from `timm.list_models()`, with or without a tag of weights.
        in_channels: Channels of the image.
        img_size: (height, width) for models with a fixed input size.
        arguments: More arguments of the model.

    Raises:
        ValueError: If timm has no model or tag with this name.
    """

    name: str
    in_channels: int
    img_size: tuple[int, int] | None
    arguments: Mapping

    def __post_init__(self):
        import timm

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
        """Whether pretrained weights of the model are available."""
        import timm

        return (
            'pretrained_cfg_overlay' in self.arguments
            or timm.get_pretrained_cfg(self.name).has_weights
        )

    @property
    def size(self) -> tuple[int, int]:
        """Default image size (height, width) of the model."""
        import timm

        default = timm.get_pretrained_cfg(self.name).input_size[-2:]
        return self.img_size or tuple(default)

    def create(
        self, out_indices: Sequence[int] | None = None, pretrained: bool = False
    ) -> nn.Module:
        """Build the model, which returns its feature maps as a list.

        Args:
            out_indices: Indices of the maps; None means timm's default.
            pretrained: Whether to load timm's pretrained weights.

        Raises:
            ValueError: If the model has no feature maps or does not accept an argument.
        """
        arguments = dict(self.arguments, in_chans=self.in_channels)
        if self.img_size is not None:
            arguments['img_size'] = self.img_size
        if out_indices is not None:
            arguments['out_indices'] = tuple(out_indices)
        try:
            try:
                return self._create(pretrained, arguments)
            except AssertionError as error:
                # timm names no layer for the first map of TResNet, but the model can return it.
                if 'Return layers' not in str(error):
                    raise
                return self._create(pretrained, {'feature_cls': 'getter', **arguments})
        except TypeError as error:
            if "argument 'img_size'" in str(error):
                raise ValueError(
                    f"img_size is {self.img_size}: timm's {self.name} is "
                    'not built for a fixed size: leave img_size out'
                ) from error
            raise ValueError(
                f"timm's {self.name} does not accept the arguments {dict(self.arguments)} ({error})"
            ) from error
        except TIMM_ERRORS as error:
            if pretrained:
                raise
            size = '' if self.img_size is None else f' with img_size={self.img_size}'
            raise ValueError(
                f"timm's {self.name} cannot be built as a backbone that "
                f'returns feature maps{size} ({first_line(error)})'
            ) from error

    def _create(self, pretrained: bool, arguments: Mapping) -> nn.Module:
        import timm

        return timm.create_model(self.name, pretrained=pretrained, features_only=True, **arguments)

    def names(self) -> set[str]:
        """Return the names of all tensors of the whole model, including the classifier."""
        import timm

        arguments = {
            key: value for key, value in self.arguments.items() if key != 'feature_cls'
        }  # an argument of feature extractors only
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
    """Feature maps (stages) of a model.

    Args:
        maps: Feature maps without values, with their autograd graph.
        parameters: Name → parameter in that graph.
        strides: Stride of each map in pixels of the image.
        channels_last: Whether the model returns (N, H, W, C).
        fixed_size: Whether the maps are only correct for images of the size of the model.
    """

    maps: Sequence[Tensor]
    parameters: Mapping[str, nn.Parameter]
    strides: tuple[int, ...]
    channels_last: bool
    fixed_size: bool

    @property
    def channels(self) -> tuple[int, ...]:
        """Number of channels of each map."""
        axis = -1 if self.channels_last else 1
        return tuple(x.shape[axis] for x in self.maps)

    def users(self, names: Sequence[str], stages: Sequence[int]) -> dict[str, int]:
        """Return for each parameter the first map that depends on it.

        Args:
            names: Names of parameters.
            stages: Indices of the maps, in the order in which they are tried.

        Returns:
            Name → the first of `stages` whose map depends on the parameter. Parameters that no map
            depends on are omitted.
        """
        name_of = {id(self.parameters[name]): name for name in names}
        users, seen = {}, set()
        for stage in stages:
            nodes = [self.maps[stage].grad_fn]
            while nodes:
                node = nodes.pop()
                if node is None or node in seen:
                    continue
                seen.add(node)
                nodes.extend(previous for previous, _ in node.next_functions)
                # Only the nodes of parameters have a variable.
                name = name_of.get(id(getattr(node, 'variable', None)))
                if name is not None:
                    users[name] = stage
        return users


def inspect(model: TimmModel) -> Features:
    """Inspect the feature maps of a model.

    Args:
        model: The model.

    Raises:
        ValueError: If the model has no feature maps or does not support `img_size`.
    """
    return _without_values(_inspect, model)


def _without_values(measure: Callable, model: TimmModel):
    """Call `measure(model)` on the meta device, or on the CPU if it needs values."""
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
            f"timm's {model.name} cannot compute feature maps"
            if model.img_size is None
            else f"img_size is {model.img_size}: timm's {model.name} does not support it"
        )
        raise ValueError(f'{what} ({first_line(error)})') from error
    if any(x.ndim != 4 for x in maps):
        raise ValueError(
            f"timm's {model.name} returns no feature maps, but tensors of the "
            f'shapes {", ".join(str(tuple(x.shape)) for x in maps)}'
        )
    channels_last = getattr(net, 'output_fmt', None) == 'NHWC'
    height = 1 if channels_last else 2
    return Features(
        maps=maps,
        parameters=dict(net.named_parameters()),
        strides=tuple(
            _stride(stated, model.size[0] / x.shape[height])
            for stated, x in zip(net.feature_info.reduction(), maps)
        ),
        channels_last=channels_last,
        fixed_size=_has_fixed_size(net),
    )


def _has_fixed_size(net: nn.Module) -> bool:
    """Return whether the maps are wrong for images of other sizes than that of the model.

    CrossViT resizes the images; MViTv2 reads wrong entries of its position biases.
    """
    from timm.models.crossvit import CrossVit
    from timm.models.mvitv2 import MultiScaleVit

    return any(isinstance(module, (CrossVit, MultiScaleVit)) for module in net.modules())


def _stride(stated: int, measured: float) -> int:
    """Return the stride that timm states, unless it is wrong, as for the first map of TResNet.

    Maps of layers without padding are up to a fifth smaller than the stride implies.
    """
    return stated if 2 / 3 < measured / stated < 1.5 else round(measured)


def _check_patches(net: nn.Module, model: TimmModel) -> None:
    """Raise if timm would silently ignore a border of images of `img_size`."""
    from timm.layers import PatchEmbed

    for module in net.modules():
        if not isinstance(module, PatchEmbed) or module.dynamic_img_pad:
            continue
        sides = model.img_size or ()
        if any(side % patch for side, patch in zip(sides, module.patch_size)):
            raise ValueError(
                f'img_size is {model.img_size}: expected multiples of the '
                f"patch size of timm's {model.name}, {module.patch_size}"
            )


def size_problem(model: TimmModel, size: tuple[int, int]) -> str:
    """Return the reason why a model does not support an image size.

    Args:
        model: The model.
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
    """Enable timm's activation checkpointing.

    Args:
        net: A module from `TimmModel.create`.

    Raises:
        AssertionError, AttributeError: If the model does not support it.
    """
    owner = net if hasattr(net, 'set_grad_checkpointing') else net.model
    owner.set_grad_checkpointing(True)


def can_checkpoint(model: TimmModel) -> bool:
    """Return whether activation checkpointing saves memory in a model.

    Args:
        model: The model.
    """
    return _without_values(_can_checkpoint, model)


def _can_checkpoint(model: TimmModel) -> bool:
    model_without, checkpointing = model.create().train(), model.create().train()
    try:
        checkpoint_activations(checkpointing)
    except (AssertionError, AttributeError):
        return False
    return _kept_for_backward(checkpointing, model) < _kept_for_backward(model_without, model)


def _kept_for_backward(net: nn.Module, model: TimmModel) -> int:
    """Return the number of values that a training step keeps for its backward pass."""
    sizes = []
    with watch_saved_tensors(lambda tensor: sizes.append(tensor.numel())):
        net(torch.zeros(2, model.in_channels, *model.size))
    return sum(sizes)


def first_line(error: BaseException) -> str:
    """Return the class of an error and the first line of its message."""
    text = str(error).strip().split('\n')[0].rstrip('.')
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
