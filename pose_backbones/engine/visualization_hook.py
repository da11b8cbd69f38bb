"""Hook that draws every Nth sample of a test."""

from collections.abc import Sequence

from mmengine.runner import Runner
from mmpose.engine.hooks import PoseVisualizationHook

from ..registry import HOOKS


@HOOKS.register_module()
class IntervalVisualizationHook(PoseVisualizationHook):
    """Draw every Nth sample of a test, as MMPose's hook does in validation only.

    Args:
        interval: Number of samples from one drawn sample to the next. `tools/test.py --interval`
            sets it.
        **kwargs: Arguments of `PoseVisualizationHook`.
    """

    def __init__(self, interval: int = 50, **kwargs) -> None:
        super().__init__(interval=interval, **kwargs)
        self._count = 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence
    ) -> None:
        """Draw the samples of a batch that are due."""
        first, self._count = self._count, self._count + len(outputs)
        due = [
            sample for number, sample in enumerate(outputs, first) if number % self.interval == 0
        ]
        super().after_test_iter(runner, batch_idx, data_batch, due)
