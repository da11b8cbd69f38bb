"""Person detectors from MMDetection, as a source of bounding boxes."""

import logging
import reprlib
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DefaultScope

from ..checkpoints.loading import check_checkpoint_path, get_weights, read_checkpoint
from ..configs import building, load_config
from ..errors import CheckpointError, ConfigError, ImageError, closest, first_line
from ..utils.files import is_url
from ..utils.option_values import DETECTORS
from .loading import choose_device

_PERSON = 'person'


class PersonDetector:
    """Detect people with an MMDetection model.

    Args:
        model: A detector such as those of `mmdet.apis.init_detector`, with `cfg` and
            `dataset_meta['classes']`.
        nms_iou: IoU threshold of the non-maximum suppression that is applied to the person boxes
            after that of the model.

    Raises:
        ConfigError: If the model has no class `person`.
    """

    def __init__(self, model: BaseModel, nms_iou: float = 0.7):
        from mmdet.utils import get_test_pipeline_cfg
        from mmengine.dataset import Compose

        self.model = model.eval()
        self.nms_iou = nms_iou
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

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Detect the people in an image.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            (n, 5), float32: left, top, right, bottom in pixels, and the score, sorted by
            decreasing score.

        Raises:
            ImageError: If OpenCV cannot resize the image, for example because it is very long and
                narrow.
        """
        from torchvision.ops import nms

        try:
            data = self.pipeline(dict(img=image, img_id=0))
        except cv2.error as error:
            height, width = image.shape[:2]
            raise ImageError(
                f'the detector cannot process an image of {width} x {height} '
                f'pixels: {first_line(error)}'
            ) from error
        data['inputs'] = [data['inputs']]
        data['data_samples'] = [data['data_samples']]
        instances = self.model.test_step(data)[0].pred_instances
        people = instances[instances.labels == self.person]
        people = people[nms(people.bboxes, people.scores, self.nms_iou)]
        return torch.cat((people.bboxes, people.scores[:, None]), 1).float().cpu().numpy()


def load_detector(
    name: str, weights: str | None = None, device: str | torch.device | None = None
) -> PersonDetector:
    """Build a person detector with pretrained weights.

    Args:
        name: One of `DETECTORS`, or the path of an MMDetection config.
        weights: Path or URL of a checkpoint. Default: the released weights for `DETECTORS`, which
            are downloaded once.
        device: Device. Default: a GPU if available.

    Returns:
        The detector, for the argument `boxes` of `PoseInferencer`.

    Raises:
        ConfigError: If the detector is unknown or MMDetection is not installed.
        CheckpointError: If there are no weights, or they cannot be read or downloaded.
    """
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
        config, released = _released(name)
        weights = weights or released
    elif Path(name).is_file():
        config = load_config(name)
    else:
        raise ConfigError(
            f'unknown detector {name!r}: expected {", ".join(DETECTORS)}, or '
            f'an MMDetection config{closest(name, list(DETECTORS))}'
        )
    if weights is None:
        raise CheckpointError(
            f'the detector {name} has no weights: expected the path or URL of a checkpoint'
        )
    register_all_modules(init_default_scope=False)
    checkpoint = _read(name, weights)
    with building(config), DefaultScope.overwrite_default_scope('mmdet'):
        model = revert_sync_batchnorm(MODELS.build(config.model))
    model.cfg = config
    model.dataset_meta = dict(classes=_classes(checkpoint, weights) or get_classes('coco'))
    _load(model, get_weights(checkpoint), weights)
    return PersonDetector(model.to(choose_device(device)))


def _released(name: str) -> tuple[Config, str]:
    """Return a detector's config and the URL of its weights."""
    from mmengine.hub import get_config

    config = get_config(DETECTORS[name], pretrained=True)
    return config, config.model_path


def _read(name: str, weights: str) -> dict:
    try:
        return read_checkpoint(weights)
    except CheckpointError as error:
        if not is_url(weights):
            raise
        raise CheckpointError(
            f'the weights of the detector {name} cannot be downloaded: {weights} '
            f'({error.__cause__}). Without a network connection, download them on another '
            'machine and pass the file (--detector-weights FILE), or pass boxes instead'
        ) from error


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


def _load(model: torch.nn.Module, weights: dict, source: str) -> None:
    """Load weights strictly, except for the mean and std of the data preprocessor."""
    ignored = {'data_preprocessor.mean', 'data_preprocessor.std'}
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
