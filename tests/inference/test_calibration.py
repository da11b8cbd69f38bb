"""Crops of the user's images for the calibration of int8 models."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.inference.calibration import calibration_crops
from pose_backbones.inference.inputs import Inputs
from tests.helpers.pose_cases import BOTTOM_UP, estimator, make_image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f'{index + 1}.png'), make_image(index, 80, 60))
    return folder


def test_whole_images(images: Path) -> None:
    crops = calibration_crops(estimator(), images)
    assert (crops.shape, crops.dtype) == ((6, 64, 48, 3), np.uint8)
    pose = PoseInferencer(estimator())
    for crop, frame in zip(crops, Inputs(str(images)), strict=True):
        expected = pose.prepare(frame, np.array([0, 0, 80, 60], np.float32))['inputs']
        np.testing.assert_array_equal(crop, expected)


def test_boxes(images: Path, tmp_path: Path) -> None:
    boxes = [[5, 5, 20, 40], [30, 10, 20, 40], *[[1, 1, 30, 30]] * 10]
    detections = [
        dict(image_id=image_id, category_id=1, bbox=box, score=0.9)
        for image_id, chosen in ((1, boxes[:2]), (3, boxes))
        for box in chosen
    ]
    file = tmp_path / 'boxes.json'
    file.write_text(json.dumps(detections))
    crops = calibration_crops(estimator(), images, file)
    assert len(crops) == 2 + 8  # at most eight of an image
    frame = next(iter(Inputs(str(images))))
    expected = PoseInferencer(estimator()).prepare(frame, np.array([30, 10, 50, 50], np.float32))
    np.testing.assert_array_equal(crops[1], expected['inputs'])


def test_images_are_evenly_distributed(images: Path) -> None:
    crops = calibration_crops(estimator(), images, max_crops=3)
    np.testing.assert_array_equal(crops, calibration_crops(estimator(), images)[::2])


def test_errors(images: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r'a\.json: expected a directory of images; pass the COCO'
    ):
        calibration_crops(estimator(), tmp_path / 'a.json')
    with pytest.raises(ConfigError, match='expected TopdownAffine'):
        calibration_crops(estimator(BOTTOM_UP), images)
    with pytest.raises(DatasetError, match='contains no images'):
        calibration_crops(estimator(), tmp_path)
    (images / '2.png').write_bytes(b'no image')
    with pytest.raises(DatasetError, match=r'cannot read the image .*2\.png'):
        calibration_crops(estimator(), images)
    cv2.imwrite(str(images / '2.png'), make_image(1))
    (images / 'video.mp4').write_bytes(b'x')
    with pytest.raises(ConfigError, match='contains videos: expected only images'):
        calibration_crops(estimator(), images)
