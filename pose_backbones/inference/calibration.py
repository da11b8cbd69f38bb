"""Crops of people in the user's images, with which an int8 model is calibrated."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..deploy.crop_model import crop_settings
from ..errors import ConfigError
from .boxes import WHOLE_IMAGE, find_box_source
from .inputs import Failure, Inputs
from .loading import build_pipeline
from .predictors import PipelinePredictor

_MAX_CROPS_PER_IMAGE = 8  # so that few images with many people do not replace the others


def calibration_crops(
    estimator: Any,
    images: str | PathLike,
    boxes: str | PathLike | None = None,
    max_crops: int = 400,
) -> np.ndarray:
    """Cut people out of images, as the test pipeline of a top-down model does.

    Args:
        estimator: A top-down estimator with `cfg` and `dataset_meta`.
        images: A directory or glob pattern of images. If there are more than `max_crops`, these are
            evenly distributed.
        boxes: COCO file of detections or annotations. Default: the whole image is the bounding box
            of one person.
        max_crops: Largest number of crops.

    Returns:
        (N, H, W, 3), uint8, BGR. At most 8 crops are of one image.

    Raises:
        ConfigError: If `images` is a JSON file, or contains videos.
        DatasetError: If an image or the file of boxes cannot be read, or no box belongs to any
            image.
    """
    if Path(images).suffix == '.json':
        raise ConfigError(
            f'the calibration images are {fspath(images)}: expected a directory of images; pass '
            'the COCO file as boxes (--calibration-boxes)'
        )
    width, height = crop_settings(estimator.cfg)['input_size']
    files = Inputs(fspath(images)).files
    if files is None:
        raise ConfigError(f'{fspath(images)} contains videos: expected only images')
    inputs = Inputs(files[:: max(1, len(files) // max_crops)])
    source = find_box_source(WHOLE_IMAGE if boxes is None else boxes, inputs)
    predictor = PipelinePredictor(
        estimator, build_pipeline(estimator.cfg), torch.device('cpu'), half=False
    )
    crops: list[np.ndarray] = []
    for frame in inputs:
        if isinstance(frame, Failure):
            raise frame.error
        for box in source(frame).corners[:_MAX_CROPS_PER_IMAGE]:
            sample = predictor.prepare(frame, box)
            crops.append(sample['inputs'].permute(1, 2, 0).numpy())
    return np.stack(crops) if crops else np.zeros((0, height, width, 3), np.uint8)
