"""Make the training targets on the device of the model instead of in the data workers."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.datasets.transforms import GenerateTarget
from mmpose.structures import MultilevelPixelData, PoseDataSample
from torch import nn

from ..codecs.batched_targets import batched_encoder
from ..configs import as_list, type_name
from ..errors import ConfigError
from ..registry import HOOKS

#: label of a sample with the keypoints to encode and their visibility
_KEYPOINTS = 'keypoints_to_encode'
#: label of a sample with its weights; before the keypoints are encoded, those of the dataset
_WEIGHTS = 'keypoint_weights'


@HOOKS.register_module()
class DeviceTargetHook(Hook):
    """Make the targets of top-down models on their device, in one batch.

    `--targets-on-device` of `tools/train.py` registers this hook. In the training pipelines,
    `GenerateTarget` then only passes on the keypoints and their visibility, which are smaller than
    the targets. The targets are made before the data preprocessor of the model is called, and are
    those of `GenerateTarget`, except for rounding errors. The codecs are those of
    `pose_backbones.codecs.batched_targets`.
    """

    def before_train(self, runner: Runner) -> None:
        """Change the training pipelines, and register a hook on the data preprocessor.

        Raises:
            ConfigError: If the pipelines or their codecs are not supported.
        """
        loop = runner.train_loop
        if getattr(loop, 'dataloader_iterator', None) is not None and loop.dataloader.num_workers:
            raise ConfigError(
                f'targets on the device: {type(loop).__name__} has already started its data '
                'workers: expected the loops of tools/train.py'
            )
        encoder = defer_targets(loop.dataloader.dataset)
        model = getattr(runner.model, 'module', runner.model)
        encoder.to(model.data_preprocessor.device)

        def add_targets(module: nn.Module, args: tuple, kwargs: dict) -> None:
            data = args[0] if args else kwargs['data']
            if args[1] if len(args) > 1 else kwargs.get('training', False):
                encoder(data['data_samples'])

        self._handle = model.data_preprocessor.register_forward_pre_hook(
            add_targets, with_kwargs=True
        )

    def after_train(self, runner: Runner) -> None:
        """Remove the hook of the data preprocessor."""
        self._handle.remove()


def uses_device_targets(cfg: Config) -> bool:
    """Return whether a config has a `DeviceTargetHook`."""
    hooks = [hook for hook in as_list(cfg.get('custom_hooks')) if hasattr(hook, 'get')]
    return any(type_name(hook) == DeviceTargetHook.__name__ for hook in hooks)


def defer_targets(dataset: Any) -> 'TargetEncoder':
    """Let the pipelines of a dataset pass on keypoints instead of making targets.

    Args:
        dataset: A training dataset, or a wrapper of datasets, such as `CombinedDataset` and
            `RepeatDataset`. `GenerateTarget` in its pipelines is replaced in place.

    Returns:
        A module that makes the targets of the samples.

    Raises:
        ConfigError: See `TargetEncoder`. The dataset is then not changed.
    """
    steps = [
        (transforms, index)
        for transforms in _pipelines(dataset)
        for index, step in enumerate(transforms)
        if isinstance(step, GenerateTarget)
    ]
    encoder = TargetEncoder([transforms[index] for transforms, index in steps])
    for transforms, index in steps:
        transforms[index] = step = copy.copy(transforms[index])
        step.use_dataset_keypoint_weights = encoder.is_weighted
        step.encoder, step.multilevel = DeferredCodec(encoder.is_weighted), False
    return encoder


def _pipelines(dataset: Any) -> Iterator[list]:
    """Iterate over the lists of transforms of a dataset and of those in wrappers."""
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if transforms is not None:
        yield transforms
    for part in (getattr(dataset, 'dataset', None), *as_list(getattr(dataset, 'datasets', None))):
        if part is not None:
            yield from _pipelines(part)


class DeferredCodec(BaseKeypointCodec):
    """Codec of `GenerateTarget` that passes on the keypoints and their visibility.

    Args:
        is_weighted: Whether to add weights of 1, which `GenerateTarget` multiplies by those of the
            dataset.
    """

    label_mapping_table = {_KEYPOINTS: _KEYPOINTS, _WEIGHTS: _WEIGHTS}

    def __init__(self, is_weighted: bool) -> None:
        super().__init__()
        self.is_weighted = is_weighted

    def encode(self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None) -> dict:
        """Return the keypoints (1, K, 2) and the visibility (1, K) of one person as a label.

        Raises:
            ValueError: If there are several people.
        """
        if len(keypoints) != 1:
            raise ValueError(f'keypoints are of {len(keypoints)} people: expected one person')
        # `PackPoseInputs` converts arrays to tensors, and a data worker sends each tensor as a
        # file. It does not convert the arrays in a tuple.
        encoded: dict = {_KEYPOINTS: ((keypoints, keypoints_visible),)}
        if self.is_weighted:
            encoded[_WEIGHTS] = np.ones(keypoints.shape[:2], np.float32)
        return encoded

    def decode(self, encoded: Any) -> Any:
        """Raise an error: the head has the codec that decodes."""
        raise NotImplementedError


class TargetEncoder(nn.Module):
    """Make the targets of samples whose keypoints have been passed on, see `defer_targets`.

    Args:
        steps: The `GenerateTarget` transforms of all training pipelines.

    Raises:
        ConfigError: If there are none, their settings differ, or they are not supported: subclasses
            of `GenerateTarget`, several encoders without `multilevel`, and codecs that
            `batched_encoder` does not support.
    """

    def __init__(self, steps: Sequence[GenerateTarget]) -> None:
        super().__init__()
        problem = _find_problem(steps)
        if problem:
            raise ConfigError(f'targets on the device: {problem}')
        self.multilevel: bool = steps[0].multilevel
        # MMPose does not multiply the weights of several levels.
        self.is_weighted = steps[0].use_dataset_keypoint_weights and not self.multilevel
        try:
            self.encoders = nn.ModuleList(map(batched_encoder, as_list(steps[0].encoder)))
        except ConfigError as error:
            raise ConfigError(f'targets on the device: {error}') from error

    @torch.no_grad()
    def forward(self, samples: Sequence[PoseDataSample]) -> None:
        """Add the targets to the samples, as `PackPoseInputs` would have added them, in place.

        Args:
            samples: The data samples of a batch. Their targets are views of tensors of the batch.

        Raises:
            ConfigError: If the keypoints of a sample were not passed on.
        """
        device = next(self.buffers()).device
        pairs = [_passed_on(sample) for sample in samples]
        keypoints, visible = (
            torch.from_numpy(np.concatenate(arrays)).to(device) for arrays in zip(*pairs)
        )
        levels = [encoder(keypoints, visible) for encoder in self.encoders]
        if self.is_weighted:
            weights = torch.cat([sample.gt_instance_labels[_WEIGHTS] for sample in samples])
            levels[0][_WEIGHTS] = levels[0][_WEIGHTS] * weights.to(device)
        for index, sample in enumerate(samples):
            labels = InstanceData()
            for key in levels[0]:
                if key == 'heatmaps':
                    maps = [level[key][index] for level in levels]
                    fields = MultilevelPixelData() if self.multilevel else PixelData()
                    fields.set_field(maps if self.multilevel else maps[0], key)
                    sample.gt_fields = fields
                else:
                    values = [level[key][index : index + 1] for level in levels]
                    labels.set_field(torch.stack(values) if self.multilevel else values[0], key)
            sample.gt_instance_labels = labels


def _passed_on(sample: PoseDataSample) -> tuple[np.ndarray, np.ndarray]:
    """Return the keypoints (1, K, 2) and the visibility (1, K) of a sample."""
    labels = sample.get('gt_instance_labels', {})
    if _KEYPOINTS not in labels:
        raise ConfigError(
            'targets on the device: a training sample has no keypoints to encode: expected '
            'GenerateTarget and PackPoseInputs in the pipeline of each training dataset'
        )
    return labels[_KEYPOINTS][0]


def _find_problem(steps: Sequence[GenerateTarget]) -> str | None:
    """Return why targets cannot be made on the device, whatever the codec is."""
    if not steps:
        return 'expected GenerateTarget in the training pipelines'
    for step in steps:
        if type(step) is not GenerateTarget:
            return f'{type(step).__name__} may make other targets than GenerateTarget'
        if _settings(step) != _settings(steps[0]):
            return 'the training pipelines have different settings of GenerateTarget'
    if isinstance(steps[0].encoder, list) and not steps[0].multilevel:
        return 'GenerateTarget combines several encoders: expected one, or multilevel=True'
    return None


def _settings(step: GenerateTarget) -> tuple:
    return step.encoder_cfg, step.multilevel, step.use_dataset_keypoint_weights
