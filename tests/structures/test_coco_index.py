"""AP of medium and large people equals that of pycocotools for submitted results."""

import contextlib
import io
import json

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from xtcocotools.cocoeval import COCOeval as MmposeEval

from pose_backbones.structures.coco_index import read_index
from tests.helpers.evaluation_cases import write_case


def evaluate(kind, truth, results) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = kind(truth, truth.loadRes(results), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.array(evaluation.stats)


def test_metrics_are_those_of_the_server(tmp_path):
    path, truth = write_case('coco', tmp_path)
    results = json.loads(open(path).read())
    with_boxes = [
        # boxes that are much larger than the extent of the keypoints
        {**result, 'bbox': [0, 0, 2 * max(result['keypoints'][::3]) + 200, 300]}
        for result in results
    ]
    submitted = [
        {key: result[key] for key in ('image_id', 'category_id', 'keypoints', 'score')}
        for result in results
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        expected = evaluate(COCOeval, COCO(truth), submitted)
        of_boxes = evaluate(COCOeval, COCO(truth), [dict(entry) for entry in with_boxes])
    boxes = [entry['bbox'] for entry in with_boxes]
    measured = evaluate(MmposeEval, read_index(truth), with_boxes)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-12)
    assert abs(of_boxes - expected)[[3, 4]].max() > 0.01
    assert [entry['bbox'] for entry in with_boxes] == boxes
    assert all(entry['area'] < 90_000 for entry in with_boxes)
    file = tmp_path / 'results.json'
    file.write_text(json.dumps(with_boxes))
    np.testing.assert_array_equal(evaluate(MmposeEval, read_index(truth), str(file)), measured)


def test_fields_of_other_tasks_are_ignored(tmp_path):
    """Results of Mask R-CNN have masks and keypoints."""
    path, truth = write_case('coco', tmp_path)
    results = json.loads(open(path).read())
    expected = evaluate(MmposeEval, read_index(truth), [dict(entry) for entry in results])
    for fields in (
        dict(segmentation=dict(size=[4, 5], counts=[3, 7, 10])),
        dict(segmentation=[[1, 1, 50, 1, 50, 50]]),
        dict(segmentation=None, bbox=[]),
        dict(caption='a person'),
        dict(area=1.0, iscrowd=1, num_keypoints=0),
    ):
        changed = [{**entry, **fields} for entry in results]
        measured = evaluate(MmposeEval, read_index(truth), changed)
        np.testing.assert_array_equal(measured, expected)


def test_malformed_masks_of_annotations_are_left_out(tmp_path):
    _, truth = write_case('coco', tmp_path)
    content = json.loads(open(truth).read())
    for image in content['images']:
        image.update(width=5, height=4)
    masks = [
        *(dict(size='x', counts=7), dict(size=[2, 2], counts=[1e9, -5]), [[1, 2]], 'text'),
        *(dict(size=[10**5, 10**5], counts=[10**10]), dict(size=[5, 4], counts=[3, 7, 10])),
    ]
    valid = dict(size=[4, 5], counts=[3, 7, 10])
    for entry, segmentation in zip(content['annotations'], [*masks, valid]):
        entry['segmentation'] = segmentation
    file = tmp_path / 'masks.json'
    file.write_text(json.dumps(content))
    read = read_index(str(file)).dataset['annotations'][:7]
    assert [entry['segmentation'] for entry in read] == [*[{} for _ in masks], valid]
