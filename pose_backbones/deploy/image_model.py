"""The computation of HRCoMer as one module: from images to people."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..codecs.multi_scale_joints import MultiScaleJoints, is_confident
from ..configs import test_dataset, type_name
from ..errors import ConfigError
from ..models.heads import HRCoMerHead
from ..models.layers import fuse
from ..models.pose_estimators import HRCoMerEstimator
from .crop_model import MAX_BATCH, Normalization

#: multiple of the sides of images, the largest stride of the network
STRIDE = 32
_MIN_SIDE = 2 * STRIDE
_MAX_SIDE = 1024 * STRIDE

#: poses (N, P, K, 2), joint scores (N, P, K), and scores of the people (N, P)
People = tuple[Tensor, Tensor, Tensor]


class ImageModel(nn.Module):
    """Normalize images, compute the outputs of HRCoMer, and decode the people in them.

    The keypoints are those of the estimator at one scale, except for rounding errors. An image has
    P people, the most confident ones; those that the estimator drops, since their confidence is at
    most `score_threshold`, have scores of 0. With the flip test, the images and the mirrored images
    are one batch.

    Args:
        estimator: An `HRCoMerEstimator` in evaluation mode, with `cfg` and `dataset_meta`. It is
            not changed, and its weights are shared.
        flip_test: Whether to average the outputs with those of the mirrored images. Default: as in
            the estimator.
        image_size: Width and height of the images that are exported. Default: any.

    Attributes:
        flip_test: Whether the flip test is used.
        image_size: Width and height of the images, None for any.
        max_people: Number of people, P.

    Raises:
        ConfigError: If the estimator is of another kind, or its codec, head, or test pipeline is
            not supported.
    """

    input_name = 'images'
    output_names = ('keypoints', 'scores', 'person_scores')

    def __init__(
        self,
        estimator: Any,
        flip_test: bool | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        _check_estimator(estimator)
        image_settings(estimator.cfg)
        if image_size is not None:
            check_image_size(image_size)
        default = (estimator.test_cfg or {}).get('flip_test', False)
        self.flip_test = bool(default if flip_test is None else flip_test)
        self.image_size = image_size
        self._flip_indices = estimator.dataset_meta.get('flip_indices')
        if self.flip_test and not self._flip_indices:
            raise ConfigError(
                'flip_test is True, but the metainfo of the dataset has no flip_indices: '
                'expected flip_test=False'
            )
        self.normalize = Normalization(estimator.data_preprocessor)
        fused: Any = fuse(estimator)
        self.backbone = fused.backbone
        self.head = fused.head
        self.max_people = self.head.decoder.max_num_people
        self._dtype = torch.float32
        self.eval()

    def forward(self, images: Tensor) -> People:
        """Estimate the poses of the people in images.

        Args:
            images: (N, H, W, 3), uint8, channels BGR, H and W multiples of 32 and at least 64.

        Returns:
            Keypoints (N, P, K, 2), x and y in pixels of the image, scores (N, P, K), and the means
            of the scores of each person (N, P), by decreasing confidence, all float32. The scores
            of people that the estimator drops are 0.
        """
        return self.decode(self.outputs(images))

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of strides 4, 8, 16 and 32, see `forward`.

        With the flip test, those of the mirrored images follow.
        """
        inputs = self.normalize(images).to(self._dtype)
        if self.flip_test:
            inputs = torch.cat((inputs, inputs.flip(-1)))
        return tuple(x.float() for x in self.backbone(inputs))

    def decode(self, outputs: tuple[Tensor, ...]) -> People:
        """Find and decode people in feature maps, see `forward`."""
        decoder: MultiScaleJoints = self.head.decoder
        flip_indices = self._flip_indices if self.flip_test else None
        candidates = self.head.forward_candidates(outputs, flip_indices, static=True)
        poses, scores, confidences = decoder.decode_queries(candidates, candidates['heatmaps'])
        found = is_confident(confidences, decoder.score_threshold)[..., None]
        scores = torch.where(found, scores, torch.zeros_like(scores))
        return poses, scores, scores.mean(-1)

    def in_precision(self, precision: str) -> 'ImageModel':
        """Return the model to write for a precision.

        In bf16, only the backbone computes in bfloat16: the head computes positions in pixels, for
        which half precision is too coarse. A runtime would convert the head, too.

        Args:
            precision: Key of `PRECISIONS`.
        """
        if precision != 'bf16':
            return self
        model = copy.copy(self)
        model._modules = dict(self._modules)
        model.backbone = copy.deepcopy(self.backbone).to(torch.bfloat16)
        model._dtype = torch.bfloat16
        return model

    @staticmethod
    def runtime_precision(precision: str) -> str:
        """Return the precision that is set in the runtime, see `in_precision`."""
        return 'fp32'

    def example(self) -> Tensor:
        """Return images to trace the model with."""
        width, height = self.image_size or (3 * STRIDE, 2 * STRIDE)
        return torch.zeros(2, height, width, 3, dtype=torch.uint8)

    def dynamic_shapes(self) -> dict[int, Any]:
        """Return the dimensions of the images that are not fixed, for `torch.export`."""
        shapes = {0: Dim('batch', min=1, max=MAX_BATCH)}
        if self.image_size is None:
            for axis, name in ((1, 'height'), (2, 'width')):
                cells = Dim(name, min=_MIN_SIDE // STRIDE, max=_MAX_SIDE // STRIDE)
                shapes[axis] = STRIDE * cells
        return shapes

    def input_shape(self) -> list[int]:
        """Return the shape of the images, -1 for dimensions that are not fixed."""
        width, height = self.image_size or (-1, -1)
        return [-1, height, width, 3]


def _check_estimator(estimator: Any) -> None:
    head = getattr(estimator, 'head', None)
    decoder = getattr(head, 'decoder', None)
    if (
        not isinstance(estimator, HRCoMerEstimator)
        or estimator.with_neck
        or not isinstance(head, HRCoMerHead)
        or not isinstance(decoder, MultiScaleJoints)
    ):
        raise ConfigError(
            f'{type(estimator).__name__} with {type(head).__name__} and {type(decoder).__name__} '
            'cannot be exported: expected HRCoMerEstimator with HRCoMerHead and MultiScaleJoints, '
            'and no neck'
        )
    if decoder.max_num_people > _smallest_queries():
        raise ConfigError(
            f'max_num_people is {decoder.max_num_people}: expected at most {_smallest_queries()}, '
            f'the number of queries of an image of {_MIN_SIDE}x{_MIN_SIDE} pixels'
        )


def _smallest_queries() -> int:
    return sum((_MIN_SIDE // stride) ** 2 for stride in (8, 16, 32))


def check_image_size(size: Sequence[int]) -> None:
    """Check the fixed size of images.

    Args:
        size: Width and height.

    Raises:
        ConfigError: If a side is not a multiple of 32, or too small or too large.
    """
    for side in size:
        if side % STRIDE or not _MIN_SIDE <= side <= _MAX_SIDE:
            raise ConfigError(
                f'--image-size is {size[0]}x{size[1]} (width x height): expected multiples of '
                f'{STRIDE} from {_MIN_SIDE} to {_MAX_SIDE}'
            )


def resize_step(cfg: Mapping) -> tuple[int, dict]:
    """Return how the test pipeline of a config resizes images.

    Args:
        cfg: Config of a bottom-up model.

    Returns:
        The index of the transform in the pipeline, and its config.

    Raises:
        ConfigError: If there is no transform that can be reproduced with an exported model.
    """
    steps = test_dataset(cfg)['pipeline']
    kinds = [type_name(step) for step in steps]
    for index, kind in enumerate(kinds):
        if kind in ('ResizeAlign', 'ResizePad'):
            return index, steps[index]
    raise ConfigError(
        f'the test pipeline has the transforms {", ".join(kinds)}: expected ResizeAlign'
    )


def fixed_size_step(size: Sequence[int]) -> dict:
    """Return the transform that resizes images to a fixed width and height."""
    return dict(type='pose_backbones.ResizePad', input_size=tuple(size))


def image_settings(cfg: Mapping) -> dict:
    """Return how the test pipeline of a config resizes images.

    Args:
        cfg: Config of a bottom-up model.

    Returns:
        `image_size`, width and height of the images, or None if they differ; and if they do,
        `short_side` and `size_divisor`, see `ResizeAlign`.

    Raises:
        ConfigError: If images are tested at several scales, or their sides are not multiples of 32.
    """
    _, step = resize_step(cfg)
    if 'short_side' not in step:
        return dict(image_size=list(step['input_size']), short_side=None, size_divisor=None)
    factors = tuple(step.get('scale_factors', (1,)))
    if len(factors) > 1:
        raise ConfigError(
            f'the test pipeline has scale_factors={factors} (ResizeAlign): expected a single '
            'scale, since tests at several scales cannot be exported; export the config without '
            'scale_factors, or with scale_factors=(1,)'
        )
    divisor = step.get('size_divisor', 64)
    if divisor % STRIDE:
        raise ConfigError(
            f'size_divisor is {divisor} (ResizeAlign): expected a multiple of {STRIDE}, the '
            'largest stride of the network'
        )
    short_side = -(-step['short_side'] // divisor) * divisor
    return dict(image_size=None, short_side=short_side, size_divisor=divisor)
