"""Tests that damaged, oversized and special files raise errors and do not end a run."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from pose_backbones import PoseInferencer
from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.errors import DatasetError
from pose_backbones.report.examples import _read
from pose_backbones.utils import images
from pose_backbones.utils.images import read_image
from tests.helpers.hostile_images import EPS, large, png, write_hostile
from tests.helpers.pose_cases import estimator, make_image
from tests.helpers.tools import tool_env


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp('hostile')
    return folder, write_hostile(folder)


def test_each_file_raises_one_error_with_its_path(hostile):
    folder, messages = hostile
    readable = {'wide.png', 'high.png'}  # They can be read as arrays, but no model accepts them.
    for name, message in messages.items():
        path = folder / name
        if name not in readable:
            with pytest.raises(DatasetError) as error:
                read_image(path)
            assert re.search(message, str(error.value)), name
            assert str(path) in str(error.value)
            assert '\n' not in str(error.value)
        with pytest.raises(DatasetError) as error:
            LoadImage().transform(dict(img_path=str(path)))
        assert str(path) in str(error.value), name
        assert '. Restore the file, or remove its entry from' in str(error.value)
        assert LoadImage(ignore_empty=True).transform(dict(img_path=str(path))) is None
        if name not in readable:
            assert _read(path) is None
    assert read_image(folder / 'wide.png').shape == (40, 65500, 3)


def test_memory_is_limited(hostile):
    """Run in a separate process, to measure its peak memory."""
    folder, _ = hostile
    code = """
import resource, sys
from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.utils.images import read_image
from pose_backbones.errors import DatasetError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for read in (read_image, lambda path: LoadImage().transform(
            dict(img_path=path))):
        try:
            read(path)
        except DatasetError:
            continue
        raise SystemExit(path)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    names = ('bomb.png', 'lie.png', 'lie2.png', 'device.jpg', 'fifo.jpg')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *(folder / name for name in names)],
        env=tool_env(),
        text=True,
        capture_output=True,
        timeout=100,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 100  # MiB


def test_pixel_limit_is_documented(monkeypatch, root, tmp_path):
    text = (root / 'docs/inference.md').read_text()
    assert f'{images.MAX_PIXELS:,}' in text
    assert f'{images.MAX_SIDE:,}' in text
    monkeypatch.setattr(images, 'MAX_PIXELS', 100 * 50)
    (tmp_path / 'a.png').write_bytes(png(100, 50))
    (tmp_path / 'b.png').write_bytes(png(100, 51))
    assert read_image(tmp_path / 'a.png').shape == (50, 100, 3)
    with pytest.raises(DatasetError, match='100 x 51 pixels: expected at most 5,000'):
        read_image(tmp_path / 'b.png')


def test_alpha_blending_in_strips_gives_same_image(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 30, 4), np.uint8)
    expected = read_image(image)
    monkeypatch.setattr('pose_backbones.utils.images._STRIP', 100)
    np.testing.assert_array_equal(read_image(image), expected)


@pytest.mark.parametrize('data', [EPS, b'\xc5\xd0\xd3\xc6' + bytes(28) + EPS])
def test_ghostscript_is_never_run(tmp_path, monkeypatch, data):
    started = []
    monkeypatch.setattr(
        EpsImagePlugin, 'Ghostscript', lambda *args, **options: started.append(args)
    )
    path = tmp_path / 'a.jpg'
    path.write_bytes(data)
    for kind in ('pillow', 'cv2'):
        with pytest.raises(DatasetError, match='a.jpg'):
            LoadImage(imdecode_backend=kind).transform(dict(img_path=str(path)))
    with pytest.raises(DatasetError, match='but the file is PostScript'):
        read_image(data)
    assert not started
    assert not {'EPS', 'FITS', 'WMF', 'PDF'} & set(images.FORMATS)
    Image.init()
    assert {'JPEG', 'PNG', 'TIFF', 'WEBP', 'GIF', 'BMP'} <= (set(images.FORMATS) & set(Image.OPEN))


def test_formats_of_opencv_can_be_used_for_training(tmp_path):
    path = tmp_path / 'a.hdr'
    image = make_image(0).astype(np.float32) / 255
    cv2.imwrite(str(path), image)
    sample = LoadImage(color_type='color').transform(dict(img_path=str(path)))
    assert sample['img'].shape == image.shape


def test_valid_images_between_hostile_ones_are_predicted(hostile, tmp_path):
    """Each image is used with its own boxes."""
    folder, _ = hostile
    valid = tmp_path / 'good.png'
    cv2.imwrite(str(valid), make_image(2))
    inputs, boxes = [], []
    for number, name in enumerate(('wide.png', 'fifo.jpg', 'high.png')):
        inputs += [str(folder / name), str(valid)]
        boxes.append([[0, 0, 20, 20]])
        boxes.append([[number, 0, 60, 40]])
    inputs.append(large(33000, 4))
    boxes.append([[0, 0, 4, 4], [0, 0, 3, 3]])
    pose = PoseInferencer(estimator(), batch_size=4)
    results = pose(inputs, boxes)
    predictions = list(results)
    assert [prediction.index for prediction in predictions] == [1, 3, 5]
    assert [prediction.boxes[0, 0] for prediction in predictions] == [0, 1, 2]
    expected = next(pose([str(valid)], [[[1, 0, 60, 40]]]))
    np.testing.assert_allclose(predictions[1].keypoints, expected.keypoints, atol=1e-3)
    assert [prediction.index for prediction in results.failures] == [0, 2, 4, 6]
    assert all('cannot' in str(prediction.error) for prediction in results.failures)
    with pytest.raises(DatasetError, match='wide.png'):
        list(pose(inputs[:1], boxes[:1], strict=True))


def test_image_is_skipped_if_a_transform_fails(monkeypatch):
    pose = PoseInferencer(estimator(), batch_size=4)
    original_prepare = pose.prepare

    def prepare(frame, *person):
        if frame.index == 1 and person[0][0] > 5:
            raise cv2.error('OpenCV(4) resize.cpp: error: (-215)\nmore')
        return original_prepare(frame, *person)

    monkeypatch.setattr(pose, 'prepare', prepare)
    results = pose([make_image(k) for k in range(3)], [[[0, 0, 30, 30], [9, 0, 30, 30]]] * 3)
    assert [(result.index, len(result)) for result in results] == [(0, 2), (2, 2)]
    (failure,) = results.failures
    assert str(failure.error) == (
        'cannot use the image array 2, of 80 x 60 pixels: OpenCV(4) resize.cpp: error: (-215)'
    )
