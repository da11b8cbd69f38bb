"""The computation of a top-down estimator as one module: from crops to keypoints."""

import copy
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import torch
from mmengine.utils import apply_to
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.structures import PoseDataSample
from torch import Tensor, nn
from torch.export import Dim

from ..codecs.batched import Decoded, batched_decoder
from ..configs import test_dataset, type_name
from ..errors import ConfigError
from ..models.layers import fuse

#: largest number of crops or images in a batch
MAX_BATCH = 4096


class CropModel(nn.Module):
    """Normalize crops, compute the outputs of the network, and decode them.

    The keypoints are those of the estimator, except for rounding errors. With the flip test, the
    crops and the mirrored crops are one batch, and their outputs are averaged.

    Args:
        estimator: A top-down estimator in evaluation mode. It is not changed, and its weights are
            shared.
        flip_test: Whether to average the outputs with those of the mirrored crops. Default: as in
            the estimator.
        is_fused: Whether the estimator is already fused, see `pose_backbones.models.layers.fuse`.
        cfg, dataset_meta: The config and the metainfo of the dataset. Default: those of the
            estimator.

    Attributes:
        input_size: Width and height of the crops in pixels.
        flip_test: Whether the flip test is used.
        network: Function that replaces `compute`, such as its compiled form.

    Raises:
        ConfigError: If the estimator is of another kind, or its codec or head is not supported.
    """

    input_name = 'crops'
    output_names = ('keypoints', 'scores')

    def __init__(
        self,
        estimator: Any,
        flip_test: bool | None = None,
        is_fused: bool = False,
        cfg: Mapping | None = None,
        dataset_meta: Mapping | None = None,
    ) -> None:
        super().__init__()
        _check_estimator(estimator)
        cfg = estimator.cfg if cfg is None else cfg
        dataset_meta = estimator.dataset_meta if dataset_meta is None else dataset_meta
        test_cfg = dict(estimator.test_cfg or {})
        self.flip_test = bool(test_cfg.get('flip_test', False) if flip_test is None else flip_test)
        self._test_cfg = {**test_cfg, 'flip_test': self.flip_test, 'output_heatmaps': False}
        self.input_size = crop_settings(cfg)['input_size']
        flip_indices = dataset_meta.get('flip_indices')
        self._sample = PoseDataSample(
            metainfo=dict(flip_indices=flip_indices, input_size=self.input_size)
        )
        if self.flip_test and not flip_indices:
            raise ConfigError(
                'flip_test is True, but the metainfo of the dataset has no flip_indices: '
                'expected flip_test=False'
            )
        self.normalize = Normalization(estimator.data_preprocessor)
        fused: Any = estimator if is_fused else fuse(estimator)
        self.backbone = fused.backbone
        self.neck = fused.neck if fused.with_neck else None
        self.head = fused.head
        # `predict` of a head averages the outputs of `forward` with those of the mirrored images,
        # and decodes them. This copy is called with outputs, and returns outputs.
        averaging = copy.copy(fused.head)
        averaging.forward = averaging.decode = _identity
        self._average = averaging.predict
        self.network: Callable[[Tensor], Any] | None = None
        self.decoder = batched_decoder(estimator.head.decoder)
        self._output_indices = test_cfg.get('output_keypoint_indices')
        self.eval()

    def forward(self, crops: Tensor) -> Decoded:
        """Estimate the keypoints of crops.

        Args:
            crops: (N, H, W, 3), uint8, channels BGR, of the size `input_size`.

        Returns:
            Keypoints (N, K, 2), x and y in pixels of the crop, and scores (N, K), both float32.
        """
        return self.decode(self.outputs(crops))

    def outputs(self, crops: Tensor) -> Any:
        """Return what the estimator decodes: a tensor or a tuple of tensors.

        Args:
            crops: See `forward`.
        """
        images = self.normalize(crops)
        compute = self.network or self.compute
        if not self.flip_test:
            return self._average(compute(images), [self._sample], self._test_cfg)
        outputs = compute(torch.cat((images, images.flip(-1))))
        count = crops.shape[0]  # not len(), which would fix the size when traced
        halves = [
            apply_to(outputs, torch.is_tensor, itemgetter(part))
            for part in (slice(count), slice(count, None))
        ]
        return self._average(halves, [self._sample], self._test_cfg)

    def decode(self, outputs: Any) -> Decoded:
        """Decode the outputs, see `forward`."""
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        keypoints, scores = self.decoder(*outputs)
        if self._output_indices is not None:
            keypoints, scores = (x[:, list(self._output_indices)] for x in (keypoints, scores))
        return keypoints, scores

    def compute(self, images: Tensor) -> Any:
        """Return the outputs of the head for normalized images (N, 3, H, W)."""
        features = self.backbone(images)
        return self.head(features if self.neck is None else self.neck(features))

    def in_precision(self, precision: str) -> 'CropModel':
        """Return the model to write for a precision; the runtimes convert this one."""
        return self

    @staticmethod
    def runtime_precision(precision: str) -> str:
        """Return the precision that is set in the runtime."""
        return precision

    def example(self) -> Tensor:
        """Return crops to trace the model with."""
        width, height = self.input_size
        return torch.zeros(2, height, width, 3, dtype=torch.uint8)

    def dynamic_shapes(self) -> dict[int, Any]:
        """Return the dimensions of the crops that are not fixed, for `torch.export`."""
        return {0: Dim('batch', min=1, max=MAX_BATCH)}

    def input_shape(self) -> list[int]:
        """Return the shape of the crops, -1 for dimensions that are not fixed."""
        width, height = self.input_size
        return [-1, height, width, 3]


class Normalization(nn.Module):
    """Convert crops (N, H, W, 3), uint8, BGR, to the input of a network, (N, 3, H, W), float32.

    Args:
        preprocessor: MMPose's data preprocessor, with mean, standard deviation and channel order.

    Raises:
        ConfigError: If the preprocessor pads images.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, preprocessor: Any) -> None:
        super().__init__()
        if preprocessor.pad_size_divisor != 1:
            raise ConfigError(
                f'data_preprocessor.pad_size_divisor is {preprocessor.pad_size_divisor}: expected '
                '1, since all crops have the same size'
            )
        self.swap_channels = preprocessor._channel_conversion
        normalized = preprocessor._enable_normalize
        self.register_buffer('mean', preprocessor.mean.clone() if normalized else None)
        self.register_buffer('std', preprocessor.std.clone() if normalized else None)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the normalized images."""
        images = crops.permute(0, 3, 1, 2)
        if self.swap_channels:
            images = images.flip(1)
        images = images.float()
        if self.mean is None or self.std is None:
            return images
        return (images - self.mean) / self.std


def _check_estimator(estimator: Any) -> None:
    name = type(estimator).__name__
    if not isinstance(estimator, TopdownPoseEstimator):
        raise ConfigError(
            f'{name} cannot be exported: expected a top-down estimator, such as '
            'TopdownPoseEstimator'
        )
    for method in ('forward', 'predict', 'extract_feat', 'add_pred_to_datasample'):
        if getattr(type(estimator), method) is not getattr(TopdownPoseEstimator, method):
            raise ConfigError(
                f'{name} has its own method {method}: only models that compute keypoints as '
                'TopdownPoseEstimator can be exported'
            )
    head = estimator.head if estimator.with_head else None
    if getattr(head, 'decoder', None) is None:
        raise ConfigError(
            f'{name} cannot be exported: its head, {type(head).__name__}, has no decoder (codec)'
        )


def _identity(outputs: Any, *_: Any) -> Any:
    return outputs


def crop_settings(cfg: Mapping) -> dict:
    """Return how the test pipeline of a config crops a person.

    Args:
        cfg: Config of a top-down model.

    Returns:
        `input_size`, width and height of the crops; `padding`, the factor by which the bounding box
        is enlarged; and `use_udp`, whether the transform maps the centers of the outer pixels onto
        each other (UDP) or their borders.
    """
    steps = {type_name(step): step for step in test_dataset(cfg)['pipeline']}
    affine = steps.get('TopdownAffine')
    if affine is None:
        raise ConfigError(
            f'the test pipeline has the transforms {", ".join(steps)}: expected TopdownAffine'
        )
    width, height = affine['input_size']
    return dict(
        input_size=(int(width), int(height)),
        padding=float(steps.get('GetBBoxCenterScale', {}).get('padding', 1.25)),
        use_udp=bool(affine.get('use_udp', False)),
    )
