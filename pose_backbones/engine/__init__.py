"""What training needs beside the model."""

from .checkpoint_hook import SafeCheckpointHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .signals import SaveOnSignalHook

__all__ = ['LayerDecayOptimWrapperConstructor', 'SafeCheckpointHook', 'SaveOnSignalHook']
