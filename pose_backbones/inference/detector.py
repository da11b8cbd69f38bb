"""Person detectors from MMDetection, as a source of bounding boxes."""

import reprlib
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DefaultScope

from ..checkpoints.loading import check_checkpoint_path, get_weights
from ..configs import building, load_config
from ..errors import CheckpointError, ConfigError, closest
from ..utils.option_values import DETECTORS, TORCHVISION
from .detection import (
    ModelDetector,
    load_detector_weights,
    read_detector_weights,
    select_people,
    unusable_image,
)
from .loading import choose_device
from .torchvision_detector import TorchvisionDetector, is_of_torchvision, load_torchvision_detector

_PERSON = 'person'


class PersonDetector(ModelDetector[dict]):
    """Detect people with an MMDetection model.

    Args:
        model: A detector such as those of `mmdet.apis.init_detector`, with `cfg` and
            `dataset_meta['classes']`.
        nms_iou, batch_size: See `ModelDetector`.

    Raises:
        ConfigError: If the model has no class `person`.
        TypeError, ValueError: If `batch_size` is invalid.
    """

    model: BaseModel

    def __init__(self, model: BaseModel, nms_iou: float = 0.7, batch_size: int | None = None):
        from mmdet.utils import get_test_pipeline_cfg
        from mmengine.dataset import Compose

        super().__init__(model, nms_iou, batch_size)
        classes = [str(name) for name in model.dataset_meta['classes']]
        if _PERSON not in classes:
            raise ConfigError(
                f'the detector has the classes {", ".join(classes[:8])}'
                f'{"…" if len(classes) > 8 else ""}: expected one with the '
                f'class {_PERSON!r}'
            )
        self.person = classes.index(_PERSON)
        steps = get_test_pipeline_cfg(model.cfg.copy())
        steps[0].type = 'mmdet.LoadImageFromNDArray'
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.pipeline = Compose(steps)

    def _prepare(self, image: np.ndarray) -> tuple[torch.Size, dict]:
        """Return the shape of the input of the model, and the input."""
        try:
            data = self.pipeline(dict(img=image, img_id=0))
        except cv2.error as error:
            raise unusable_image(image, error) from error
        return data['inputs'].shape, data

    @torch.inference_mode()
    def _predict(self, batch: list[dict]) -> list[np.ndarray]:
        data = {name: [sample[name] for sample in batch] for name in ('inputs', 'data_samples')}
        found = []
        for sample in self.model.test_step(data):
            people = sample.pred_instances
            people = people[people.labels == self.person]
            found.append(select_people(people.bboxes, people.scores, self.nms_iou))
        return found


def load_detector(
    name: str, weights: str | None = None, device: str | torch.device | None = None
) -> PersonDetector | TorchvisionDetector:
    """Build a person detector with pretrained weights.

    Args:
        name: One of `DETECTORS`; `torchvision::` and the name of a detector of torchvision, such
            as `'torchvision::fasterrcnn_mobilenet_v3_large_320_fpn'`; or the path of an MMDetection
            config.
        weights: Path or URL of a checkpoint. Default: the released weights of a named detector,
            which are downloaded once.
        device: Device. Default: a GPU if available.

    Returns:
        The detector, for the argument `boxes` of `PoseInferencer`.

    Raises:
        ConfigError: If the detector is unknown, or the package that it is from is not installed.
        CheckpointError: If there are no weights, or they cannot be read or downloaded.
    """
    if is_of_torchvision(name):
        return load_torchvision_detector(name, weights, device)
    try:
        from mmdet.evaluation import get_classes
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
    except ImportError as error:
        raise ConfigError(
            f'a detector needs MMDetection: pip install mmdet, or pass boxes instead ({error})'
        ) from error
    if weights is not None:
        check_checkpoint_path(weights)
    if name in DETECTORS:
        config, released = released_detector(name)
        weights = weights or released
    elif Path(name).is_file():
        config = load_config(name)
    else:
        raise ConfigError(
            f'unknown detector {name!r}: expected {", ".join(DETECTORS)}, '
            f'{TORCHVISION}NAME, or an MMDetection config{closest(name, list(DETECTORS))}'
        )
    if weights is None:
        raise CheckpointError(
            f'the detector {name} has no weights: expected the path or URL of a checkpoint'
        )
    register_all_modules(init_default_scope=False)
    checkpoint = read_detector_weights(name, weights)
    with building(config), DefaultScope.overwrite_default_scope('mmdet'):
        model = revert_sync_batchnorm(MODELS.build(config.model))
    model.cfg = config
    model.dataset_meta = dict(classes=_classes(checkpoint, weights) or get_classes('coco'))
    load_detector_weights(
        model,
        get_weights(checkpoint),
        weights,
        ignored={'data_preprocessor.mean', 'data_preprocessor.std'},
    )
    return PersonDetector(model.to(choose_device(device)))


def released_detector(name: str) -> tuple[Config, str]:
    """Return a detector's config and the URL of its weights.

    Args:
        name: One of `DETECTORS`. MMDetection has to be installed.
    """
    from mmengine.hub import get_config

    config = get_config(DETECTORS[name], pretrained=True)
    return config, config.model_path


def _classes(checkpoint: dict, source: str) -> list[str] | None:
    """Return the class names of an MMDetection checkpoint (2.x or 3.x), or None."""
    meta = checkpoint.get('meta')
    for entries in (meta.get('dataset_meta'), meta) if isinstance(meta, dict) else ():
        if not isinstance(entries, dict):
            continue
        for key in ('classes', 'CLASSES'):
            names = entries.get(key)
            if isinstance(names, str):  # of one class, as MMDetection allows
                names = [names]
            if names is not None and not (
                isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
            ):
                raise CheckpointError(
                    f'{source} has the {key} {reprlib.repr(names)} in its meta: expected names'
                )
            if names:
                return list(names)
    return None
