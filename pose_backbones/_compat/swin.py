"""Patch MMPose's Swin Transformer to load its released weights.

- With `convert_weights=True`, `SwinTransformer.init_weights` of MMPose 1.x looks for the ImageNet
  weights at the top level of the file, but the original releases store them under `model`. It also
  adds the prefix `backbone.` to every converted name, although the names of the backbone itself
  have no prefix. It then loads the keys that match, which are none, logs a warning, and trains from
  scratch. MMPose 0.x did both correctly.
- The pose models of 0.x were trained with all four feature maps and have a norm for each. Today's
  configs return a single map, and the norms of the others are unexpected keys.

The patch loads ImageNet weights through this package. The match is strict, except for the output
norms, which classification weights do not contain. Relative position bias tables of another window
size are resized as in MMPose. Norms of feature maps that are not returned are ignored by every
loader.
"""

import re
from collections.abc import Mapping

import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..checkpoints.loading import get_weights, load_weights, read_checkpoint
from ..checkpoints.names.swin import convert_backbone

_NORMS = tuple(f'norm{stage}.' for stage in range(4))
_TABLE = '.relative_position_bias_table'


def install(swin: type) -> None:
    """Patch the class. Calling this function again has no effect.

    Args:
        swin: MMPose's `SwinTransformer`.
    """
    original, construct = swin.init_weights, swin.__init__
    if getattr(original, 'is_patched', False):
        return

    def __init__(self, *args, **kwargs):
        construct(self, *args, **kwargs)
        self.register_load_state_dict_pre_hook(_remove_unused_norms)

    def init_weights(self, pretrained: str | None = None) -> None:
        """Initialize according to `init_cfg`, which may refer to a checkpoint."""
        config = self.init_cfg
        if not isinstance(config, dict) or config['type'] != 'Pretrained':
            original(self, pretrained)
            return
        path = config['checkpoint']
        weights = get_weights(read_checkpoint(path))
        prefix = config.get('prefix') or (
            'backbone.' if any(name.startswith('backbone.') for name in weights) else ''
        )
        weights = {
            name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)
        }
        weights = _resize_bias_tables(self, convert_backbone(weights))
        load_weights(self, weights, path, ignore=('head.',), optional=_NORMS)

    init_weights.is_patched = True
    swin.init_weights, swin.__init__ = init_weights, __init__


def _remove_unused_norms(swin: nn.Module, state_dict: dict, prefix: str, *_rest) -> None:
    """Remove the norms of feature maps that are not returned from a state dict."""
    for norm in _NORMS:
        if not hasattr(swin, norm[:-1]):
            for name in [n for n in state_dict if n.startswith(prefix + norm)]:
                del state_dict[name]


def _resize_bias_tables(swin: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Resize relative position bias tables to the window size of the model, as MMPose does.

    A table has (2 * window_size - 1)² entries for each head. The relative position indices are
    determined by the window size, so those of the model are kept.
    """
    model_state, resized_weights, num_resized = swin.state_dict(), dict(weights), 0
    for name, table in weights.items():
        if (
            not name.endswith(_TABLE)
            or name not in model_state
            or table.shape[1] != model_state[name].shape[1]
            or table.shape == model_state[name].shape
        ):
            continue
        old, new = (round(len(t) ** 0.5) for t in (table, model_state[name]))
        grid = table.t().reshape(1, -1, old, old).float()
        grid = F.interpolate(grid, (new, new), mode='bicubic')
        resized_weights[name] = grid.flatten(2)[0].t().contiguous()
        index = re.sub('bias_table$', 'index', name)
        resized_weights[index] = model_state[index]
        num_resized += 1
    if num_resized:
        print_log(
            f'SwinTransformer: {num_resized} relative position bias tables were resized to '
            'another window size',
            logger='current',
        )
    return resized_weights
