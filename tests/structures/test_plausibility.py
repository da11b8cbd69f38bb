"""Boxes and areas of another format are errors if most of the entries have them."""

import copy

import numpy as np
import pytest

from pose_backbones.structures.coco_checker import (
    check_annotations,
    check_boxes,
    check_detections,
    check_results,
)
from pose_backbones.structures.plausibility import _best_iou
from tests.helpers import damaged_coco

SIZE = 320, 240
LOOK_LIKE_CORNERS = 'but these look like [left, top, right, bottom]'


def people(seed: int = 0) -> dict:
    """Return annotations of 30 images with two people each, of all sizes and places."""
    generator = np.random.default_rng(seed)
    content = damaged_coco.annotations(30)
    template = content['annotations'][0]
    content['annotations'] = []
    for number in range(60):
        side = generator.uniform((20, 40), (90, 180))
        corner = generator.uniform((0, 0), SIZE - side)
        points = np.c_[corner + side * generator.uniform(0.05, 0.95, (5, 2)), np.full(5, 2)]
        content['annotations'].append(
            {
                **copy.deepcopy(template),
                'id': number + 1,
                'image_id': number // 2 + 1,
                'bbox': [*corner.tolist(), *side.tolist()],
                'area': 0.53 * float(side.prod()),
                'keypoints': points.ravel().tolist(),
            }
        )
    return content


def detections(content: dict) -> list[dict]:
    """Return the boxes of the people, as of a detector that is off by some pixels."""
    return [
        dict(
            image_id=person['image_id'],
            category_id=1,
            bbox=[side + 2 for side in person['bbox']],
            score=0.5 + person['id'] / 1000,
        )
        for person in content['annotations']
    ]


def results(content: dict) -> list[dict]:
    """Return the keypoints of the people."""
    return [
        dict(
            image_id=person['image_id'],
            category_id=1,
            keypoints=list(person['keypoints']),
            score=0.5 + person['id'] / 1000,
        )
        for person in content['annotations']
    ]


def corners(x, y, width, height):
    return [x, y, x + width, y + height]


def centers(x, y, width, height):
    return [x + width / 2, y + height / 2, width, height]


def relative(x, y, width, height):
    return [x / SIZE[0], y / SIZE[1], width / SIZE[0], height / SIZE[1]]


def percent(*box):
    return [100 * side for side in relative(*box)]


def far_away(x, y, width, height):
    return [x + 4000, y, width, height]


def huge(*_):
    return [0, 0, 1e9, 1e9]


FORMATS = [corners, centers, relative, percent, far_away, huge]
#: what is expected of annotations and of detections, in addition to pixels
EXPECTED = {
    corners: (LOOK_LIKE_CORNERS, LOOK_LIKE_CORNERS),
    centers: ('around the object', 'of the people in the annotations'),
    relative: ('around the object', 'expected [x, y, width, height] in pixels'),
    percent: ('around the object', 'no box extends beyond 105 pixels'),
    far_away: ('expected [x, y, width, height] in pixels', 'expected [x, y, width, height] in pix'),
    huge: ('expected [x, y, width, height] in pixels', 'expected [x, y, width, height] in pixels'),
}


@pytest.mark.parametrize('change', FORMATS)
def test_boxes_of_another_format(write, change):
    content = people()
    truth = write(content, 'truth.json')
    boxes = detections(content)
    assert check_annotations(truth) == []
    assert check_detections(write(boxes), truth) == []
    for entry in (*boxes, *content['annotations']):
        entry['bbox'] = change(*entry['bbox'])
    for findings, expected in zip(
        (check_annotations(write(content), use_area=False), check_detections(write(boxes), truth)),
        EXPECTED[change],
    ):
        assert findings[0].is_error
        finding = next(finding for finding in findings if expected in finding.expected)
        assert finding.is_error
        assert finding.count > 30


def test_image_list_is_enough_for_most_formats(write):
    """Centers are only implausible."""
    content = people()
    images = write(dict(images=content['images'], categories=content['categories']), 'images.json')
    for change in FORMATS:
        boxes = detections(content)
        for entry in boxes:
            entry['bbox'] = change(*entry['bbox'])
        findings = check_detections(write(boxes), images)
        assert any(finding.is_error for finding in findings) == (change != centers)
        assert findings
    assert check_detections(write(detections(content)), images) == []


LOOK_LIKE_CENTERS = 'but these look like [center x, center y, width, height]'


def test_centers_are_those_that_fit_the_image_only_so(write):
    """Not if a box does not fit as a center or is left of the image, or if few are to the right."""
    content = people()
    images = write(dict(images=content['images'], categories=content['categories']), 'images.json')

    def findings(boxes: list[dict]) -> list:
        return [x for x in check_detections(write(boxes), images) if LOOK_LIKE_CENTERS in str(x)]

    boxes = [entry for seed in range(5) for entry in detections(people(seed))]
    for entry in boxes:
        entry['bbox'] = centers(*entry['bbox'])
    (finding,) = findings(boxes)
    assert not finding.is_error
    beyond = [
        index
        for index, entry in enumerate(boxes)
        if entry['bbox'][0] + entry['bbox'][2] > 1.05 * SIZE[0]
    ]
    assert finding.count == len(beyond)
    assert finding.examples[0].startswith(f'detection at index {beyond[0]}, of image ')
    few = [entry for index, entry in enumerate(boxes) if index not in beyond[4:]]
    assert findings(few) == []
    for bbox in ([0, 0, 200, 200], [-1, 100, 2, 20]):
        other = dict(boxes[0], bbox=bbox)
        assert findings([*boxes, other]) == []


def test_valid_boxes_that_extend_beyond_the_image(write):
    """Whole people of whom a part is visible, also beside the edges, of a camera that is fixed."""
    content = people()
    images = write(dict(images=content['images'], categories=content['categories']), 'images.json')
    boxes = detections(content)
    for entry in boxes:
        x, y, width, height = entry['bbox']
        entry['bbox'] = [x / 3 + 100, 140 + y / 9, width / 2, height]
    assert all(not finding.is_error for finding in check_detections(write(boxes), images))


def test_negative_scores(write):
    boxes = detections(people())
    boxes[7]['score'] = -0.25
    (finding,) = check_detections(write(boxes))
    assert str(finding) == (
        'detection at index 7, of image 4, has the score -0.25: expected a number of at least 0: '
        "with MMPose's score_mode='bbox_keypoint', it is multiplied by the scores of the keypoints"
    )
    for entry in boxes:
        entry['score'] -= 1
    (finding,) = check_detections(write(boxes))
    assert (finding.count, finding.is_error) == (60, False)


@pytest.mark.parametrize(
    ('count', 'images', 'errors'), [(20, 5, [True]), (20, 4, [False]), (19, 5, [False]), (4, 4, [])]
)
def test_few_boxes_do_not_show_the_format(count, images, errors):
    """Corners; boxes below a pixel are an error from five on."""
    sizes = dict.fromkeys(range(images), SIZE)
    entries = {
        n: dict(image_id=n % images, bbox=[150.0, 120.0, 300.0, 200.0]) for n in range(count)
    }
    findings = check_boxes('detection', entries, sizes)
    assert [finding.is_error for finding in findings if LOOK_LIKE_CORNERS in str(finding)] == errors
    for entry in entries.values():
        entry['bbox'] = [0.4, 0.2, 0.5, 0.7]
    findings = check_boxes('detection', entries, sizes)
    assert [finding.is_error for finding in findings] == [True] * (count > 4)


def test_relative_keypoints_of_results(write):
    entries = results(people())
    for entry in entries:
        entry['keypoints'] = (np.reshape(entry['keypoints'], (-1, 3)) / (*SIZE, 2)).ravel().tolist()
    (finding,) = check_results(write(entries))
    assert finding.is_error
    assert str(finding) == (
        'result at index 0, of image 1, has keypoints whose coordinates are all between -1 and 1 '
        '(60 of 60 are like this): expected x and y in pixels; these may be relative to the image'
    )
    for entry in entries[:40]:
        entry['keypoints'] = [0.0] * 15  # the keypoints of an empty prediction
    assert check_results(write(entries)) == []


@pytest.mark.parametrize('seed', range(3))
def test_few_boxes_of_another_format_are_no_errors(write, seed):
    content = people(seed)
    truth, boxes = write(content, 'truth.json'), detections(content)
    for number, change in enumerate(FORMATS):
        for entry in (boxes[number], content['annotations'][number]):
            entry['bbox'] = change(*entry['bbox'])
    for findings in (check_annotations(write(content)), check_detections(write(boxes), truth)):
        assert findings
        assert not any(finding.is_error for finding in findings)


@pytest.mark.parametrize(
    'change', [lambda area: area / (320 * 240) * 100, lambda area: area**0.5, lambda area: 9 * area]
)
def test_areas_of_another_unit(write, change):
    content = people()
    for entry in content['annotations']:
        entry['area'] = change(entry['area'])
    (finding,) = check_annotations(write(content))
    assert finding.is_error
    assert finding.expected == 'expected the area of the object in square pixels'
    assert check_annotations(write(content), use_area=False) == []
    # A mask may be much smaller than its box.
    for entry in content['annotations']:
        entry['area'] = 0.03 * entry['bbox'][2] * entry['bbox'][3]
    assert check_annotations(write(content)) == []


def test_boxes_of_booleans(write):
    content = people()
    boxes = detections(content)
    boxes[3]['bbox'] = [False, False, True, True]
    (finding,) = check_detections(write(boxes), write(content, 'truth.json'))
    assert finding.is_error
    assert 'has the bbox [False, False, True, True]' in str(finding)


@pytest.mark.parametrize(
    ('category', 'expected'),
    [
        ('1', "has the category_id '1' (60 of 60 are like this): expected 1, as in"),
        ('person', "all detections have the category_id 'person': expected detections of the cat"),
        (1.5, 'all detections have the category_id 1.5: expected detections of the category with'),
        (7, 'all detections have the category_id 7: expected detections of the category with key'),
    ],
)
def test_detections_of_another_category(write, category, expected):
    content = people()
    boxes = detections(content)
    truth = write(content, 'truth.json')
    for entry in boxes[1:]:
        entry['category_id'] = category
    assert any(finding.is_error for finding in check_detections(write(boxes), truth)) == (
        category == '1'
    )
    boxes[0]['category_id'] = category
    (finding,) = check_detections(write(boxes), truth)
    assert finding.is_error
    assert expected in str(finding)


def test_images_without_detections(write):
    content = people()
    content['annotations'][0].update(keypoints=[0] * 15, num_keypoints=0)
    content['annotations'][1].update(iscrowd=1)
    boxes = [entry for entry in detections(content) if entry['image_id'] == 30]
    (finding,) = check_detections(write(boxes), write(content, 'truth.json'))
    assert not finding.is_error
    assert (finding.count, finding.total) == (28, 29)  # image 1 has no annotated people
    assert finding.examples[0] == "image 2 ('2.jpg') has annotated people but no detection"


def test_results_of_less_than_half_of_the_images(write):
    content = people()
    truth = write(content, 'truth.json')
    entries = results(content)
    assert check_results(write(entries), truth) == []
    assert check_results(write(entries[:30]), truth) == []  # those of 15 of 30 images
    assert check_results(write([]), truth) == []
    (finding,) = check_results(write(entries[:28]), truth)
    assert (finding.is_error, finding.count, finding.total) == (False, 16, 30)
    assert str(finding) == (
        "image 15 ('15.jpg') has annotated people but no result (16 of 30 are like this): "
        'expected results of all images; the people in the others count as missed'
    )
    images = write(dict(images=content['images'], categories=content['categories']), 'images.json')
    assert check_results(write(entries[:28]), images) == []


def test_annotations_that_are_twice_in_the_file(write):
    content = people()
    for person in people()['annotations']:
        content['annotations'].append({**person, 'id': 1000 + person['id']})
    (finding,) = check_annotations(write(content))
    assert (finding.is_error, finding.count, finding.total) == (False, 60, 120)
    assert finding.examples[1] == (
        'annotation 1002 has the image, bbox and keypoints of annotation 2'
    )
    for person in content['annotations'][:60]:
        person['keypoints'][0] += 0.5
    assert check_annotations(write(content)) == []


def test_results_that_are_twice_in_the_file(write):
    entries = results(people())
    (finding,) = check_results(write([*entries, *({**x, 'score': 0.1} for x in entries)]))
    assert (finding.is_error, finding.count, finding.total) == (False, 60, 120)
    assert finding.examples[0] == (
        'result at index 60, of image 1, has the image and keypoints of an earlier result'
    )
    others = [{**entry, 'image_id': 31 - entry['image_id']} for entry in entries]
    assert check_results(write([*entries, *others])) == []


@pytest.mark.parametrize('score', [0, 0.5, 1.0])
def test_scores_that_are_equal(write, score):
    """From 20 entries in five images on."""
    content = people()
    for kind, entries, check in (
        ('detection', detections(content), check_detections),
        ('result', results(content), check_results),
    ):
        for number, entry in enumerate(entries):
            entry.update(score=score, image_id=number % 5 + 1)
        if kind == 'detection' and score:  # boxes of annotations often have equal scores
            assert check(write(entries[:20])) == []
            continue
        (finding,) = check(write(entries[:20]))
        assert not finding.is_error
        assert str(finding) == (
            f'all 20 {kind}s have the score {score}: expected different scores: AP depends on the '
            'order of the scores'
        )
        assert check(write(entries[:19])) == []
        entries[3]['image_id'] = entries[8]['image_id'] = 1
        entries[13]['image_id'] = entries[18]['image_id'] = 1
        assert check(write(entries[:20])) == []
        entries[20]['score'] = 0.25
        assert check(write(entries[:21])) == []


def test_counts_of_keypoints_that_contradict_the_labels(write):
    content = people()
    first, second, third = content['annotations'][:3]
    first.update(keypoints=[0] * 15)  # num_keypoints is 5
    second['keypoints'][2::3] = [2, 2, 2, 1, 0]
    third.update(num_keypoints=3)  # CrowdPose does not count all
    (finding,) = check_annotations(write(content))
    assert not finding.is_error
    assert finding.examples == [
        'annotation 1 has the num_keypoints 5, but 0 labelled keypoints',
        'annotation 2 has the num_keypoints 5, but 4 labelled keypoints',
    ]


def test_intersection_over_union_is_that_of_pycocotools():
    from pycocotools import mask

    generator = np.random.default_rng(0)
    boxes = generator.uniform(0, 100, (20, 4))
    expected = mask.iou(boxes[:5], boxes[5:], [0] * 15).max(1)
    np.testing.assert_allclose([_best_iou(box, boxes[5:]) for box in boxes[:5]], expected)
