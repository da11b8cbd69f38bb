"""Base class of the backbones: stages, freezing, and strict loading of pretrained weights."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...checkpoints.loading import get_weights, load_weights, read_checkpoint
from ...checkpoints.matching import is_already_matched, match_state_dict
from ...configs import loads_checkpoint
from ...errors import CheckpointError, closest
from ...utils.arguments import check_flag
from ..layers import MetaDeviceInit, fuse_children
from .naming import StateDictNames


def choose_arch(arch: str | dict, settings: Mapping[str, dict], aliases: Mapping[str, str]) -> dict:
    """Look up a named architecture, or check one given as a dict.

    Args:
        arch: A name, or a dict with the same keys as the entries of `settings`.
        settings: Name → architecture.
        aliases: Alias → name.

    Returns:
        The architecture.

    Raises:
        ValueError: If the name is unknown or the keys are wrong; the message has the choices.
        TypeError: If `arch` is neither a name nor a dict.
    """
    keys = set(next(iter(settings.values())))
    if isinstance(arch, str):
        name = aliases.get(arch.lower(), arch.lower())
        if name not in settings:
            raise ValueError(
                f'unknown arch {arch!r}: expected one of '
                f'{", ".join(settings)}{closest(name, list(settings))}'
            )
        return settings[name]
    if not isinstance(arch, Mapping):
        raise TypeError(
            f'arch is {arch!r}: expected a name ({", ".join(settings)}) or '
            f'a dict with the keys {", ".join(sorted(keys))}'
        )
    if set(arch) != keys:
        raise ValueError(
            f'arch has the keys {", ".join(sorted(arch)) or "(none)"}: '
            f'expected {", ".join(sorted(keys))}'
        )
    return dict(arch)


class BaseBackbone(StateDictNames, MetaDeviceInit, metaclass=ABCMeta):
    """Base class of backbones with several stages that return feature maps.

    A subclass calls `super().__init__`, builds its modules, calls `freeze_stages`, and defines in
    `stage_modules` which modules belong to a stage. The base class checks `out_indices` and
    `frozen_stages`, keeps stages frozen after `train()`, implements `norm_eval`, and loads
    pretrained weights strictly. If the subclass sets `convert_names`, state dicts with the names of
    other releases are converted whenever they are loaded.

    Args:
        num_stages: Number of stages.
        out_indices: Stages whose output is returned, from 0; negative values count from the end.
        frozen_stages: Stages 0 to this one are frozen (no gradient, evaluation mode); -1 freezes
            nothing.
        norm_eval: Whether batch norms stay in evaluation mode during training, so that they use the
            loaded statistics.
        with_cp: Whether to use activation checkpointing, which saves memory and costs time.
        init_cfg: Initialization config of MMEngine. With
            `dict(type='Pretrained', checkpoint=PATH_OR_URL, prefix=None)`, the weights are loaded
            strictly, except that weights with the prefixes of `ignored_keys` (the classifier) are
            ignored, and that weights with the prefixes of `optional_keys` (parts of the backbone
            that classification does not use) may be missing. With `prefix=None`, if the checkpoint
            is of a whole model, its weights with the prefix `backbone.` are loaded.

    Raises:
        ValueError: If a stage does not exist.
        TypeError: If an argument has the wrong type.
    """

    #: constructor arguments that disable pretrained weights
    without_pretrained: Mapping[str, object] = {'init_cfg': None}
    #: constructor arguments that disable freezing
    without_freezing: Mapping[str, object] = {'frozen_stages': -1}
    #: constructor arguments that disable activation checkpointing
    without_checkpointing: Mapping[str, object] = {'with_cp': False}
    #: prefixes of weights in a pretrained checkpoint that are not loaded
    ignored_keys: tuple[str, ...] = ('head.',)
    #: prefixes of the backbone's weights that may be missing in pretrained checkpoints
    optional_keys: tuple[str, ...] = ()
    #: static method that converts a state dict of any release to the names of this class:
    #: `convert_backbone` of the family in `checkpoints.names`
    convert_names: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None
    convert_names = None
    #: Whether the inference functions of OpenMMLab load the model strictly; see
    #: `pose_backbones._compat.checkpoint_loading`.
    loads_strictly = True

    def __init__(
        self,
        num_stages: int,
        out_indices: Sequence[int],
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        self.num_stages = num_stages
        self.out_indices = self._check_out_indices(out_indices)
        if not isinstance(frozen_stages, int) or not -1 <= frozen_stages < num_stages:
            raise ValueError(
                f'frozen_stages is {frozen_stages!r}: expected -1 (none) or '
                f'the last stage to freeze, 0 to {num_stages - 1}'
            )
        check_flag('norm_eval', norm_eval)
        check_flag('with_cp', with_cp)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.register_load_state_dict_pre_hook(_prepare_weights)

    def _check_out_indices(self, indices: Sequence[int]) -> tuple[int, ...]:
        num_stages = self.num_stages
        if isinstance(indices, str) or not isinstance(indices, Sequence):
            raise TypeError(f'out_indices is {indices!r}: expected a sequence of stages')
        valid = all(
            isinstance(index, int) and -num_stages <= index < num_stages for index in indices
        )
        stages = tuple(index % num_stages for index in indices) if valid else ()
        if not stages or list(stages) != sorted(set(stages)):
            raise ValueError(
                f'out_indices is {indices!r}: expected distinct stages in ascending order, chosen '
                f'from {", ".join(map(str, range(num_stages)))}'
            )
        return stages

    @abstractmethod
    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the modules of a stage, including its patch embedding or stem."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of `out_indices` for images (N, C, H, W)."""

    @abstractmethod
    def init_weights_from_scratch(self) -> None:
        """Initialize the weights for training without pretrained weights."""

    def init_weights(self) -> None:
        """Initialize the weights according to `init_cfg`; MMEngine's runner calls this."""
        if self._is_init:
            return
        pretrained = self._pretrained()
        self.set_constructor_values()
        self.init_weights_from_scratch()
        if pretrained is None:
            super().init_weights()
            return
        self._load_pretrained(pretrained)
        self._is_init = True

    def _pretrained(self) -> dict | None:
        """Return the entry of `init_cfg` of type 'Pretrained', or None if there is none."""
        configs = self.init_cfg or []
        configs = [configs] if isinstance(configs, dict) else configs
        pretrained = [config for config in configs if loads_checkpoint(config)]
        if pretrained and len(configs) > 1:
            raise ValueError(
                "init_cfg combines 'Pretrained' with other initializers, "
                'which it would overwrite: use only one of them'
            )
        if not pretrained:
            return None
        keys = {'type', 'checkpoint', 'prefix'}
        if not pretrained[0].get('checkpoint') or set(pretrained[0]) - keys:
            raise ValueError(
                f'init_cfg is {dict(pretrained[0])}: expected '
                "dict(type='Pretrained', checkpoint=PATH_OR_URL, "
                'prefix=None)'
            )
        return pretrained[0]

    def _load_pretrained(self, init_cfg: dict) -> None:
        path = init_cfg['checkpoint']
        weights = get_weights(read_checkpoint(path))
        prefix = init_cfg.get('prefix') or ''
        if not prefix and any(name.startswith('backbone.') for name in weights):
            prefix = 'backbone'
        if prefix:
            prefix = prefix.rstrip('.') + '.'
            weights = {
                name[len(prefix) :]: value
                for name, value in weights.items()
                if name.startswith(prefix)
            }
            if not weights:
                raise CheckpointError(f"{path} has no keys with the prefix '{prefix}'")
        load_weights(self, weights, path, ignore=self.ignored_keys, optional=self.optional_keys)
        print_log(f'{type(self).__name__}: loaded pretrained weights from {path}', logger='current')

    def unused_weights(self) -> tuple[str, ...]:
        """Return the prefixes of weights on which none of the returned feature maps depends.

        These weights may be missing in a checkpoint. They then keep their values.
        """
        return ()

    @classmethod
    def guess_arch(cls, weights: Mapping[str, Tensor]) -> str | None:
        """Guess the named architecture of a state dict from the shapes of its tensors.

        Args:
            weights: State dict with the parameter names of this class, without prefix.

        Returns:
            The key of `arch_settings` whose state dict has the most tensors of the same name and
            shape; None if these are at most 85 % of the tensors.
        """
        shapes = {name: value.shape for name, value in weights.items()}
        sizes = {size for shape in shapes.values() for size in shape}
        best_fraction, best_arch = 0.85, None  # not 1: a layer scale may differ
        for name, settings in getattr(cls, 'arch_settings', {}).items():
            if not sizes.issuperset(settings['embed_dims']):
                continue
            expected = _shapes_of(cls, name)
            num_equal = sum(shapes.get(key) == expected[key] for key in expected)
            fraction = num_equal / len(shapes.keys() | expected.keys())
            if fraction > best_fraction:
                best_fraction, best_arch = fraction, name
        return best_arch

    def compare_arch(self, weights: Mapping[str, Tensor]) -> str:
        """Return a sentence for an error message if a state dict has another architecture.

        Args:
            weights: As for `guess_arch`.

        Returns:
            The sentence; an empty string if the architectures are equal or unknown.
        """
        arch, own_arch = self.guess_arch(weights), self.guess_arch(self.state_dict())
        if arch is None or arch == own_arch:
            return ''
        backbone = type(self).__name__
        return f'The checkpoint appears to be {backbone} {arch!r}, but the model ' + (
            f'is {own_arch!r}' if own_arch else 'has a custom architecture'
        )

    @classmethod
    def guess_config(cls, weights: Mapping[str, Tensor]) -> dict:
        """Return the constructor arguments of a backbone that a state dict fits.

        Args:
            weights: State dict with the parameter names of this class, without prefix.

        Raises:
            ValueError: If no named architecture fits. The message is a clause, which the caller
                appends to its own message.
        """
        arch = cls.guess_arch(weights)
        if arch is None:
            raise ValueError(f'it matches none of the architectures {", ".join(cls.arch_settings)}')
        return dict(arch=arch)

    def fused(self) -> 'BaseBackbone':
        """Return an equivalent backbone that takes less time for inference.

        Returns:
            A backbone for inference only, with the outputs of this one in evaluation mode and other
            parameter names. It shares the tensors that fusing does not change. The other weights
            are copies, which later changes of this backbone do not affect. If nothing can be fused,
            this backbone itself is returned.
        """
        return fuse_children(self)

    def freeze_stages(self) -> None:
        """Set stages 0 to `frozen_stages` to evaluation mode, without gradients.

        Stages after the last of `out_indices` are not computed. They are frozen too, since
        distributed training would otherwise wait for their gradients.
        """
        unused = range(self.out_indices[-1] + 1, self.num_stages)
        for stage in (*range(self.frozen_stages + 1), *unused):
            for module in self.stage_modules(stage):
                module.eval()
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'BaseBackbone':
        """Set the training mode; frozen stages stay in evaluation mode.

        Args:
            mode: Training (True) or evaluation (False).

        Returns:
            The backbone.
        """
        super().train(mode)
        if mode:
            self.freeze_stages()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self


def _prepare_weights(backbone: BaseBackbone, state_dict: dict, prefix: str, *_rest) -> None:
    """Convert the names of a state dict, in place, and raise if it does not match the backbone.

    PyTorch and MMEngine call this hook whenever they load a state dict. MMEngine itself only logs
    missing, unexpected and mismatched keys, which would leave a part of the backbone with random
    weights. To load a part on purpose, use `load_weights(…, strict=False)`.
    """
    names = [name for name in state_dict if name.startswith(prefix)]
    weights = {name[len(prefix) :]: state_dict.pop(name) for name in names}
    if backbone.convert_names is not None:
        weights = backbone.convert_names(weights)
    if weights:
        unused = backbone.unused_weights()
        weights.update(
            {
                name: value
                for name, value in backbone.state_dict().items()
                if name not in weights and name.startswith(unused)
            }
        )
    state_dict.update({prefix + name: weights[name] for name in weights})
    if is_already_matched():
        return
    problems = match_state_dict(backbone, weights, optional=backbone.optional_keys).problems()
    if problems:
        parts = (
            f'the checkpoint does not match this {type(backbone).__name__}: {problems}',
            backbone.compare_arch(weights),
            'To load only the matching tensors, use pose_backbones.checkpoints.load_weights('
            'model, weights, source, strict=False)',
        )
        raise CheckpointError('. '.join(part for part in parts if part))


@cache
def _shapes_of(backbone: type[BaseBackbone], arch: str) -> dict[str, torch.Size]:
    """Return the shape of every tensor of a named architecture, by name."""
    with torch.device('meta'):
        weights = backbone(arch).state_dict()
    return {name: value.shape for name, value in weights.items()}
