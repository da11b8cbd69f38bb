"""Person detectors from torchvision, as a source of bounding boxes."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.loading import check_checkpoint_path, get_weights
from ..errors import ConfigError, closest
from ..utils.option_values import TORCHVISION
from .detection import (
    ModelDetector,
    load_detector_weights,
    read_detector_weights,
    select_people,
    unusable_image,
)
from .loading import choose_device

_PERSON = 'person'
_SEGMENTING = ('maskrcnn', 'keypointrcnn')  # compute more than boxes
#: detectors whose published weights are for batch norms without epsilon
_WITHOUT_EPS = ('fasterrcnn_resnet50_fpn', 'retinanet_resnet50_fpn')


class TorchvisionDetector(ModelDetector[Tensor]):
    """Detect people with a detector of torchvision.

    torchvision pads the images of a batch to the largest of them, which would change the boxes.
    Images that have different sizes after they are resized are therefore in different batches.

    Args:
        model: A model of `torchvision.models.detection`, with `transform`.
        person: Label of people in the outputs of the model: 1 for COCO's categories.
        nms_iou, batch_size: See `ModelDetector`.

    Raises:
        TypeError, ValueError: If `batch_size` is invalid.
    """

    def __init__(
        self, model: nn.Module, person: int = 1, nms_iou: float = 0.7, batch_size: int | None = None
    ) -> None:
        super().__init__(model, nms_iou, batch_size)
        self.person = person
        self._transform: Any = model.transform
        self._padded_shape = cache(self._measure)

    def _prepare(self, image: np.ndarray) -> tuple[torch.Size, Tensor]:
        """Return the shape of the padded input, and the image, (3, H, W), RGB."""
        try:
            shape = self._padded_shape(*image.shape[:2])
        except (RuntimeError, ZeroDivisionError) as error:
            reason = ValueError('a side would have less than one pixel after it is resized')
            raise unusable_image(image, reason) from error
        rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).to(self.device)
        return shape, rgb.permute(2, 0, 1)

    def _measure(self, height: int, width: int) -> torch.Size:
        """Return the shape of an image after the transform, without computing it."""
        images, _ = self._transform([torch.empty((3, height, width), device='meta')])
        return images.tensors.shape

    @torch.inference_mode()
    def _predict(self, batch: list[Tensor]) -> list[np.ndarray]:
        found = []
        for detections in self.model([image.float() / 255 for image in batch]):
            is_person = detections['labels'] == self.person
            found.append(
                select_people(
                    detections['boxes'][is_person], detections['scores'][is_person], self.nms_iou
                )
            )
        return found


def is_of_torchvision(name: str) -> bool:
    """Return whether the name of a detector is that of one of torchvision."""
    return name.startswith(TORCHVISION)


def list_torchvision_detectors() -> list[str]:
    """Return the names of torchvision's detectors, with `torchvision::`."""
    from torchvision import models

    names = models.list_models(module=models.detection)
    return [f'{TORCHVISION}{name}' for name in names if not name.startswith(_SEGMENTING)]


def released_torchvision_detector(name: str) -> Any:
    """Return the published weights of a detector, a member of a `torchvision.models.WeightsEnum`.

    Args:
        name: Name with `torchvision::`.

    Raises:
        ConfigError: If there is no such detector, or torchvision is not installed.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise ConfigError(
            f'the detector {name} needs torchvision: pip install torchvision, or pass boxes '
            f'instead ({error})'
        ) from error
    names = list_torchvision_detectors()
    if name not in names:
        raise ConfigError(
            f'unknown detector {name!r}: expected {", ".join(names)}{closest(name, names)}'
        )
    return models.get_model_weights(name.removeprefix(TORCHVISION)).DEFAULT


def load_torchvision_detector(
    name: str, weights: str | None = None, device: str | torch.device | None = None
) -> TorchvisionDetector:
    """Build a detector of torchvision with pretrained weights; see `load_detector`.

    Args:
        name: Name with `torchvision::`, see `list_torchvision_detectors`.
        weights: Path or URL of a state dict for COCO's 91 categories. Default: the published
            weights, which are downloaded once.
        device: Device. Default: a GPU if available.

    Raises:
        ConfigError: If there is no such detector, or torchvision is not installed.
        CheckpointError: If the weights cannot be read, downloaded or loaded.
    """
    released = released_torchvision_detector(name)
    from torchvision import models

    if weights is not None:
        check_checkpoint_path(weights)
    weights = weights or released.url
    checkpoint = read_detector_weights(name, weights)
    name = name.removeprefix(TORCHVISION)
    model = models.get_model(name, weights=None, weights_backbone=None)
    if name in _WITHOUT_EPS:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    load_detector_weights(model, get_weights(checkpoint), weights)
    person = released.meta['categories'].index(_PERSON)
    return TorchvisionDetector(model.to(choose_device(device)), person)
