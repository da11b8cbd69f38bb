"""What the person detectors of MMDetection and torchvision have in common."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..checkpoints.loading import read_checkpoint
from ..errors import CheckpointError, ImageError, first_line
from ..utils.arguments import check_positive_int
from ..utils.files import is_url

_GPU_BATCH = 8
_Sample = TypeVar('_Sample')


class ModelDetector(ABC, Generic[_Sample]):
    """Person detector with a PyTorch model, which runs on batches of inputs of the same shape.

    Subclasses prepare the inputs of the model and predict.

    Args:
        model: The model, which is set to evaluation mode.
        nms_iou: IoU threshold of the non-maximum suppression that is applied to the person boxes
            after that of the model.
        batch_size: Maximum number of images that `detect_batch` passes to the model at once.
            Default: 8 on a GPU, 1 on a CPU, where larger batches are hardly faster.

    Raises:
        TypeError, ValueError: If `batch_size` is invalid.
    """

    def __init__(self, model: nn.Module, nms_iou: float, batch_size: int | None) -> None:
        self.model = model.eval()
        self.nms_iou = nms_iou
        self.device = next(model.parameters()).device
        if batch_size is None:
            batch_size = 1 if self.device.type == 'cpu' else _GPU_BATCH
        check_positive_int('batch_size', batch_size)
        self.batch_size = batch_size

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Detect the people in an image.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            (n, 5), float32: left, top, right and bottom in pixels, and the score, sorted by
            decreasing score.

        Raises:
            ImageError: If the image cannot be resized, for example because it is very long and
                narrow.
        """
        (boxes,) = self.detect_batch([image])
        if isinstance(boxes, ImageError):
            raise boxes
        return boxes

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[np.ndarray | ImageError]:
        """Detect the people in several images, as one call for each image does.

        The boxes are the same as those of single images, up to rounding: 0.01 pixels and scores of
        0.0001 in float32. Images that are resized to different sizes are in different batches of
        the model.

        Args:
            images: (H, W, 3), uint8, BGR; the sizes may differ.

        Returns:
            The boxes of each image, or the error if it cannot be processed.
        """
        found: dict[int, np.ndarray | ImageError] = {}
        waiting: dict[Hashable, list[tuple[int, _Sample]]] = {}

        def finish(batch: list[tuple[int, _Sample]]) -> None:
            boxes = self._predict([sample for _, sample in batch])
            found.update(zip((index for index, _ in batch), boxes, strict=True))

        for index, image in enumerate(images):
            try:
                shape, sample = self._prepare(image)
            except ImageError as error:
                found[index] = error
                continue
            waiting.setdefault(shape, []).append((index, sample))
            if len(waiting[shape]) == self.batch_size:
                finish(waiting.pop(shape))
        for batch in waiting.values():
            finish(batch)
        return [found[index] for index in range(len(images))]

    @abstractmethod
    def _prepare(self, image: np.ndarray) -> tuple[Hashable, _Sample]:
        """Return the shape of the input of the model, and the input.

        Raises:
            ImageError: If the image cannot be processed.
        """

    @abstractmethod
    def _predict(self, batch: list[_Sample]) -> list[np.ndarray]:
        """Return the boxes, as `select_people` does, for each of several inputs of one shape."""


def select_people(boxes: Tensor, scores: Tensor, nms_iou: float) -> np.ndarray:
    """Apply the non-maximum suppression to the boxes of people.

    Args:
        boxes: (n, 4), left, top, right, bottom in pixels.
        scores: (n,).
        nms_iou: IoU threshold.

    Returns:
        (m, 5), float32: boxes with scores, sorted by decreasing score.
    """
    from torchvision.ops import nms

    kept = nms(boxes, scores, nms_iou)
    return torch.cat((boxes[kept], scores[kept, None]), 1).float().cpu().numpy()


def unusable_image(image: np.ndarray, error: Exception) -> ImageError:
    """Return the error for an image that the transforms of a detector cannot process."""
    height, width = image.shape[:2]
    return ImageError(
        f'the detector cannot process an image of {width} x {height} pixels: {first_line(error)}'
    )


def read_detector_weights(name: str, weights: str) -> dict:
    """Read the checkpoint of a detector.

    Raises:
        CheckpointError: If it cannot be read or downloaded.
    """
    try:
        return read_checkpoint(weights)
    except CheckpointError as error:
        if not is_url(weights):
            raise
        raise CheckpointError(
            f'the weights of the detector {name} cannot be downloaded: {weights} ({error}). Pass '
            'the path of a file (--detector-weights FILE), or boxes instead of a detector'
        ) from error


def load_detector_weights(
    model: nn.Module, weights: dict[str, Any], source: str, ignored: Collection[str] = ()
) -> None:
    """Load the weights of a detector strictly.

    Args:
        model: The detector.
        weights: State dict.
        source: Name of the weights for messages.
        ignored: Keys that may be missing or unexpected.

    Raises:
        CheckpointError: If keys or shapes do not match.
    """
    try:
        result = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        first = str(error).strip().split('\n')[-1].strip()
        raise CheckpointError(f'{source} does not fit this detector: {first}') from error
    mismatched = [
        key for key in (*result.missing_keys, *result.unexpected_keys) if key not in ignored
    ]
    if mismatched:
        raise CheckpointError(
            f'{source} does not fit this detector: {len(mismatched)} missing or unexpected keys, '
            f'such as {mismatched[0]}'
        )
    print_log(f'detector: {source}', 'current', logging.INFO)
