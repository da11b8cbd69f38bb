"""`LoadImage` reads the same pixels as inference."""

import numpy as np
import pytest
from PIL import Image

from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.utils.images import read_image


@pytest.mark.parametrize('name', ['cut-out.png', 'rotated.webp', 'rotated.jpg', 'deep.png'])
def test_pixels_are_those_of_inference(tmp_path, name):
    gradient = np.linspace(0, 255, 80 * 120 * 3).reshape(80, 120, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / name
    if name == 'cut-out.png':
        alpha = np.full((80, 120, 1), 255, np.uint8)
        alpha[:40] = 0
        Image.fromarray(np.concatenate([gradient, alpha], 2)).save(path)
    elif name == 'deep.png':
        Image.fromarray((gradient[..., 0].astype(np.uint16)) << 8).save(path)
    else:
        Image.fromarray(gradient).save(path, exif=exif, quality=95)
    loaded = LoadImage().transform(dict(img_path=str(path)))
    np.testing.assert_array_equal(loaded['img'], read_image(path))
    assert loaded['img_shape'] == loaded['ori_shape'] == loaded['img'].shape[:2]
    assert loaded['img_shape'] == ((120, 80) if 'rotated' in name else (80, 120))
    if name == 'cut-out.png':
        assert (loaded['img'][:40] == 255).all()


def test_float_images(tmp_path):
    path = tmp_path / 'image.png'
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    loaded = LoadImage(to_float32=True).transform(dict(img_path=str(path)))['img']
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, read_image(path))
