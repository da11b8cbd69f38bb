"""Tests of bounding boxes from files, arrays and detectors."""

import json

import cv2
import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.inference import box_file
from pose_backbones.inference.box_file import BoxFile
from pose_backbones.inference.boxes import find_box_source
from pose_backbones.inference.inputs import Inputs
from tests.helpers.pose_cases import make_image


def boxes_of(boxes, inputs, **options) -> list[tuple[list, list]]:
    """Return corners and scores of each image."""
    inputs = Inputs(inputs)
    source = find_box_source(boxes, inputs, **options)
    image_boxes = map(source, inputs)
    return [(entry.corners.tolist(), entry.scores.tolist()) for entry in image_boxes]


IMAGE = make_image(0)  # 80 x 60


@pytest.mark.parametrize(
    ('boxes', 'options', 'corners', 'scores'),
    [
        ('whole-image', {}, [[0, 0, 80, 60]], [1]),
        (np.array([[1, 2, 30, 40]]), {}, [[1, 2, 30, 40]], [1]),
        (
            [[1, 2, 30, 40], [5, 6, 7, 8]],
            dict(box_format='xywh'),
            [[1, 2, 31, 42], [5, 6, 12, 14]],
            [1, 1],
        ),
        ([[1, 2, 30, 40, 0.5], [5, 6, 7, 8, 0.25]], dict(min_score=0.3), [[1, 2, 30, 40]], [0.5]),
        ([1, 2, 30, 40], {}, [[1, 2, 30, 40]], [1]),
        ([[[1, 2, 30, 40]]], {}, [[1, 2, 30, 40]], [1]),
        ([np.array([[1, 2, 30, 40]])], {}, [[1, 2, 30, 40]], [1]),
        ([[-9, -8, 99, 98]], {}, [[-9, -8, 99, 98]], [1]),
        ([], {}, [], []),
        ([None], {}, [], []),
        (np.zeros((0, 5)), {}, [], []),
        (lambda image: [[1, 2, *image.shape[1::-1], 0.5]], {}, [[1, 2, 80, 60]], [0.5]),
        (lambda image: [1, 2, 3, 4], dict(box_format='xywh'), [[1, 2, 4, 6]], [1]),
        (iter([[[1, 2, 30, 40]]]), {}, [[1, 2, 30, 40]], [1]),
    ],
)
def test_boxes_of_one_image(boxes, options, corners, scores):
    assert boxes_of(boxes, IMAGE, **options) == [(corners, scores)]


NAN = float('nan')


@pytest.mark.parametrize(
    'box',
    [
        [NAN, 2, 30, 40],
        [1, 2, float('inf'), 40],
        [1e300, 2, 3, 4],
        [5, 5, 5, 9],
        [9, 9, 5, 12],
        [80, 0, 90, 10],
        [0, 60, 10, 90],
        [-9, 0, 0, 10],
        [0, -9, 10, 0],
        [1, 2, 30, 40, NAN],
    ],
)
@pytest.mark.filterwarnings('error')
def test_boxes_outside_the_image_are_skipped_with_a_warning(box, mmengine_log):
    box = box if len(box) == 5 else [*box, 1]
    (image_boxes,) = boxes_of([box, [1, 2, 3, 4, 0.5]], IMAGE)
    assert image_boxes == ([[1, 2, 3, 4]], [0.5])
    (message,) = mmengine_log.messages
    assert f'array 1: skipped the box {box[0]:g}, {box[1]:g}, ' in message.replace(
        'inf, ', '1e+300, ' if box[0] == 1e300 else 'inf, '
    )
    assert '80 x 60 pixels' in message


def test_boxes_from_a_mapping(tmp_path):
    paths = [str(tmp_path / f'{name}.png') for name in ('a', 'b', 'c', '9')]
    for path in paths:
        cv2.imwrite(path, IMAGE)
    boxes = {
        paths[0]: [[1, 2, 3, 4]],
        'b.png': np.array([[5, 6, 7, 8.0]]),
        tmp_path / '9.png': None,
    }
    corners = [entry[0] for entry in boxes_of(boxes, paths)]
    assert corners == [[[1, 2, 3, 4]], [[5, 6, 7, 8]], [], []]
    assert boxes_of({9: [[1, 2, 3, 4]]}, paths[3])[0][0] == [[1, 2, 3, 4]]
    assert boxes_of({2: [[1, 2, 3, 4]], 'array 1': [[0, 0, 5, 5]]}, [IMAGE, IMAGE]) == [
        ([[0, 0, 5, 5]], [1]),
        ([[1, 2, 3, 4]], [1]),
    ]
    with pytest.raises(
        DatasetError,
        match='boxes has boxes of 1 images, but '
        r'of none of the 4 inputs.*did you mean b\.jpg',
    ):
        boxes_of({'b.jpg': []}, paths)


def test_sequences_have_entries_for_unreadable_images(tmp_path):
    boxes = [[[k, 0, 50, 50]] for k in range(1, 4)]
    for given in (boxes, np.array(boxes), iter(boxes), (b for b in boxes)):
        inputs = Inputs([IMAGE, b'no image', IMAGE])
        source = find_box_source(given, inputs)
        first, _, last = inputs
        assert source(first).corners.tolist() == boxes[0]
        assert source(last).corners.tolist() == boxes[2]


@pytest.mark.parametrize(
    ('boxes', 'inputs', 'error', 'message'),
    [
        (
            [[[1, 2, 3, 4]]],
            [IMAGE] * 2,
            ValueError,
            'boxes has 1 entries for 2 images: expected one for each',
        ),
        (
            np.zeros((3, 4)),
            [IMAGE] * 2,
            ValueError,
            r'boxes has the shape \(3, 4\): expected a list of such arrays',
        ),
        (
            np.zeros((2, 1, 3)),
            [IMAGE] * 2,
            ValueError,
            r'boxes of array 1 have the shape \(1, 3\): expected \(n, 4\)',
        ),
        ([[1, 2, 3]], IMAGE, ValueError, r'have the shape \(1, 3\)'),
        ([['a', 2, 3, 4]], IMAGE, TypeError, 'boxes of array 1 are .*expected numbers'),
        (
            iter([[]]),
            [IMAGE] * 2,
            ValueError,
            'no boxes for array 2: expected an entry for each image, got 1',
        ),
        (3, IMAGE, TypeError, "boxes is a int: expected 'whole-image', a COCO"),
        ('nowhere.json', IMAGE, DatasetError, 'the boxes nowhere.json: there is no such file'),
    ],
)
def test_invalid_boxes_raise(boxes, inputs, error, message):
    with pytest.raises(error, match=message):
        boxes_of(boxes, inputs)


def test_invalid_options_raise():
    with pytest.raises(ValueError, match="box_format is 'cxcywh': expected 'xyxy' or 'xywh'"):
        boxes_of('whole-image', IMAGE, box_format='cxcywh')
    with pytest.raises(ValueError, match='min_score is nan'):
        boxes_of('whole-image', IMAGE, min_score=NAN)


@pytest.fixture
def files(tmp_path):
    """Return a function that writes images and a COCO file, and returns their paths."""

    def write(names, content):
        paths = []
        for name in names:
            path = tmp_path / 'images' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), IMAGE)
            paths.append(str(path))
        file = tmp_path / 'boxes.json'
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return paths, str(file)

    return write


def detection(image_id, x, score=0.5, **more) -> dict:
    return dict(image_id=image_id, bbox=[x, 2, 10, 20], score=score, **more)


def match_boxes(paths, file, **options) -> list[tuple]:
    """Return ID and left edges of each image."""
    inputs = Inputs(paths)
    source = find_box_source(file, inputs, **options)
    image_boxes = map(source, inputs)
    return [(entry.image_id, entry.corners[:, 0].tolist()) for entry in image_boxes]


@pytest.mark.parametrize(
    'names',
    [
        ['000000000785.jpg', '000000001000.jpg'],
        ['785.png', '1000.png'],
        ['COCO_val2014_000000000785.jpg', 'COCO_val2014_000000001000.jpg'],
    ],
)
def test_detections_are_matched_by_image_id_in_the_file_name(names, files):
    paths, file = files(
        names,
        [
            detection(1000, 5),
            detection(785, 1, 0.9, category_id=1),
            detection(785, 2, category_id=3),
            detection(785, 3, 0.1),
        ],
    )
    assert match_boxes(paths, file) == [(785, [1, 3]), (1000, [5])]
    assert match_boxes(paths, file, min_score=0.3) == [(785, [1]), (1000, [5])]
    frame = next(iter(Inputs(paths)))
    boxes = find_box_source(file, Inputs(paths))(frame)
    assert boxes.corners.tolist() == [[1, 2, 11, 22], [3, 2, 13, 22]]
    np.testing.assert_allclose(boxes.scores, [0.9, 0.1])


def test_file_without_a_number_does_not_change_other_ids(files):
    paths, file = files(
        ['785.png', 'other.png', '0.png'], [detection(785, 1), detection(2, 4), detection(0, 6)]
    )
    assert match_boxes(paths, file) == [(785, [1]), (None, []), (0, [6])]


def test_detections_are_matched_by_file_name(files):
    paths, file = files(['a.png', 'b.png'], [detection('b.png', 1), detection('a', 2)])
    assert match_boxes(paths, file) == [('a', [2]), ('b.png', [1])]
    paths, file = files(
        ['a.png', 'b.png'], [detection(1, 1, file_name='b.png'), detection(7, 2, file_name='a.png')]
    )
    assert match_boxes(paths, file) == [(7, [2]), (1, [1])]


def test_arrays_are_matched_by_index(files):
    _, file = files([], [detection(2, 3)])
    assert match_boxes([IMAGE, IMAGE], file) == [(None, []), (2, [3])]


def test_crowd_annotations_are_ignored(files, mmengine_log):
    paths, file = files(
        ['5.png', 'b.png', 'c.png'],
        dict(
            images=[dict(id=7, file_name='5.png'), dict(id=5, file_name='b.png')],
            annotations=[
                dict(image_id=7, bbox=[1, 2, 3, 4], iscrowd=0, category_id=1),
                dict(image_id=7, bbox=[2, 2, 3, 4], iscrowd=1, category_id=1),
                dict(image_id=5, bbox=[3, 2, 3, 4]),
            ],
        ),
    )
    assert match_boxes(paths, file) == [(7, [1]), (5, [3]), (None, [])]
    (message,) = mmengine_log.messages
    assert f'no boxes for 1 of the 3 images, such as {paths[2]}' in message


LAMP = dict(id=3, name='lamp', keypoints=['foot', 'bulb'])


@pytest.mark.parametrize(
    ('ids', 'categories', 'chosen', 'used'),
    [
        ([1, 1, 1], None, None, [1, 2, 3]),
        ([0, 0, 0], None, None, [1, 2, 3]),
        (['7', '7', '7'], None, None, [1, 2, 3]),
        ([17, 17, 17], None, None, [1, 2, 3]),
        ([1, 3, 1], None, None, [1, 3]),
        ([1, 3, 1], None, 3, [2]),
        ([3, 3, 1], [LAMP, dict(id=1, name='table')], None, [1, 2]),
        ([3, 3, 1], [LAMP, dict(id=1, name='table')], 1, [3]),
    ],
)
def test_category_of_the_boxes(tmp_path, ids, categories, chosen, used):
    records = [
        dict(image_id=1, bbox=[number, 2, 3, 4], score=1.0, category_id=category)
        for number, category in enumerate(ids, 1)
    ]
    if categories is not None:
        images = [dict(id=1, file_name='1.png')]
        records = dict(images=images, annotations=records, categories=categories)
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(records))
    file = BoxFile(path, chosen)
    assert [box[0] for box in file.boxes(1, 80, 60)] == used
    assert file.left_out == len(ids) - len(used)


@pytest.mark.parametrize(
    ('ids', 'chosen', 'message'),
    [
        ([0, 1, 0], None, r'several categories, .*: 0 \(2 boxes\), 1 \(1 boxes\): give the ID'),
        ([3, 4, 3], None, 'boxes of several categories'),
        ([1, 1, 1], 2, r'no boxes of category 2, only 1 \(3 boxes\)'),
    ],
)
def test_unknown_category_raises(tmp_path, ids, chosen, message):
    records = [dict(image_id=1, bbox=[1, 2, 3, 4], category_id=category) for category in ids]
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(records))
    with pytest.raises(DatasetError, match=message):
        BoxFile(path, chosen)


def test_other_categories_are_reported(files, mmengine_log):
    records = [dict(image_id=1, bbox=[k, 2, 3, 4], category_id=k, score=1.0) for k in (1, 2, 3)]
    paths, file = files(['1.png'], records)
    assert match_boxes(paths, file) == [(1, [1])]
    (message,) = mmengine_log.messages
    assert 'boxes.json: 2 boxes of other categories are left out' in message


def test_file_names_with_directories(files):
    images = [
        dict(id=1, file_name='a/1.png'),
        dict(id=2, file_name='b/1.png'),
        dict(id=3, file_name='c/2.png'),
    ]
    people = [dict(image_id=k, bbox=[k, 2, 3, 4]) for k in (1, 2, 3)]
    content = dict(images=images, annotations=people)
    paths, file = files(['b/1.png', 'a/1.png', '2.png'], content)
    assert match_boxes(paths, file) == [(2, [2]), (1, [1]), (3, [3])]
    paths, file = files(['1.png'], content)
    with pytest.raises(
        DatasetError,
        match=r'1\.png may be a/1\.png or '
        r'b/1\.png in .*boxes\.json: pass paths',
    ):
        match_boxes(paths, file)
    paths, file = files(['x/2.png', 'y/2.png'], content)
    with pytest.raises(
        DatasetError,
        match=r'the same boxes for .*x/2\.png '
        r'and .*y/2\.png',
    ):
        match_boxes(paths, file)


def test_file_with_boxes_of_other_images_raises(files):
    paths, file = files(
        ['cat1.png'], dict(images=[dict(id=1, file_name='cat_1.png')], annotations=[])
    )
    with pytest.raises(
        DatasetError,
        match=r'boxes\.json has boxes of 1 '
        r'images, but of none of the 1 inputs, such as '
        r'.*cat1\.png; did you mean cat_1\.png',
    ):
        find_box_source(file, Inputs(paths))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"a": 1}', 'contains no boxes: expected a list of detections, .*, or images and annot'),
        ('{"annotations": []}', 'contains no boxes: expected'),
        ('"text"', 'contains no boxes: expected'),
        ('[1]', 'is not a COCO boxes file: expected'),
        ('{"images": [1], "annotations": []}', 'images has the entry 1: expected an object'),
        ('{"images": 1, "annotations": []}', 'has no images: expected a list'),
        ('{"images": [{"id": 7}], "annotations": []}', 'image 7 has no file_name: expected'),
        ('[{"image_id": 1}]', 'detection at index 0, of image 1, has no bbox: expected .x, y'),
        (
            '[{"image_id": 1, "bbox": [1, 2, 3]}]',
            'detection at index 0, of image 1, has the bbox .1, 2, 3.: expected .x, y',
        ),
        (
            '{"images": [], "annotations": [{"id": 5, "image_id": 1, "bbox": [1, 2, 3, "4"]}]}',
            "annotation 5 has the bbox .1, 2, 3, '4'.: expected",
        ),
    ],
)
def test_invalid_box_file_raises(files, content, message):
    _, file = files([], content)
    with pytest.raises(DatasetError, match=f'boxes.json:? {message}'):
        BoxFile(file)


NAMES = [f'{number}.png' for number in range(1, 6)]
BOXES = [(45, 25, 30, 30), (25, 15, 20, 40), (30, 10, 45, 45), (12, 7, 40, 50)]


def written(files, change, names=NAMES) -> tuple:
    """Write images with four boxes each, changed by a function."""
    entries = [dict(image_id=number, bbox=change(*box)) for number in range(1, 6) for box in BOXES]
    return files(names, entries)


def to_corners(x, y, width, height):
    return [x, y, x + width, y + height]


def relative(x, y, width, height):
    return [x / 80, y / 60, width / 80, height / 60]


def test_boxes_in_another_format_raise(files):
    paths, file = written(files, lambda *box: list(box))
    assert match_boxes(paths, file)[0] == (1, [45, 25, 30, 12])
    for change, message in (
        (to_corners, r'like \[left, top, right, bottom\]'),
        (relative, 'which is smaller than a pixel'),
    ):
        paths, file = written(files, change)
        with pytest.raises(DatasetError, match=rf'boxes\.json: detection at index 0, .*{message}'):
            find_box_source(file, Inputs(paths))


def test_boxes_that_may_have_another_format_are_logged(files, mmengine_log):
    """Of few images; those that are not used are not checked."""
    paths, file = written(files, to_corners, NAMES[:2])
    find_box_source(file, Inputs(paths))
    (message,) = [text for text in mmengine_log.messages if 'look like' in text]
    assert message.startswith(f'{file}: detection at index 0, of image 1, has the bbox [45, 25, ')
    entries = [
        dict(image_id=number, bbox=to_corners(*box), score=0.1)
        for number in range(1, 6)
        for box in BOXES
    ]
    paths, file = files(NAMES, [*entries, dict(image_id=1, bbox=[45, 25, 30, 30], score=0.9)])
    find_box_source(file, Inputs(paths), min_score=0.5)
    assert [text for text in mmengine_log.messages if 'look like' in text] == [message]


def test_format_is_checked_once(files, monkeypatch):
    """A service passes the same file with each image."""
    paths, name = written(files, lambda *box: list(box))
    file, calls = BoxFile(name), []
    monkeypatch.setattr(box_file, 'check_boxes', lambda *arguments: calls.append(1) or [])
    find_box_source(file, Inputs(paths[:1]))
    find_box_source(file, Inputs(paths))
    for path in paths:
        find_box_source(file, Inputs([path]))
    assert len(calls) == 2


def test_truncated_box_file_raises(files):
    _, file = files([], '[{"image_id": 1, ')
    with pytest.raises(DatasetError, match='cannot read the boxes .*boxes.json: Expecting'):
        BoxFile(file)
