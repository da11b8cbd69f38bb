"""MMPose's Swin Transformer with strict loading of released weights."""

import re
from collections.abc import Mapping, Sequence
from functools import wraps

import torch.nn.functional as F
from mmengine.logging import print_log
from mmpose.models.backbones import SwinTransformer as MMPoseSwinTransformer
from torch import Tensor, nn

from ...checkpoints.loading import get_weights, load_weights, read_checkpoint
from ...checkpoints.names.swin import convert_backbone
from ...configs import loads_checkpoint
from ...registry import MODELS
from .naming import StateDictNames

_NORMS = tuple(f'norm{stage}.' for stage in range(4))
_TABLE = '.relative_position_bias_table'


@MODELS.register_module()
class SwinTransformer(StateDictNames, MMPoseSwinTransformer):
    """MMPose's `SwinTransformer` that loads weights of any release strictly.

    The bare name `SwinTransformer` is MMPose's; this class is `pose_backbones.SwinTransformer`.

    Paper: [Swin Transformer: Hierarchical Vision Transformer using Shifted
    Windows](https://arxiv.org/abs/2103.14030).

    Deviations from MMPose's class:

    - With `convert_weights=True`, MMPose looks for the ImageNet weights at the top of the file,
      where the original releases have the entry `model`, and puts `backbone.` before every
      converted name, which the names of the backbone do not have. No weight matches, and MMPose
      only logs a warning. Here, weights of `init_cfg` in any naming are loaded strictly, whatever
      `convert_weights` is, except for norms that a classifier does not have. If the windows have
      another size than in the file, the tables of position biases are resized, as in MMPose.
    - The pose releases of MMPose 0.x were trained with all four maps, and have a norm for each.
      Norms of maps that are not in `out_indices` are ignored when weights are loaded.

    Args:
        args, kwargs: Arguments of MMPose's `SwinTransformer`.
    """

    naming_device = 'cpu'  # MMPose's constructor does not run on `meta`

    @wraps(MMPoseSwinTransformer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_pre_hook(_leave_out_norms)

    @classmethod
    def naming_variants(cls) -> Sequence[dict]:
        """Return arguments of a backbone that has every name, up to the numbers in it."""
        ones = (1, 1, 1, 1)
        return [dict(embed_dims=4, depths=ones, num_heads=ones, out_indices=(0, 1, 2, 3))]

    @classmethod
    def guess_config(cls, weights: Mapping[str, Tensor]) -> dict:
        """Return the arguments of a backbone that has these weights.

        Args:
            weights: State dict in MMPose's names, without prefix.
        """
        blocks = {
            tuple(map(int, match.groups()))
            for match in (re.match(r'stages\.(\d+)\.blocks\.(\d+)\.', name) for name in weights)
            if match
        }
        stages = 1 + max(stage for stage, _ in blocks)
        tables = [
            weights[f'stages.{stage}.blocks.0.attn.w_msa{_TABLE}'].shape for stage in range(stages)
        ]
        return dict(
            embed_dims=weights['patch_embed.projection.weight'].shape[0],
            depths=[sum(stage == of_block for of_block, _ in blocks) for stage in range(stages)],
            num_heads=[heads for _, heads in tables],
            window_size=(round(tables[0][0] ** 0.5) + 1) // 2,
            strides=(4, 2, 2, 2)[:stages],
            out_indices=[stage for stage in range(stages) if f'norm{stage}.weight' in weights],
        )

    def init_weights(self, pretrained: str | None = None) -> None:
        """Initialize the weights according to `init_cfg`.

        Args:
            pretrained: As in MMPose.
        """
        config = self.init_cfg
        if not loads_checkpoint(config):
            super().init_weights(pretrained)
            return
        path = config['checkpoint']
        weights = get_weights(read_checkpoint(path))
        prefix = config.get('prefix') or (
            'backbone.' if any(name.startswith('backbone.') for name in weights) else ''
        )
        weights = {
            name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)
        }
        weights = _fit_windows(self, convert_backbone(weights))
        load_weights(self, weights, path, ignore=('head.',), optional=_NORMS)


def _leave_out_norms(swin: nn.Module, state_dict: dict, prefix: str, *_rest) -> None:
    """Remove norms of maps that are not returned from a state dict, in place."""
    for norm in _NORMS:
        if not hasattr(swin, norm[:-1]):
            for name in [n for n in state_dict if n.startswith(prefix + norm)]:
                del state_dict[name]


def _fit_windows(swin: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Resize tables of position biases to the model's windows, as MMPose does.

    A table has (2 * window size - 1)² entries for each head. The indices into it depend only on the
    window size; those of the model are kept.
    """
    state, fitted, resized = swin.state_dict(), dict(weights), 0
    for name, table in weights.items():
        if (
            not name.endswith(_TABLE)
            or name not in state
            or table.shape[1] != state[name].shape[1]
            or table.shape == state[name].shape
        ):
            continue
        old, new = (round(len(t) ** 0.5) for t in (table, state[name]))
        square = table.t().reshape(1, -1, old, old).float()
        square = F.interpolate(square, (new, new), mode='bicubic')
        fitted[name] = square.flatten(2)[0].t().contiguous()
        index = re.sub('bias_table$', 'index', name)
        fitted[index] = state[index]
        resized += 1
    if resized:
        print_log(
            f'SwinTransformer: {resized} tables of position biases resized '
            'to windows of another size',
            logger='current',
        )
    return fitted
