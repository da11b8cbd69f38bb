"""Tests of inputs: types, order, names, image IDs and errors."""

import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from pose_backbones.errors import DatasetError
from pose_backbones.inference import inputs as sources
from pose_backbones.inference.inputs import Failure, Frame, Inputs
from pose_backbones.inference.video_reader import is_video
from tests.helpers.pose_cases import make_image
from tests.helpers.video_cases import make_video, read_index


def write(path, seed: int = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), make_image(seed, 16, 12))
    return str(path)


def names(inputs) -> list[str]:
    return [item.name for item in inputs]


def test_directories_are_sorted_in_natural_order(tmp_path):
    for name in ('10.png', '9.png', 'b2.JPG', 'b10.jpg', 'B1.jpeg'):
        write(tmp_path / name)
    write(tmp_path / 'below/1.jpg')
    write(tmp_path / '._9.png')
    (tmp_path / 'notes.txt').write_text('nothing')
    (tmp_path / 'folder.jpg').mkdir()
    expected = [
        str(tmp_path / name) for name in ('9.png', '10.png', 'B1.jpeg', 'b2.JPG', 'b10.jpg')
    ]
    for source in (tmp_path, str(tmp_path)):
        inputs = Inputs(source)
        assert inputs.files == inputs.parts == expected
        assert inputs.count == inputs.announced_count() == 5
        assert [item.path for item in inputs] == names(inputs) == expected


def test_patterns_lists_and_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [write(tmp_path / name) for name in ('a/2.jpg', 'a/10.jpg', 'b/1.png', 'odd[1].jpg')]
    assert Inputs(f'{tmp_path}/**/*.jpg').parts == [*paths[:2], paths[3]]
    assert Inputs('a/*').parts == ['a/2.jpg', 'a/10.jpg']
    assert Inputs([paths[2], tmp_path / 'a']).parts == [paths[2], paths[0], paths[1]]
    assert Inputs((paths[3],)).parts == paths[3:]
    assert Inputs([]).parts == list(Inputs([])) == []


@pytest.mark.parametrize(
    ('files', 'ids'),
    [
        (('000000000785.jpg', '12.png'), [785, 12]),
        (('7.jpg', '07.jpg'), [1, 2]),
        (('7.jpg', 'a8.jpg'), [1, 2]),
        (('7.jpg', 'other/7.jpg'), [1, 2]),
    ],
)
def test_image_ids_are_numbers_in_file_names(tmp_path, files, ids):
    paths = [write(tmp_path / name) for name in files]
    assert [frame.image_id for frame in Inputs(paths)] == ids
    mixed = Inputs([*paths, make_image(0)])
    assert [frame.image_id for frame in mixed] == [1, 2, 3]


def test_batch_arrays_and_colour_order():
    images = np.stack([make_image(seed) for seed in range(3)])
    frames = list(Inputs(images[..., ::-1], rgb=True))
    assert [frame.name for frame in frames] == ['array 1', 'array 2', 'array 3']
    for frame, image in zip(frames, images):
        np.testing.assert_array_equal(frame.image, image)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert Inputs(images[0]).count == 1
    assert frames[0].path is frames[0].frame is frames[0].time is None
    assert not frames[0].live


def test_mixed_input_types(tmp_path):
    path = write(tmp_path / 'a.png')
    data = (tmp_path / 'a.png').read_bytes()
    items = list(
        Inputs(
            [
                path,
                data,
                io.BytesIO(data),
                Image.open(path),
                Image.new('L', (2, 2)),
                make_image(0, 16, 12),
            ]
        )
    )
    assert names(items) == [path, 'bytes 2', 'bytes 3', path, 'image 5', 'array 6']
    for item in items[:4] + items[5:]:
        np.testing.assert_array_equal(item.image, make_image(0, 16, 12))


def test_generators_are_consumed_lazily(tmp_path):
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield make_image(number, 8, 6)

    inputs = Inputs(endless())
    assert inputs.count is inputs.announced_count() is inputs.parts is None
    assert not inputs.may_prefetch
    frames = list(itertools.islice(inputs, 3))
    assert taken == [0, 1, 2]
    np.testing.assert_array_equal(frames[2].image, make_image(2, 8, 6))
    assert [frame.image_id for frame in frames] == [1, 2, 3]
    write(tmp_path / '3.png')
    mixed = list(Inputs(iter([tmp_path, make_image(0), f'{tmp_path}/none/*'])))
    assert [item.index for item in mixed] == [0, 1, 2]
    assert mixed[0].path == str(tmp_path / '3.png')
    assert mixed[2].name == 'input 3'
    assert 'no file matches' in str(mixed[2].error)


def test_unreadable_inputs_are_failures_in_order(tmp_path):
    paths = [write(tmp_path / f'{name}.png') for name in 'abcd']
    (tmp_path / 'b.png').write_bytes(b'nothing')
    (tmp_path / 'c.png').unlink()
    (tmp_path / 'e.png').symlink_to(tmp_path / 'nowhere')
    items = list(Inputs([*paths, tmp_path / 'e.png', np.zeros((3, 9, 9)), b'']))
    assert [type(item) for item in items] == [
        Frame,
        Failure,
        Failure,
        Frame,
        Failure,
        Failure,
        Failure,
    ]
    assert [item.index for item in items] == list(range(7))
    assert [item.part for item in items] == list(range(7))
    for item, message in zip(
        items[1:3] + items[4:],
        ('not a format', 'no such file', 'no such file', r'transpose', 'it is empty'),
    ):
        assert message in str(item.error)
    assert items[1].name == paths[1]
    assert not items[1].in_video
    in_folder = [type(item) for item in Inputs(tmp_path)]
    assert in_folder == [Frame, Failure, Frame, Failure]


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('a.jpg', r'no such file or directory: .*a\.jpg$'),
        (['a.jpg', 'b.jpg'], r'directory: .*a\.jpg, nor the 1 others'),
        ('*.jpg', r'no file matches the pattern .*\*\.jpg'),
        ('', r'contains no images or videos: .*\*\*/\*\.jpg'),
    ],
)
def test_missing_inputs_raise(tmp_path, name, message):
    inputs = [
        str(tmp_path / file_name) for file_name in (name if isinstance(name, list) else [name])
    ]
    with pytest.raises(DatasetError, match=message):
        Inputs(inputs)


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        (None, 'an input is a NoneType: expected a path, a directory'),
        ([['a.jpg']], 'an input is a list'),
        (True, 'an input is a bool'),
        ([3.5], 'an input is a float'),
    ],
)
def test_unsupported_input_types_raise(inputs, message):
    with pytest.raises(TypeError, match=message):
        Inputs(inputs)
    with pytest.raises(TypeError, match='rgb is 1: expected True or False'):
        Inputs('a.jpg', rgb=1)


def test_videos_and_images_are_mixed(tmp_path):
    clip = str(make_video(tmp_path / 'clip.mp4', 5, 10.0))
    image = write(tmp_path / '1.png')
    inputs = Inputs([image, clip, image])
    assert inputs.count is inputs.files is inputs.ids is None
    assert inputs.announced_count() == 7
    assert inputs.may_prefetch
    items = list(inputs)
    assert [item.index for item in items] == list(range(7))
    assert [item.part for item in items] == [0, 1, 1, 1, 1, 1, 2]
    assert [item.image_id for item in items] == list(range(1, 8))
    assert [item.frame for item in items] == [None, 0, 1, 2, 3, 4, None]
    assert items[3].name == f'{clip}, frame 2'
    assert items[3].path == clip
    assert items[3].time == pytest.approx(0.2)
    assert [read_index(item.image) for item in items[1:6]] == list(range(5))
    again = list(inputs.iterate_from(1, 1))
    assert [item.index for item in again] == list(range(1, 7))
    assert [item.part for item in again] == [1] * 5 + [2]
    late = list(Inputs(iter([image, clip, image])).iterate_from(2, 6))
    assert [(item.part, item.index) for item in late] == [(2, 6)]


def test_damaged_videos_are_failures(tmp_path):
    (tmp_path / 'no.mp4').write_bytes(b'nothing')
    clip = make_video(tmp_path / 'clip.avi', 20, codec='MJPG')
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    image = write(tmp_path / 'a.png')
    inputs = Inputs([tmp_path / 'no.mp4', clip, image])
    first, *frames, damage, last = inputs
    assert isinstance(first, Failure)
    assert first.in_video
    assert 'no.mp4' in str(first.error)
    assert isinstance(damage, Failure)
    assert (damage.part, damage.in_video) == (1, True)
    assert 0 < len(frames) < 20
    assert [item.index for item in (first, *frames, damage, last)] == list(range(len(frames) + 3))
    assert last.path == image


def test_cameras_are_live_and_not_opened_to_count(monkeypatch):
    opened = []

    class Camera:
        def __enter__(self):
            opened.append(self)
            return iter([(0, 0.5, make_image(0)), (1, 0.7, make_image(1))])

        def __exit__(self, *error):
            opened.remove(self)

    monkeypatch.setattr(sources, 'read_video', lambda number: Camera())
    inputs = Inputs(0)
    assert is_video(0)
    assert inputs.count is inputs.announced_count() is None
    assert not inputs.may_prefetch
    items = iter(inputs)
    first = next(items)
    assert opened
    assert (first.name, first.live, first.time, first.path) == (
        'camera 0, frame 0',
        True,
        0.5,
        None,
    )
    items.close()
    assert not opened


def test_image_urls(monkeypatch, tmp_path):
    data = open(write(tmp_path / 'a.png'), 'rb').read()
    image_url = 'https://example.org/pictures/a.png?size=2'

    def get(url):
        if url != image_url:
            raise OSError('not found')
        return data

    monkeypatch.setattr(sources.fileio, 'get', get)
    url_frame, failed_frame = Inputs([image_url, 'https://example.org/b.png'])
    np.testing.assert_array_equal(url_frame.image, make_image(0, 16, 12))
    assert url_frame.name == image_url
    assert str(failed_frame.error) == ('cannot read the image https://example.org/b.png: not found')
