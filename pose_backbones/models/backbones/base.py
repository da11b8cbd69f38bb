"""What every backbone of the package has in common."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...checkpoints.loading import get_weights, load_weights, read_checkpoint
from ...checkpoints.matching import is_already_matched, match_state_dict
from ...errors import CheckpointError, closest
from ...utils.arguments import check_flag
from ..layers import fuse_children
from .naming import StateDictNames


def choose_arch(arch: str | dict, settings: Mapping[str, dict], aliases: Mapping[str, str]) -> dict:
    """Look up a named architecture, or check one given as a dict.

    Args:
        arch: A name, or a dict with the keys that every entry of `settings`
            has.
        settings: Name → architecture.
        aliases: Other name → name.

    Returns:
        The architecture.

    Raises:
        ValueError: For an unknown name or wrong keys; shows the choices.
        TypeError: If it is neither a name nor a dict.
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


class BaseBackbone(StateDictNames, BaseModule, metaclass=ABCMeta):
    """A backbone of several stages that returns feature maps.

    A subclass calls `super().__init__`, builds its modules, calls
    `freeze_stages`, and says in `stage_modules` which modules make up a
    stage. It gets in return: checks
    of `out_indices` and `frozen_stages`, freezing that survives `train()`,
    `norm_eval`, and strict loading of pretrained weights. If it names its
    family's `convert_names`, every way of loading takes the names of older
    and foreign releases.

    Args:
        num_stages: How many stages there are.
        out_indices: Stages whose output is returned, from 0; negative ones
            count from the end.
        frozen_stages: Stages 0 up to this one are frozen: no gradient, and
            evaluation mode. -1 freezes nothing.
        norm_eval: Whether batch norms stay in evaluation mode in training,
            so that they use the statistics they were loaded with.
        with_cp: Whether inner activations are computed again in the backward
            pass, which saves memory and costs time.
        init_cfg: MMEngine's. For
            `dict(type='Pretrained', checkpoint=PATH_OR_URL, prefix=None)`
            the weights are loaded strictly, but for the classifier
            (`ignored_keys`) and what a classifier has not
            (`optional_keys`). Without a prefix, a file of a whole model
            gives its `backbone.` weights.

    Raises:
        ValueError: If a stage is named that does not exist.
        TypeError: If an argument is of a wrong type.
    """

    #: arguments with which nothing is loaded before training
    without_pretrained: Mapping[str, object] = {'init_cfg': None}
    #: arguments with which nothing is frozen
    without_freezing: Mapping[str, object] = {'frozen_stages': -1}
    #: arguments with which no activation is computed again in the backward pass
    without_checkpointing: Mapping[str, object] = {'with_cp': False}
    #: prefixes of weights in pretrained files that a backbone has no use for
    ignored_keys: tuple[str, ...] = ('head.',)
    #: prefixes of the backbone's weights that pretrained files may lack
    optional_keys: tuple[str, ...] = ()
    #: weights in the names of any release → in those of this class; a
    #: static method, `convert_backbone` of the family in `convert`
    convert_names: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None
    convert_names = None
    #: Inference functions of OpenMMLab load models with it strictly; see
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
        count = self.num_stages
        if isinstance(indices, str) or not isinstance(indices, Sequence):
            raise TypeError(f'out_indices is {indices!r}: expected a sequence of stages')
        valid = all(isinstance(index, int) and -count <= index < count for index in indices)
        stages = tuple(index % count for index in indices) if valid else ()
        if not stages or list(stages) != sorted(set(stages)):
            raise ValueError(
                f'out_indices is {indices!r}: expected different stages in '
                f'rising order out of {", ".join(map(str, range(count)))}'
            )
        return stages

    @abstractmethod
    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """The modules of one stage, its patch embedding or stem included."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image batch (N, C, H, W) → the maps of `out_indices`."""

    @abstractmethod
    def init_weights_from_scratch(self) -> None:
        """Set the weights that training without pretrained ones starts at."""

    def init_weights(self) -> None:
        """Initialize as `init_cfg` says; MMEngine's runner calls this."""
        if self._is_init:
            return
        pretrained = self._pretrained()
        self.init_weights_from_scratch()
        if pretrained is None:
            super().init_weights()
            return
        self._load_pretrained(pretrained)
        self._is_init = True

    def _pretrained(self) -> dict | None:
        configs = self.init_cfg or []
        configs = [configs] if isinstance(configs, dict) else configs
        found = [c for c in configs if c.get('type') == 'Pretrained']
        if found and len(configs) > 1:
            raise ValueError(
                "init_cfg combines 'Pretrained' with other initializers, "
                'which it would overwrite: give one of them'
            )
        if not found:
            return None
        known = {'type', 'checkpoint', 'prefix'}
        if not found[0].get('checkpoint') or set(found[0]) - known:
            raise ValueError(
                f'init_cfg is {dict(found[0])}: expected '
                "dict(type='Pretrained', checkpoint=PATH_OR_URL, "
                'prefix=None)'
            )
        return found[0]

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
                raise CheckpointError(f"{path} has no weight whose name begins with '{prefix}'")
        load_weights(self, weights, path, ignore=self.ignored_keys, optional=self.optional_keys)
        print_log(f'{type(self).__name__}: pretrained weights of {path}', logger='current')

    def unused_weights(self) -> tuple[str, ...]:
        """Prefixes of weights that no map of `out_indices` depends on.

        A file may lack them; they then stay as they are.
        """
        return ()

    @classmethod
    def guess_arch(cls, weights: Mapping[str, Tensor]) -> str | None:
        """Say which named architecture weights are of.

        Args:
            weights: In today's names, without prefix.

        Returns:
            A key of `arch_settings`: the one that shares most tensors, by
            name and shape, if that is nearly all; else None.
        """
        shapes = {name: value.shape for name, value in weights.items()}
        widths = {side for shape in shapes.values() for side in shape}
        best, name_of_best = 0.85, None  # a layer scale may be unlike
        for name, settings in getattr(cls, 'arch_settings', {}).items():
            if not widths.issuperset(settings['embed_dims']):
                continue
            own = _shapes_of(cls, name)
            same = sum(shapes.get(key) == own[key] for key in own)
            share = same / len(shapes.keys() | own.keys())
            if share > best:
                best, name_of_best = share, name
        return name_of_best

    def compare_arch(self, weights: Mapping[str, Tensor]) -> str:
        """Say whether weights are of another size than this backbone.

        Args:
            weights: As for `guess_arch`.

        Returns:
            A sentence for an error message, or an empty string where the
            sizes are equal or unknown.
        """
        theirs, ours = self.guess_arch(weights), self.guess_arch(self.state_dict())
        if theirs is None or theirs == ours:
            return ''
        kind = type(self).__name__
        return f'The file looks like {kind} {theirs!r}, the model is ' + (
            f'{ours!r}' if ours else 'of no named size'
        )

    @classmethod
    def guess_config(cls, weights: Mapping[str, Tensor]) -> dict:
        """Return the arguments of a backbone of a named architecture that has these weights.

        Args:
            weights: In today's names, without prefix.

        Raises:
            ValueError: If they are of no named architecture; the message is a reason that can
                follow a "but".
        """
        arch = cls.guess_arch(weights)
        if arch is None:
            raise ValueError(f'its size is none of {", ".join(cls.arch_settings)}')
        return dict(arch=arch)

    def fused(self) -> 'BaseBackbone':
        """Return a backbone that computes the same for inference, in less time.

        Returns:
            A backbone for inference alone, which computes what this one computes in evaluation
            mode. It shares the weights that need no change, does not follow later changes of the
            others, and its state dict has other names. This backbone itself if nothing can be
            fused.
        """
        return fuse_children(self)

    def freeze_stages(self) -> None:
        """Put stages 0 to `frozen_stages` in evaluation, without gradient.

        Stages behind the last of `out_indices` take no part either; without
        gradient, distributed training does not wait for theirs.
        """
        unused = range(self.out_indices[-1] + 1, self.num_stages)
        for stage in (*range(self.frozen_stages + 1), *unused):
            for module in self.stage_modules(stage):
                module.eval()
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'BaseBackbone':
        """Switch to training; what is frozen stays as it is.

        Args:
            mode: Training (True) or evaluation.

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
    """Rename what is loaded, in place, and refuse another size.

    PyTorch and MMEngine call it, whoever loads. MMEngine loads what fits and
    prints the rest; that the half of a backbone stays random is never what
    was meant. Who does mean it uses `load_weights(…, strict=False)`.
    """
    names = [name for name in state_dict if name.startswith(prefix)]
    own = {name[len(prefix) :]: state_dict.pop(name) for name in names}
    if backbone.convert_names is not None:
        own = backbone.convert_names(own)
    if own:
        unused = backbone.unused_weights()
        own.update(
            {
                name: value
                for name, value in backbone.state_dict().items()
                if name not in own and name.startswith(unused)
            }
        )
    state_dict.update({prefix + name: own[name] for name in own})
    if is_already_matched():
        return
    problems = match_state_dict(backbone, own, optional=backbone.optional_keys).problems()
    if problems:
        parts = (
            f'the checkpoint is not of this {type(backbone).__name__}: {problems}',
            backbone.compare_arch(own),
            'To load a part all the same: pose_backbones.checkpoints.load_weights('
            'model, weights, source, strict=False)',
        )
        raise CheckpointError('. '.join(part for part in parts if part))


@cache
def _shapes_of(backbone: type[BaseBackbone], arch: str) -> dict[str, torch.Size]:
    """Name → shape of every tensor of a named architecture."""
    with torch.device('meta'):
        weights = backbone(arch).state_dict()
    return {name: value.shape for name, value in weights.items()}
