"""ImageNet weights of MMPose's Swin Transformer, which are not loaded.

With `convert_weights=True`, `SwinTransformer.init_weights` of MMPose 1.x
looks for the weights at the top of the file, where the original releases have
the entry `model`, and puts `backbone.` before every converted name, which the
backbone's own names have not. It then loads what fits: nothing, with a
warning, and training starts from nothing. MMPose 0.x did both right.

The remedy loads them through this package, strictly; only the norms of maps
that the model does not return are left out, and those that a classifier
lacks keep their start values.
"""

from ..convert.swin import convert_backbone
from ..utils.checkpoint import get_weights, load_weights, read_checkpoint

_NORMS = ('norm0.', 'norm1.', 'norm2.', 'norm3.')


def mend(swin: type) -> None:
    """Put the remedy into the class; doing it again changes nothing.

    Args:
        swin: MMPose's `SwinTransformer`.
    """
    original = swin.init_weights
    if getattr(original, 'mended', False):
        return

    def init_weights(self, pretrained: str | None = None) -> None:
        """Initialize as `init_cfg` says, from a checkpoint if it says so."""
        config = self.init_cfg
        if (not self.convert_weights or not isinstance(config, dict)
                or config['type'] != 'Pretrained'):
            original(self, pretrained)
            return
        path = config['checkpoint']
        weights = get_weights(read_checkpoint(path))
        prefix = 'backbone.'
        if any(name.startswith(prefix) for name in weights):
            weights = {name[len(prefix):]: value
                       for name, value in weights.items()
                       if name.startswith(prefix)}
        own = self.state_dict()
        unused = [norm for norm in _NORMS if f'{norm}weight' not in own]
        load_weights(
            self, convert_backbone(weights), path,
            ignore=('head.', *unused), optional=_NORMS)

    init_weights.mended = True
    swin.init_weights = init_weights
