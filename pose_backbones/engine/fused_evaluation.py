"""Run tests with a model that is fused for inference."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..models.layers import fuse
from ..registry import HOOKS


@HOOKS.register_module()
class FusedTestHook(Hook):
    """Fuse the model for the duration of a test, see `pose_backbones.models.layers.fuse`.

    `tools/test.py` registers this hook. The outputs are equal to those of the original model,
    except for rounding errors. After the test, the original model is restored with unchanged
    weights. Validation during training does not use this hook, because other hooks save the
    checkpoint of the best score in the same stage.
    """

    #: runs after `EMAHook`, which swaps the weights that are fused
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._model: nn.Module | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the runner's model by a fused one, without a distributed wrapper."""
        self._model = runner.model
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        fused = fuse(model)
        if fused is not model:
            runner.model = fused

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Restore the runner's model."""
        runner.model = self._model
