"""Use an exported model like an estimator of MMPose."""

from collections.abc import Mapping
from os import PathLike
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from mmpose.models.pose_estimators import BottomupPoseEstimator, TopdownPoseEstimator
from torch import nn

from ..configs import test_dataset
from ..errors import ConfigError
from ..models.heads.hrcomer_head import pack_people
from ..registry import MODELS
from .crop_model import crop_settings
from .exported import read_exported
from .image_model import ImageModel, fixed_size_step, image_settings, resize_step
from .runtimes import Runtime, load_runtime


@MODELS.register_module()
class ExportedEstimator(BaseModel):
    """An estimator whose predictions are computed by an exported model.

    It has the interface of MMPose's estimators for prediction: `test_step`, `cfg` and
    `dataset_meta`. It cannot be trained.

    Args:
        folder: Directory from `export_model`.
        threads: Number of threads. Default: as chosen by the runtime.

    Raises:
        ExportError: If the directory is damaged or of another version.
        ConfigError: If the runtime is not installed.
    """

    def __init__(self, folder: str | PathLike, threads: int | None = None) -> None:
        super().__init__()
        exported = read_exported(folder)
        self.folder = exported.folder
        self.description = exported.description
        self.cfg = exported.cfg
        self.dataset_meta = exported.dataset_meta
        self.test_cfg = dict(flip_test=self.description['flip_test'])
        precision = self.description['precision']
        if not exported.is_top_down:
            precision = ImageModel.runtime_precision(precision)
        self._predict = self._predict_crops if exported.is_top_down else self._predict_images
        self.runtime = load_runtime(self.description['backend'], exported.path, precision, threads)
        # PyTorch cannot distribute a module without parameters.
        self.unused = nn.Parameter(torch.zeros(1))
        self.eval()

    def forward(self, inputs: Any, data_samples: list | None = None, mode: str = 'tensor') -> Any:
        """Raise `ConfigError`: exported models only predict."""
        raise ConfigError(
            f'an exported model has no mode {mode!r}: expected test_step, which predicts keypoints'
        )

    def test_step(self, data: Mapping) -> list:
        """Predict the keypoints of a batch.

        Args:
            data: `inputs`, crops or images (3, H, W), uint8, BGR, and `data_samples`, from the test
                pipeline.

        Returns:
            The data samples, with `pred_instances` in pixels of the image.

        Raises:
            ValueError: If the crops have another size than the input of the model.
        """
        inputs = [np.asarray(x).transpose(1, 2, 0) for x in data['inputs']]
        return self._predict(inputs, list(data['data_samples'])) if inputs else []

    def _predict_crops(self, inputs: list[np.ndarray], samples: list) -> list:
        return predict_crops(self.runtime, np.stack(inputs), samples)

    def _predict_images(self, inputs: list[np.ndarray], samples: list) -> list:
        by_shape: dict[tuple, list[int]] = {}
        for index, image in enumerate(inputs):
            by_shape.setdefault(image.shape, []).append(index)
        instances: list[InstanceData] = [InstanceData()] * len(inputs)
        for indices in by_shape.values():
            outputs = self.runtime(np.stack([inputs[index] for index in indices]))
            for index, keypoints, scores, person_scores in zip(indices, *outputs):
                found = ~(person_scores <= 0)  # NaN is kept, as by the estimator
                instances[index] = pack_people(
                    torch.from_numpy(keypoints[found]), torch.from_numpy(scores[found])
                )
        return BottomupPoseEstimator.add_pred_to_datasample(self, instances, None, samples)

    def val_step(self, data: Mapping) -> list:
        """See `test_step`."""
        return self.test_step(data)


def predict_crops(runtime: Runtime, crops: np.ndarray, samples: list) -> list:
    """Predict the keypoints of crops, and add them to data samples as MMPose does.

    Args:
        runtime: Computes the keypoints.
        crops: (N, H, W, 3), uint8, BGR.
        samples: The data samples of the crops. They are changed.

    Returns:
        The data samples, with `pred_instances` in pixels of the image.
    """
    keypoints, scores = runtime(crops)
    instances = [
        InstanceData(keypoints=keypoints[i : i + 1].copy(), keypoint_scores=scores[i : i + 1])
        for i in range(len(samples))
    ]
    # The runtime has already selected the keypoints of `output_keypoint_indices`.
    estimator = SimpleNamespace(test_cfg={})
    return TopdownPoseEstimator.add_pred_to_datasample(estimator, instances, None, samples)


def use_exported(cfg: Config, folder: str) -> None:
    """Replace the model of a config by an exported model.

    Args:
        cfg: Config of a test, which is changed: its dataset and metrics are used.
        folder: Directory from `export_model`.

    Raises:
        ConfigError: If the test pipeline does not fit the model, for example since its crops have
            another size.
        ExportError: If the directory is damaged or of another version.
    """
    exported = read_exported(folder)
    if exported.is_top_down:
        _check_crops(cfg, folder, tuple(exported.description['input_size']))
    else:
        _use_images(cfg, exported.description['image_size'])
    cfg.model = dict(type='pose_backbones.ExportedEstimator', folder=folder)
    cfg.load_from = None


def _use_images(cfg: Config, fixed_size: list[int] | None) -> None:
    """Check how a config resizes images, or let it resize them to the size of a model."""
    index, _ = resize_step(cfg)
    if fixed_size is not None:
        test_dataset(cfg)['pipeline'][index] = fixed_size_step(fixed_size)
    image_settings(cfg)


def _check_crops(cfg: Config, folder: str, expected: tuple[int, ...]) -> None:
    size = crop_settings(cfg)['input_size']
    if size != expected:
        raise ConfigError(
            f'{cfg.filename} makes crops of {size[0]}x{size[1]} (width x height): expected '
            f'{expected[0]}x{expected[1]}, the input of the exported model {folder}'
        )
