"""Tests that images are read as a viewer shows them, from any kind of file."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pose_backbones.errors import DatasetError
from pose_backbones.utils.images import describe_source, image_from_array, read_image, write_image
from tests.helpers.pose_cases import make_image

WHITE = 255


def encode(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def to_pil(image: np.ndarray) -> Image.Image:
    """Convert a BGR array to a PIL image."""
    return Image.fromarray(image[..., ::-1])


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp'])
def test_read_image_matches_opencv(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    cv2.imwrite(str(path), make_image(0))
    expected = cv2.imread(str(path))
    assert np.ptp(expected) > 100
    data = path.read_bytes()
    for source in (path, str(path), data, bytearray(data), io.BytesIO(data)):
        image_read = read_image(source)
        assert image_read.dtype == np.uint8
        assert image_read.flags.c_contiguous
        np.testing.assert_array_equal(image_read, expected)
    with open(path, 'rb') as file:
        np.testing.assert_array_equal(read_image(file), expected)


def test_grey_jpeg_with_other_suffix(tmp_path):
    path = tmp_path / 'grey.dat'
    path.write_bytes(encode(to_pil(make_image(0)).convert('L'), 'JPEG'))
    image_read = read_image(path)
    np.testing.assert_array_equal(image_read, cv2.imread(str(path)))
    assert (image_read[..., 0] == image_read[..., 2]).all()


#: EXIF orientation → function that turns the stored image upright
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
def test_exif_orientation_is_applied(kind, orientation):
    stored = make_image(1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = dict(JPEG=dict(quality=95), WEBP=dict(lossless=True))
    data = encode(to_pil(stored), kind, exif=exif, **options.get(kind, {}))
    plain = encode(to_pil(stored), kind, **options.get(kind, {}))
    expected = UPRIGHT[orientation](read_image(plain))
    np.testing.assert_array_equal(read_image(data), expected)
    np.testing.assert_array_equal(read_image(Image.open(io.BytesIO(data))), expected)


def test_16_bit_images_keep_high_byte():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 2**16, (9, 7), np.uint16)
    grey[0, :3] = 0, 255, 2**16 - 1
    expected = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, 2)
    for suffix in ('.png', '.tiff'):
        data = cv2.imencode(suffix, grey)[1].tobytes()
        np.testing.assert_array_equal(read_image(data), expected)
    np.testing.assert_array_equal(image_from_array(grey), expected)
    bgr = rng.integers(0, 2**16, (9, 7, 3), np.uint16)
    for suffix in ('.png', '.tiff'):
        data = cv2.imencode(suffix, bgr)[1].tobytes()
        np.testing.assert_array_equal(read_image(data), bgr >> 8)


def test_transparency_is_blended_with_white():
    colours, alpha = make_image(2, 4, 3), np.full((3, 4), 255, np.uint8)
    alpha[0], alpha[1] = 0, 128
    image = to_pil(colours).convert('RGBA')
    image.putalpha(Image.fromarray(alpha))
    expected = colours.astype(float)
    expected[0] = WHITE
    expected[1] = (expected[1] * 128 + WHITE * 127) / 255
    image_read = read_image(encode(image, 'PNG'))
    np.testing.assert_array_equal(image_read, np.rint(expected))
    bgra = np.dstack((colours, alpha))
    np.testing.assert_array_equal(read_image(bgra), image_read)
    np.testing.assert_array_equal(read_image(np.asarray(image), rgb=True), image_read)


def test_transparent_grey_image():
    image = Image.new('LA', (2, 1))
    image.putdata([(100, 255), (100, 0)])
    image_read = read_image(encode(image, 'PNG'))
    assert image_read.tolist() == [[[100] * 3, [255] * 3]]


def test_palette_with_transparent_color():
    image = Image.new('P', (3, 1))
    image.putpalette([200, 10, 20, 0, 0, 0, 1, 2, 3])
    image.putdata([0, 1, 2])
    data = encode(image, 'PNG', transparency=1)
    assert read_image(data).tolist() == [[[20, 10, 200], [255] * 3, [3, 2, 1]]]


def test_cmyk_jpeg():
    data = encode(to_pil(make_image(3)).convert('CMYK'), 'JPEG', quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
    image_read = read_image(data)
    np.testing.assert_array_equal(image_read, expected[..., ::-1])
    assert np.abs(image_read.astype(int) - make_image(3)).mean() < 8


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        (Image.new('1', (1, 1), 1), 255),
        (Image.fromarray(np.full((1, 1), 300, np.int32)), 1),
        (Image.fromarray(np.full((1, 1), 0.5, np.float32)), 128),
        (Image.fromarray(np.full((1, 1), 40, np.float32)), 40),
    ],
)
def test_rare_pixel_formats(image, expected):
    assert read_image(image).tolist() == [[[expected] * 3]]
    kind = 'PNG' if image.mode == '1' else 'TIFF'
    assert read_image(encode(image, kind)).tolist() == [[[expected] * 3]]


def test_first_frame_of_animation_is_read():
    frames = [to_pil(make_image(seed)).convert('P') for seed in (4, 5)]
    data = encode(frames[0], 'GIF', save_all=True, append_images=frames[1:])
    expected = np.asarray(frames[0].convert('RGB'))[..., ::-1]
    np.testing.assert_array_equal(read_image(data), expected)


def test_first_image_of_mpo_file_is_read():
    first = cv2.imencode('.jpg', make_image(6))[1].tobytes()
    both = encode(
        to_pil(make_image(6)), 'MPO', save_all=True, append_images=[to_pil(make_image(7))]
    )
    assert Image.open(io.BytesIO(both)).format == 'MPO'
    expected = cv2.imdecode(np.frombuffer(both, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(both), expected)
    assert np.abs(expected.astype(int) - read_image(first)).mean() < 8


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp'])
@pytest.mark.parametrize('part', [0.2, 0.6, 0.95])
def test_truncated_files_raise(tmp_path, suffix, part):
    data = cv2.imencode(suffix, make_image(0, 200, 160))[1].tobytes()
    path = tmp_path / f'half{suffix}'
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(DatasetError, match=f'cannot read the image .*half{suffix}: '):
        read_image(path)


def test_truncated_jpeg_with_complete_thumbnail_raises():
    """The thumbnail ends with the same marker as the image."""
    exif = Image.Exif()
    thumbnail = cv2.imencode('.jpg', make_image(1, 16, 12))[1].tobytes()
    data = encode(to_pil(make_image(0, 200, 160)), 'JPEG', exif=exif)
    segment = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    data = data[:2] + segment + data[2:]
    assert read_image(data).shape == (160, 200, 3)
    with pytest.raises(DatasetError, match='cannot read the image bytes'):
        read_image(data[:-200])


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'it is empty'),
        (b'just some words', 'not a format that Pillow supports.*convert the file to JPEG'),
        (b'\xff\xd8\xff\xe0', 'cannot read the image bytes'),
        (
            b'\x89PNG\r\n\x1a\n'
            + struct.pack('>I', 13)
            + b'IHDR'
            + struct.pack('>IIBBBBB', 10**6, 10**6, 8, 2, 0, 0, 0)
            + struct.pack('>I', zlib.crc32(b'IHDR')),
            'cannot read the image bytes',
        ),
    ],
)
def test_data_that_is_not_an_image_raises(data, message):
    with pytest.raises(DatasetError, match=message):
        read_image(data)


def test_missing_file_or_directory_raises(tmp_path):
    with pytest.raises(DatasetError, match=r'a\.jpg: there is no such file'):
        read_image(tmp_path / 'a.jpg')
    with pytest.raises(DatasetError, match='directory'):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        (np.array([[True, False]]), [255, 0]),
        (np.array([[0, 256, 65535]], np.uint16), [0, 1, 255]),
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[np.nan, 1.0]], np.float16), [0, 255]),
        (np.array([[[7], [9]]], np.uint8), [7, 9]),
    ],
)
def test_arrays_of_other_dtypes_are_converted(image, expected):
    image_read = read_image(image)
    assert image_read.dtype == np.uint8
    assert image_read.tolist() == [[[value] * 3 for value in expected]]


def test_color_order_of_arrays():
    image = make_image(0)
    assert np.shares_memory(read_image(image), image)
    np.testing.assert_array_equal(read_image(image[..., ::-1], rgb=True), image)
    np.testing.assert_array_equal(read_image(to_pil(image)), image)
    assert read_image(image[::2, ::2]).flags.c_contiguous


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        (
            np.zeros((3, 40, 50), np.uint8),
            ValueError,
            r'shape \(3, 40, 50\): expected .*use image.transpose\(1, 2, 0\)',
        ),
        (np.zeros((0, 5, 3), np.uint8), ValueError, 'at least one pixel'),
        (np.zeros((4, 5, 2), np.uint8), ValueError, r'shape \(4, 5, 2\)'),
        (
            np.zeros((4, 5), np.int64),
            ValueError,
            r'type int64: expected uint8.*astype\(numpy.uint8\)',
        ),
        (np.full((4, 5), 200.0), ValueError, 'from 200 to 200: expected 0 to 1'),
        (7, TypeError, 'the input is a int: expected a path'),
        (io.StringIO('x'), TypeError, "returns str: expected bytes.*mode 'rb'"),
    ],
)
def test_invalid_inputs_raise(image, error, message):
    with pytest.raises(error, match=message):
        read_image(image)


def test_describe_source_names_inputs(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(encode(to_pil(make_image(0)), 'PNG'))
    with open(path, 'rb') as file, Image.open(path) as image:
        assert describe_source(file) == describe_source(image) == describe_source(path) == str(path)
    assert describe_source(np.zeros(1)) == 'array'
    assert describe_source(b'') == describe_source(io.BytesIO()) == 'bytes'
    assert describe_source(Image.new('L', (1, 1))) == 'image'


def test_write_image_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    write_image(path, np.zeros((4, 5, 3), np.uint8))
    before = path.read_bytes()
    real = type(path).write_bytes

    def full(self, data):
        real(self, data[:10])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(type(path), 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        write_image(path, np.ones((4, 5, 3), np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
