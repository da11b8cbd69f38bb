"""Backbone that wraps any timm model that returns feature maps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...checkpoints.names.efficientnet import convert_to_timm
from ...errors import CheckpointError
from ...registry import MODELS
from ...utils.arguments import check_flag, check_positive_int, check_rate
from ..layers import record_statistics_once
from .base import BaseBackbone
from .timm_features import (
    TIMM_ERRORS,
    TimmModel,
    can_checkpoint,
    checkpoint_activations,
    first_line,
    inspect,
    size_problem,
)

#: arguments of timm that `TimmBackbone` sets itself → what to do instead
_RESERVED = {
    'features_only': 'it is always on',
    'out_indices': "give the backbone's out_indices",
    'pretrained': "give the backbone's pretrained",
    'in_chans': "give the backbone's in_channels",
    'img_size': "give the backbone's img_size",
    'drop_path_rate': "give the backbone's drop_path_rate",
    'num_classes': 'a backbone has no classifier',
    'global_pool': 'a backbone has no classifier',
    'checkpoint_path': 'give init_cfg or pretrained_cfg_overlay=dict(file=…)',
}


@MODELS.register_module()
class TimmBackbone(BaseBackbone):
    """Backbone that wraps a timm model, given by its name.

    Source: [timm](https://github.com/huggingface/pytorch-image-models). The attribute `model` is a
    timm model with `features_only=True`. The stages are its feature maps; their channels and
    strides, `embed_dims` and `strides`, are read from the model. A plain vision transformer has a
    stage for each block.

    Freezing a stage freezes all modules that its map depends on. In HRNet, whose branches exchange
    maps, every map except the first depends on the whole network.

    Weights of timm classifiers, and of EfficientNet-PyTorch for `tf_efficientnet_*`, are converted
    when they are loaded; weights that no map of `out_indices` depends on are ignored. With
    `pretrained`, timm also adapts the weights to `in_channels` and `img_size`, and converts the
    original releases that it supports.

    `pretrained` weights are loaded by `init_weights`, when training starts, like those of
    `init_cfg`. Building a model for testing or inference needs no network access.

    Args:
        model_name: A name from `timm.list_models()`, optionally with a tag of weights, such as
            `'hrnet_w32.ms_in1k'`.
        pretrained: Whether training starts from timm's pretrained weights. Without network access,
            give a file: `model_args=dict(pretrained_cfg_overlay=dict(file=PATH))`.
        in_channels: Channels of the image. timm adapts pretrained weights to it.
        img_size: Size of the image, or (height, width), for models with a fixed input size, such as
            vision transformers. None means the default size of the model.
        drop_path_rate: Rate of stochastic depth of the last block; None means timm's default for
            the model.
        model_args: More arguments of the timm model, such as `dict(window_size=8)`.
        out_indices: Stages whose maps are returned; None means all.
        frozen_stages: Stages 0 to this one are frozen; -1 freezes none.
        norm_eval: Whether batch norms stay in evaluation mode in training.
        with_cp: Whether to use timm's activation checkpointing, if the model supports it.
        init_cfg: See `BaseBackbone`; an alternative to `pretrained`.

    Raises:
        ValueError, TypeError: If an argument is invalid; the message has the value, and the choices
            or timm's reason.
    """

    without_pretrained: ClassVar = {'init_cfg': None, 'pretrained': False}

    def __init__(
        self,
        model_name: str,
        pretrained: bool = False,
        in_channels: int = 3,
        img_size: int | Sequence[int] | None = None,
        drop_path_rate: float | None = None,
        model_args: dict | None = None,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ):
        self._check_arguments(model_name, pretrained, model_args, init_cfg)
        check_positive_int('in_channels', in_channels)
        arguments = dict(model_args or {})
        if drop_path_rate is not None:
            check_rate(
                'drop_path_rate',
                drop_path_rate,
                "a probability, 0 <= rate < 1, or None for timm's default",
            )
            arguments['drop_path_rate'] = drop_path_rate
        source = TimmModel(model_name, in_channels, _pair(img_size), arguments)
        features = inspect(source)
        stages = range(len(features.maps))
        super().__init__(
            num_stages=len(stages),
            out_indices=stages if out_indices is None else out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self._source = source
        self.pretrained = pretrained
        self.embed_dims = features.channels
        self.strides = features.strides
        self._channels_last = features.channels_last
        self._fixed_size = features.fixed_size
        self._check_against_model()
        self.model = source.create(self.out_indices)
        names = [name for name, _ in self.model.named_parameters()]
        #: parameter of `model` → the first stage that depends on it
        self._first_stage = features.users(names, stages)
        self._in_use = set(features.users(names, self.out_indices[::-1]))
        if norm_eval and not any(isinstance(m, _BatchNorm) for m in self.model.modules()):
            raise ValueError(f"norm_eval is True: timm's {model_name} has no batch norm")
        if with_cp:
            checkpoint_activations(self.model)
        self.freeze_stages()

    @staticmethod
    def _check_arguments(
        model_name: str, pretrained: bool, model_args: dict | None, init_cfg: dict | list | None
    ) -> None:
        if not isinstance(model_name, str):
            raise TypeError(
                f"model_name is {model_name!r}: expected a timm model name, such as 'hrnet_w32'"
            )
        check_flag('pretrained', pretrained)
        if pretrained and init_cfg:
            raise ValueError(
                'pretrained=True and init_cfg both set the initial weights: use only one of them'
            )
        if not isinstance(model_args, (Mapping, type(None))):
            raise TypeError(
                f'model_args is {model_args!r}: expected a dict of arguments for the timm model'
            )
        for key, value in (model_args or {}).items():
            if key in _RESERVED:
                raise ValueError(f'model_args has {key}={value!r}: {_RESERVED[key]}')
            if value is None:  # timm ignores these silently
                raise ValueError(f'model_args has {key}=None: leave it out')

    def _check_against_model(self) -> None:
        source = self._source
        if self.pretrained and not source.has_weights:
            import timm

            arch = source.name.split('.')[0]
            others = timm.list_models(f'{arch[:6]}*', pretrained=True)
            raise ValueError(
                f'pretrained is True: timm has no weights of {source.name}; '
                f'expected False, or a model such as {", ".join(others[:3])}'
            )
        if self.with_cp and not can_checkpoint(source):
            raise ValueError(
                f"with_cp is True: timm's {source.name} has no activation "
                'checkpointing; expected False'
            )

    def convert_names(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the weights of timm's own model to those of this backbone.

        timm's feature extractors replace some dots of a name by underscores. Weights of
        EfficientNet-PyTorch are accepted, too.

        Args:
            weights: Name → tensor, without a prefix.

        Returns:
            Name → tensor, without weights that the backbone does not use. Current and unknown names
            are unchanged.

        Raises:
            CheckpointError: If weights of EfficientNet-PyTorch are loaded into a model with another
                padding.
        """
        if not weights or any(name.startswith('model.') for name in weights):
            return weights
        timm_weights = convert_to_timm(weights)
        if timm_weights is not weights and not self._source.name.startswith('tf_'):
            raise CheckpointError(
                f'these weights of EfficientNet-PyTorch have the padding of TensorFlow, which '
                f'{self._source.name} does not have: expected a model_name that starts with '
                'tf_efficientnet_'
            )
        weights = timm_weights
        names = {_flat(name): name for name in self.state_dict()}
        timm_names = self._source.names()
        return {
            names.get(_flat(name), name): value
            for name, value in weights.items()
            if _flat(name) in names or name not in timm_names
        }

    def compare_arch(self, weights: Mapping[str, Tensor]) -> str:
        """Return a hint for an error message if weights do not match this backbone.

        timm can adapt weights of other sizes and convert older names.
        """
        state = self.state_dict()
        if all(name in state and state[name].shape == x.shape for name, x in weights.items()):
            return ''
        return (
            f'If they are weights of {self._source.name} that timm must adapt (names, '
            'in_channels, img_size), use backbone.pretrained=True and backbone.model_args='
            'dict(pretrained_cfg_overlay=dict(file=PATH)) instead of init_cfg'
        )

    @classmethod
    def unknown_names(cls, names: Iterable[str]) -> list[str]:
        """Return the names that no backbone of this class has."""
        return [name for name in names if not name.startswith('model.')]

    @classmethod
    def guess_config(cls, weights: Mapping[str, Tensor]) -> dict:
        """Raise `ValueError`, since the names of weights do not identify a timm model."""
        raise ValueError('it is of a timm model')

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the largest modules that this stage depends on and no earlier stage does."""

        def visit(module: nn.Module, prefix: str) -> Iterator[nn.Module]:
            stages = {self._first_stage.get(prefix + name) for name, _ in module.named_parameters()}
            if stages == {stage}:
                yield module
            elif stage in stages:
                for name, child in module.named_children():
                    yield from visit(child, f'{prefix}{name}.')

        return visit(self.model, '')

    def freeze_stages(self) -> None:
        """Freeze stages as in the base class, and parameters that belong to no module of a stage.

        Examples are the position embeddings of a transformer. Parameters that no map of
        `out_indices` depends on are frozen too.
        """
        super().freeze_stages()
        for name, parameter in self.model.named_parameters():
            if name not in self._in_use or self._first_stage[name] <= self.frozen_stages:
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Set the training mode; with `with_cp`, batch norms count each batch once."""
        super().train(mode)
        if self.with_cp:
            record_statistics_once(self)
        return self

    def init_weights(self) -> None:
        """Load timm's pretrained weights, or initialize according to `init_cfg`."""
        if not self.pretrained or self._is_init:
            super().init_weights()
            return
        self.set_constructor_values()  # buffers that are not in the state dict
        name = self._source.name
        try:
            pretrained = self._source.create(self.out_indices, pretrained=True)
        except Exception as error:  # each way of downloading has its own errors
            raise CheckpointError(
                f"pretrained weights of timm's {name} cannot be loaded "
                f'({first_line(error)}). Without a network connection, download them on another '
                'machine and set backbone.model_args=dict(pretrained_cfg_overlay=dict(file=PATH)), '
                'or train without them: backbone.pretrained=False'
            ) from error
        self.model.load_state_dict(pretrained.state_dict())
        self._is_init = True
        print_log(f"TimmBackbone: loaded timm's pretrained weights of {name}", logger='current')

    def init_weights_from_scratch(self) -> None:
        """Do nothing: timm initializes the weights at construction."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            A map (N, embed_dims[stage], h, w) for each stage of `out_indices`, where h and w are
            about H / strides[stage] and W / strides[stage]. The maps of models without padding,
            such as Inception, have fewer cells: heads and codecs that expect H / stride x
            W / stride cells cannot use them.

        Raises:
            ValueError: If the model does not support images of this size.
        """
        if self._fixed_size:
            self._check_size(x)
        try:
            maps = self.model(x)
        except TIMM_ERRORS as error:
            size = tuple(map(int, x.shape[-2:]))
            problem = size_problem(self._source, size)
            if not problem:
                raise
            raise ValueError(self._size_message(size, problem)) from error
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return tuple(maps)

    def _check_size(self, x: Tensor) -> None:
        size = tuple(map(int, x.shape[-2:]))
        if size != self._source.size:
            raise ValueError(self._size_message(size, 'its maps would be wrong'))

    def _size_message(self, size: tuple[int, ...], problem: str) -> str:
        return (
            f'the image is {size[0]}x{size[1]} (height x width), but '
            f"timm's {self._source.name}, built for "
            f'{"x".join(map(str, self._source.size))}, does not support this size '
            f'({problem}); see img_size'
        )


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else size
    if (
        isinstance(pair, str)
        or not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(type(s) is int and s > 0 for s in pair)
    ):
        raise ValueError(
            f'img_size is {size!r}: expected the side of the image in pixels, or (height, width)'
        )
    return tuple(pair)


def _flat(name: str) -> str:
    """Return a name in a form that is the same for timm classifiers and feature extractors."""
    while name.startswith(('model.', 'body.')):
        name = name.split('.', 1)[1]
    return name.replace('.', '_')
