"""Training: runner, loops, hooks, checkpoints, exact resuming and layer-wise learning rates."""

from .checkpoint_hook import SafeCheckpointHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .signals import SaveOnSignalHook

__all__ = ['LayerDecayOptimWrapperConstructor', 'SafeCheckpointHook', 'SaveOnSignalHook']
