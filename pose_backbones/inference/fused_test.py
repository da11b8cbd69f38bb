"""Run tests with a model that is fused for inference, and keypoints decoded in batches."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..deploy.crop_model import CropModel
from ..deploy.estimator import predict_crops
from ..errors import ConfigError
from ..models.layers import fuse
from ..registry import HOOKS
from .predictors import TorchRuntime


@HOOKS.register_module()
class FusedTestHook(Hook):
    """Fuse the model for the duration of a test, see `pose_backbones.models.layers.fuse`.

    `tools/test.py` registers this hook. The outputs are equal to those of the original model,
    except for rounding errors. Top-down models with the codecs of `pose_backbones.codecs.batched`
    get uint8 crops, compute the flip test as one batch, and decode keypoints on their device. After
    the test, the original model is restored with unchanged weights. Validation during training does
    not use this hook, because other hooks save the checkpoint of the best score in the same stage.
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
        try:
            runner.model = BatchedEstimator(fused, runner)
        except ConfigError:  # not a model that `CropModel` computes
            if fused is not model:
                runner.model = fused

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Restore the runner's model."""
        runner.model = self._model


class BatchedEstimator(nn.Module):
    """The test step of a top-down estimator, computed by a `CropModel`.

    Args:
        estimator: A fused estimator.
        runner: The runner of the test, with the config and the dataset.

    Raises:
        ConfigError: If the model is not one that `CropModel` supports, or returns heatmaps.
    """

    def __init__(self, estimator: Any, runner: Runner) -> None:
        super().__init__()
        test_cfg = getattr(estimator, 'test_cfg', None) or {}
        if test_cfg.get('output_heatmaps'):
            raise ConfigError('test_cfg.output_heatmaps is True: expected keypoints only')
        self.estimator, self._test_step = estimator, estimator.test_step
        model = CropModel(
            estimator,
            is_fused=True,
            cfg=runner.cfg,
            dataset_meta=getattr(runner.test_loop.dataloader.dataset, 'metainfo', {}),
        )
        device = next(estimator.parameters()).device
        self._input_size = model.input_size
        self._runtime = TorchRuntime(model, device, half=False)

    def test_step(self, data: Mapping) -> list:
        """Predict the keypoints of a batch, see the method of the estimator."""
        inputs = data['inputs']
        width, height = self._input_size
        if not len(inputs) or any(
            crop.dtype != torch.uint8 or crop.shape != (3, height, width) for crop in inputs
        ):
            return self._test_step(data)
        crops = torch.stack(list(inputs)).permute(0, 2, 3, 1)
        return predict_crops(self._runtime, crops.numpy(), list(data['data_samples']))
