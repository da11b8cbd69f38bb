"""Training: runner, loops, hooks, checkpoints, exact resuming and layer-wise learning rates."""

from .checkpoint_hook import SafeCheckpointHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .signals import SaveOnSignalHook
from .visualization_hook import IntervalVisualizationHook

__all__ = [
    'IntervalVisualizationHook',
    'LayerDecayOptimWrapperConstructor',
    'SafeCheckpointHook',
    'SaveOnSignalHook',
]
