"""The checker of COCO files finds each fault, and nothing in valid files."""

import re

import cv2
import numpy as np
import pytest
from pycocotools import mask

from pose_backbones.errors import DatasetError
from pose_backbones.structures.coco import MAX_EXAMPLES, is_run_length
from pose_backbones.structures.coco_checker import (
    check_annotations,
    check_detections,
    check_image_files,
    check_results,
    raise_errors,
)
from tests.helpers import damaged_coco

CHECKS = dict(annotations=check_annotations, detections=check_detections, results=check_results)
DAMAGED = [
    (kind, name, content)
    for kind in CHECKS
    for name, content in getattr(damaged_coco, f'damaged_{kind}')()
]


def lines(findings) -> list[str]:
    return [f'{"error" if finding.is_error else "warning"}: {finding}' for finding in findings]


def test_number_of_damaged_files():
    assert len(DAMAGED) >= 300


@pytest.mark.parametrize('kind', CHECKS)
def test_damaged_files_have_findings(write, kind):
    """Each has a finding or one error, in one line, and never another exception."""
    truth = write(damaged_coco.annotations(), 'truth.json')
    for found_kind, name, content in DAMAGED:
        if found_kind != kind:
            continue
        try:
            file = write(content)
            arguments = dict(annotations=(), detections=(truth,), results=(truth, 5))[kind]
            messages = lines(CHECKS[kind](file, *arguments))
        except DatasetError as error:
            messages = [str(error)]
        assert messages or name == 'sizes of all images are wrong', (kind, name)
        for message in messages:
            assert '\n' not in message, (kind, name)
            assert len(message) < 600, (kind, name)


def test_valid_files_have_none(write):
    truth = write(damaged_coco.annotations(), 'truth.json')
    assert check_annotations(truth) == []
    assert check_detections(write(damaged_coco.detections()), truth) == []
    assert check_results(write(damaged_coco.results()), truth, 5) == []
    assert check_results(write([]), truth, 5) == []


def change(**fields):
    """Return a change of the annotations of the third person."""
    return lambda content: content['annotations'][2].update(fields)


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (change(area=0), 'error: annotation 103 has the area 0: expected the area of the obj'),
        (change(area=-3.5), 'error: annotation 103 has the area -3.5: expected'),
        (change(area=float('1e999')), 'cannot read the annotations .* contains Infinity'),
        (change(category_id=2), "annotation 103 has the category_id 2: .* of 'categories'"),
        (change(category_id='1'), "annotation 103 has the category_id '1': expected the id"),
        (change(image_id=50), "annotation 103 has the image_id 50: .* entry of 'images'"),
        (change(num_keypoints=0), 'annotation 103 has the num_keypoints 0, but 5 labelled'),
        (
            change(bbox=[-200, 70, 340, 60]),
            r'warning: annotation 103 has the bbox \[-200, 70, 340, 60\], of which less than half '
            'is in the image of 320 x 240 pixels',
        ),
        (
            change(bbox=[10, 10, 30, 30]),
            r'warning: annotation 103 has the bbox \[10, 10, 30, 30\], which contains 0 of its 5',
        ),
        (change(area=9e5), 'warning: annotation 103 has the area 900000.0, with the bbox'),
        (change(bbox=[90, 70, 0, 50]), r'warning: annotation 103 has the bbox \[90, 70, 0, 50\]'),
        (change(segmentation=[[1, 2]]), r'warning: annotation 103 has the segmentation \[\[1, 2'),
        (
            change(segmentation=dict(size='x', counts=7)),
            r"warning: annotation 103 has the segmentation {'size': 'x', 'counts': 7}: expected",
        ),
        (
            change(segmentation=dict(size=[240, 320], counts=[1e9, -5])),
            r'warning: annotation 103 has the segmentation .*-5\]}: expected .* run-length',
        ),
        (
            change(segmentation=dict(size=[10**5, 10**5], counts=[10**10])),
            r'warning: annotation 103 has the segmentation .*\[10000000000\]}: expected .* run-'
            'length encoding of height .* pixels, whose counts are whole numbers from 0 to 42949',
        ),
        (
            change(segmentation=dict(size=[320, 240], counts=[76800])),
            'warning: annotation 103 has a segmentation of 240 x 320 pixels, in an image of 320 x '
            r'240 pixels: expected a mask whose size is \[height, width\] of the image; others are',
        ),
        (
            lambda content: content['images'][1].update(crowdIndex='x'),
            r"error: image 2 \('2.jpg'\) has the crowdIndex 'x': expected CrowdPose's measure",
        ),
        (
            lambda content: content['images'][1].update(crowdIndex=1.5),
            r"error: image 2 \('2.jpg'\) has the crowdIndex 1.5: expected .* from 0 to 1",
        ),
        (
            lambda content: content['images'][1].update(file_name='\ud800.jpg'),
            r"error: image 2 \('\\ud800.jpg'\) has the file_name .*: expected the path of the im",
        ),
        (
            change(keypoints=[0, 0, 2, *damaged_coco.POINTS[3:]]),
            r'warning: annotation 103 has 1 labelled keypoint at \(0, 0\): expected the visib',
        ),
        (
            change(
                keypoints=[*damaged_coco.POINTS[:6], 0, 0.0, 1, 0, 0, 2, *damaged_coco.POINTS[:3]]
            ),
            r'warning: annotation 103 has 2 labelled keypoints at \(0, 0\): expected the vis',
        ),
        (
            change(keypoints=[1e8, 80.0, 2, *damaged_coco.POINTS[3:]]),
            r'warning: annotation 103 has a labelled keypoint at \(100000000.0, 80.0\), in an '
            'image of 320 x 240 pixels: expected x and y in pixels, in the image or close to it',
        ),
        (
            change(keypoints=[100.0, -241, 1, *damaged_coco.POINTS[3:]]),
            r'warning: annotation 103 has a labelled keypoint at \(100.0, -241\), in an image of',
        ),
        (change(keypoints=[]), 'warning: annotation 103 has no keypoints: .* object is ignored'),
    ],
)
def test_findings_name_entry_value_and_expectation(write, change, expected):
    content = damaged_coco.annotations()
    change(content)
    try:
        (message,) = lines(check_annotations(write(content)))
    except DatasetError as error:
        message = str(error)
    assert re.search(expected, message), message


def test_keypoints_that_are_not_found(write):
    """Unlabelled ones, and those that are close to the image."""
    content = damaged_coco.annotations()
    points = damaged_coco.POINTS[3:]
    for entry, first in zip(
        content['annotations'], ([0, 0, 0], [0, 80, 2], [640, 480, 2], [-320, -240, 1], [1e8, 0, 0])
    ):
        entry.update(keypoints=[*first, *points], num_keypoints=5 if first[2] else 4)
    assert check_annotations(write(content)) == []


@pytest.mark.parametrize('labelled', [1, 5])
def test_labelled_keypoints_without_coordinates_are_not_relative(write, labelled):
    content = damaged_coco.annotations()
    points = ([0, 0, 2] * labelled + [0] * 15)[:15]
    content['annotations'][2].update(keypoints=points, num_keypoints=labelled)
    (message,) = lines(check_annotations(write(content)))
    assert message == (
        'warning: annotation 103 has the bbox [90.0, 70.0, 60.0, 50.0], which contains 0 of its '
        f'{labelled} labelled keypoints: expected [x, y, width, height] in pixels, around the '
        'object'
    )
    content['annotations'][2]['bbox'] = [0.0, 0.0, 60.0, 50.0]
    (message,) = lines(check_annotations(write(content)))
    assert f'has {labelled} labelled keypoint' in message
    assert 'at (0, 0)' in message


def test_run_length_encodings_are_those_of_pycocotools():
    """An encoding is valid exactly if its runs have as many pixels as the mask."""
    generator = np.random.default_rng(0)
    for height, width, share in ((1, 1, 1), (7, 5, 0.5), (240, 320, 0.001), (300, 2, 0.5)):
        pixels = np.asfortranarray(generator.random((height, width)) < share, np.uint8)
        encoded = mask.encode(pixels)
        size, text = [int(side) for side in encoded['size']], encoded['counts'].decode()
        runs = np.diff(np.flatnonzero(np.diff(pixels.ravel('F'), prepend=0, append=2)), prepend=0)
        for counts in (text, runs.tolist()):
            assert is_run_length(dict(size=size, counts=counts))
            assert not is_run_length(dict(size=[size[0] + 1, size[1]], counts=counts))
        for counts in (text + 'P', '\0', text + '5', None, 7, [0.5], [True]):
            assert not is_run_length(dict(size=size, counts=counts))
    large = dict(size=[2**20, 2**12], counts=[2**32])
    assert not is_run_length(large)
    assert is_run_length(large | dict(counts=[2**32 - 1, 1]))


def test_annotations_of_crowds_only(write):
    content = damaged_coco.annotations()
    for person in content['annotations'][1:]:
        person['iscrowd'] = 1
    assert check_annotations(write(content)) == []
    content['annotations'][0]['iscrowd'] = 1
    (message,) = lines(check_annotations(write(content)))
    assert message == (
        'error: all annotations with labelled keypoints are crowd regions: expected keypoints '
        'with a visibility of 1 or 2, and iscrowd 0'
    )


def test_implausible_values_of_most_entries_are_errors(write):
    content = damaged_coco.annotations()
    for number, person in enumerate(content['annotations']):
        (finding,) = check_annotations(write(content)) if number else [None]
        assert finding is None or finding.is_error == (number > 3)
        person['bbox'] = [10, 10, 40, 30]


def test_crowdpose_counts_visible_keypoints(write):
    content = damaged_coco.annotations()
    person = content['annotations'][0]
    person['keypoints'][2::3] = [1] * 5
    person['num_keypoints'] = 0
    del content['annotations'][1]['area']
    for use_area in (False, None):
        assert check_annotations(write(content), use_area=use_area) == []
    content['annotations'][2]['area'] = -1
    assert check_annotations(write(content), use_area=False) == []
    (finding,) = check_annotations(write(content), use_area=None)
    assert finding.examples == ['annotation 103 has the area -1']


def test_findings_have_counts_and_the_first_entries(write):
    content = damaged_coco.annotations(30)
    for person in content['annotations']:
        person['area'] = 0
    file = write(content)
    findings = check_annotations(file)
    assert findings[0].count == 30
    assert len(findings[0].examples) == MAX_EXAMPLES
    assert findings[0].examples[9] == 'annotation 110 has the area 0'
    with pytest.raises(DatasetError, match=r'file.json: annotation 101 .* \(30 of 30 are like'):
        raise_errors(file, findings)


def test_several_kinds_of_errors_refer_to_the_command(write):
    content = damaged_coco.annotations()
    content['images'][0]['width'] = -5
    content['annotations'][3]['area'] = 0
    file = write(content)
    with pytest.raises(DatasetError, match=r'errors of 2 kinds: pose-backbones check .*file.json'):
        raise_errors(file, check_annotations(file))


@pytest.fixture
def images(tmp_path):
    """Images of 320 x 240 pixels; the second is stored as 240 x 320, with an EXIF orientation."""
    from PIL import Image

    for number in range(1, 7):
        array = np.zeros((240, 320, 3), np.uint8)
        if number == 2:
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(np.rot90(array)).save(tmp_path / '2.jpg', exif=exif)
        else:
            cv2.imwrite(str(tmp_path / f'{number}.jpg'), array)
    return tmp_path


def test_sizes_are_compared_with_the_files(images):
    content = damaged_coco.annotations()
    entries = content['images']
    assert check_image_files(entries, images) == []
    entries[1].update(width=240, height=320)
    entries[2].update(width=321)
    (images / '4.jpg').unlink()
    (images / '5.jpg').write_text('text')
    size, missing, unreadable = check_image_files(entries, images)
    assert size.examples == [
        "image 2 ('2.jpg') has the size 240 x 320, and the file has 320 x 240",
        "image 3 ('3.jpg') has the size 321 x 240, and the file has 320 x 240",
    ]
    assert missing.examples == ["image 4 ('4.jpg') has no file"]
    assert unreadable.count == 1
    assert [finding.count for finding in check_image_files(entries, images, 2)] == [1]


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_truncated_images_are_found(tmp_path, suffix):
    path = tmp_path / f'1.{suffix}'
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    entries = [dict(id=1, file_name=path.name, width=320, height=240)]
    assert check_image_files(entries, tmp_path) == []
    path.write_bytes(path.read_bytes()[:-5000])
    (finding,) = check_image_files(entries, tmp_path)
    assert 'truncated' in finding.examples[0]


def test_image_list_needs_no_annotations(write):
    content = damaged_coco.annotations()
    del content['annotations']
    content['categories'] = [dict(id=1, name='person')]
    assert check_annotations(write(content)) == []
