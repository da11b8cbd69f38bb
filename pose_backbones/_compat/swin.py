"""Released weights of MMPose's Swin Transformer, which are not loaded.

- With `convert_weights=True`, `SwinTransformer.init_weights` of MMPose 1.x
  looks for the ImageNet weights at the top of the file, where the original
  releases have the entry `model`, and puts `backbone.` before every converted
  name, which the backbone's own names have not. It then loads what fits:
  nothing, with a warning, and training starts from nothing. MMPose 0.x did
  both right.
- The pose releases of 0.x were trained with all four maps, and have a norm
  for each; today's configs return one map, and the norms of the others are
  unknown to the model.

The remedy loads ImageNet weights through this package, strictly but for norms
that a classifier lacks; windows of another size than the file's get its table
of biases resized, as in MMPose. Norms of maps that are not returned are left
out, whoever loads.
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


def mend(swin: type) -> None:
    """Put the remedy into the class; doing it again changes nothing.

    Args:
        swin: MMPose's `SwinTransformer`.
    """
    original, construct = swin.init_weights, swin.__init__
    if getattr(original, 'mended', False):
        return

    def __init__(self, *args, **kwargs):
        construct(self, *args, **kwargs)
        self.register_load_state_dict_pre_hook(_leave_out_norms)

    def init_weights(self, pretrained: str | None = None) -> None:
        """Initialize as `init_cfg` says, from a checkpoint if it says so."""
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
        weights = _fit_windows(self, convert_backbone(weights))
        load_weights(self, weights, path, ignore=('head.',), optional=_NORMS)

    init_weights.mended = True
    swin.init_weights, swin.__init__ = init_weights, __init__


def _leave_out_norms(swin: nn.Module, state_dict: dict, prefix: str, *_rest) -> None:
    """Take norms of maps that are not returned out of what is loaded."""
    for norm in _NORMS:
        if not hasattr(swin, norm[:-1]):
            for name in [n for n in state_dict if n.startswith(prefix + norm)]:
                del state_dict[name]


def _fit_windows(swin: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Resize tables of biases to the model's windows, as MMPose does.

    A table has (2 * side - 1)² entries for each head. The indices into it
    follow from the size of the windows; the model's own stay.
    """
    own, fitted, resized = swin.state_dict(), dict(weights), 0
    for name, table in weights.items():
        if (
            not name.endswith(_TABLE)
            or name not in own
            or table.shape[1] != own[name].shape[1]
            or table.shape == own[name].shape
        ):
            continue
        old, new = (round(len(t) ** 0.5) for t in (table, own[name]))
        square = table.t().reshape(1, -1, old, old).float()
        square = F.interpolate(square, (new, new), mode='bicubic')
        fitted[name] = square.flatten(2)[0].t().contiguous()
        index = re.sub('bias_table$', 'index', name)
        fitted[index] = own[index]
        resized += 1
    if resized:
        print_log(
            f'SwinTransformer: {resized} tables of position biases resized '
            'to windows of another size',
            logger='current',
        )
    return fitted
