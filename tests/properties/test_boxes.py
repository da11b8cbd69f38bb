"""Bounding boxes: formats, all borders of an image, and the boxes of training, test and inference.

`tools/test.py` reads boxes with MMPose's dataset, `tools/infer.py` with `BoxFile`.
"""

import json
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from mmengine.fileio import load
from mmpose.datasets import CocoDataset
from mmpose.structures.bbox import bbox_cs2xyxy, bbox_xywh2xyxy, bbox_xyxy2cs, bbox_xyxy2xywh

from pose_backbones import PoseInferencer
from pose_backbones.cli import infer
from pose_backbones.cli import test as evaluation
from pose_backbones.datasets import coco_style
from pose_backbones.inference.boxes import find_box_source
from pose_backbones.inference.inputs import Inputs
from pose_backbones.inference.predictors import PipelinePredictor
from tests.helpers.pose_cases import TOP_DOWN, estimator, make_image
from tests.properties.strategies import boxes, inner_boxes, share

coco_style.patch()
WIDTH, HEIGHT = 80, 60
IMAGE_ID = 7
#: dataset and metric of a config of `TOP_DOWN`
EVALUATION = """
test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_mode='topdown', ann_file='{folder}/annotations.json',
        data_prefix=dict(img='{folder}/'), test_mode=True,
        pipeline=test_dataloader['dataset']['pipeline']))
val_dataloader = test_dataloader
test_evaluator = dict(type='CocoMetric', ann_file='{folder}/annotations.json')
val_evaluator = test_evaluator
val_cfg, test_cfg, train_dataloader = dict(), dict(), None
"""
NAMES = [f'point {number}' for number in range(17)]


@cache
def inferencer(batch_size: int = 4) -> PoseInferencer:
    return PoseInferencer(estimator(), batch_size=batch_size)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Write an image, and return its folder."""
    folder = tmp_path_factory.mktemp('boxes')
    cv2.imwrite(str(folder / f'{IMAGE_ID}.png'), make_image(1, WIDTH, HEIGHT))
    return folder


def write_annotations(folder, people) -> str:
    """Write the boxes (x, y, width, height) as annotations with labelled keypoints."""
    content = dict(
        images=[dict(id=IMAGE_ID, file_name=f'{IMAGE_ID}.png', width=WIDTH, height=HEIGHT)],
        categories=[dict(id=1, name='person', keypoints=NAMES)],
        annotations=[
            dict(
                id=number,
                image_id=IMAGE_ID,
                category_id=1,
                bbox=list(box),
                area=100.0,
                iscrowd=0,
                num_keypoints=17,
                keypoints=[max(1, box[0] + box[2] / 2), max(1, box[1] + box[3] / 2), 2] * 17,
            )
            for number, box in enumerate(people)
        ],
    )
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def write_detections(folder, people) -> str:
    """Write the boxes (x, y, width, height) as detections."""
    path = folder / 'detections.json'
    path.write_text(
        json.dumps(
            [
                dict(image_id=IMAGE_ID, category_id=1, bbox=list(box), score=0.5 + number / 100)
                for number, box in enumerate(people)
            ]
        )
    )
    return str(path)


def read_dataset(folder, people, kind: str, pipeline=()) -> CocoDataset:
    """Return the dataset of `tools/test.py`."""
    annotations = write_annotations(folder, people)
    detections = write_detections(folder, people) if kind == 'detections' else ''
    return CocoDataset(
        ann_file=annotations,
        bbox_file=detections,
        data_prefix=dict(img=f'{folder}/'),
        test_mode=True,
        pipeline=pipeline,
    )


def of_dataset(folder, people, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes (n, 4) and the keypoints (n, 17, 2) of `tools/test.py`."""
    pose = inferencer()
    dataset = read_dataset(folder, people, kind, pose.cfg.test_dataloader.dataset.pipeline)
    samples = [dataset[index] for index in range(len(dataset))]
    predictor = PipelinePredictor(pose.model, pose.pipeline, pose.device, pose.half)
    with torch.inference_mode():
        instances = [
            instance
            for start in range(0, len(samples), pose.batch_size)
            for instance in predictor.predict(samples[start : start + pose.batch_size])
        ]
    return (
        np.array([dataset.get_data_info(k)['bbox'][0] for k in range(len(samples))], np.float32),
        np.concatenate([np.zeros((0, 17, 2), np.float32), *(i.keypoints for i in instances)]),
    )


def of_inferencer(folder, people, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes and the keypoints of `tools/infer.py`."""
    write = write_detections if kind == 'detections' else write_annotations
    (result,) = inferencer()(str(folder / f'{IMAGE_ID}.png'), write(folder, people))
    assert result.image_id == IMAGE_ID
    return result.boxes, result.keypoints


def touches_image(corners: np.ndarray) -> np.ndarray:
    """Return which boxes (n, 4) have pixels in the image: the others are skipped by inference."""
    x0, y0, x1, y1 = corners.reshape(-1, 4).T
    return (x1 > x0) & (y1 > y0) & (x1 > 0) & (y1 > 0) & (x0 < WIDTH) & (y0 < HEIGHT)


@pytest.mark.parametrize('kind', ['annotations', 'detections'])
@given(people=st.lists(boxes(WIDTH, HEIGHT), min_size=3, max_size=9))
@example(people=[(0.1 * n, 0.7 * n, 0.3 + 0.01 * n, 1.1 * n) for n in range(1, 50)])
def test_both_readers_give_the_same_boxes(folder, people, kind):
    """The boxes are bit-identical; inference skips those outside the image."""
    people = [(5, 5, 20, 30), *people]  # MMEngine's datasets need a valid sample
    dataset = read_dataset(folder, people, kind)
    expected = np.concatenate([dataset.get_data_info(n)['bbox'] for n in range(len(dataset))])
    images = Inputs([str(folder / f'{IMAGE_ID}.png')])
    write = write_detections if kind == 'detections' else write_annotations
    source = find_box_source(write(folder, people), images)
    (read,) = map(source, images)
    np.testing.assert_array_equal(read.corners, expected[touches_image(expected)])


@pytest.mark.parametrize('kind', ['annotations', 'detections'])
@given(people=st.lists(boxes(WIDTH, HEIGHT), min_size=1, max_size=4))
@share(0.1)
def test_inference_uses_the_boxes_of_the_evaluation(folder, people, kind):
    """Boxes are bit-identical, and so are the keypoints; annotations are clipped as in MMPose."""
    people = [(5, 5, 20, 30), *people]  # MMEngine's datasets need a valid sample
    expected_boxes, expected_keypoints = of_dataset(folder, people, kind)
    used = touches_image(expected_boxes)
    corners, keypoints = of_inferencer(folder, people, kind)
    np.testing.assert_array_equal(corners, expected_boxes.reshape(-1, 4)[used])
    if used.all():  # otherwise the batches differ
        np.testing.assert_array_equal(keypoints, expected_keypoints)
    else:
        np.testing.assert_allclose(keypoints, expected_keypoints[used], atol=1e-3)


@given(
    scale=st.sampled_from([1e-3, 1, 100, 1e5]),
    corners=st.lists(boxes(WIDTH, HEIGHT), min_size=1, max_size=5),
    padding=st.sampled_from([1.0, 1.25, 2.0]),
)
def test_box_formats_are_bijective(corners, scale, padding):
    """Conversions between xywh, xyxy, and centre and size are inverse to each other."""
    xywh = np.array(corners, np.float64) * scale
    xyxy = bbox_xywh2xyxy(xywh)
    np.testing.assert_array_equal(xyxy[:, :2], xywh[:, :2])
    extent = np.abs(xyxy).max(1, keepdims=True) + xywh[:, 2:].max(1, keepdims=True)
    assert (np.abs(bbox_xyxy2xywh(xyxy) - xywh) <= 1e-12 * extent).all()
    center, size = bbox_xyxy2cs(xyxy, padding)
    assert (size > 0).all()
    assert (np.abs(bbox_cs2xyxy(center, size, padding) - xyxy) <= 1e-12 * padding * extent).all()


@given(people=st.lists(boxes(WIDTH, HEIGHT), min_size=1, max_size=4))
@share(0.2)
def test_results_are_finite_for_boxes_at_every_border(people):
    """Each box with pixels in the image has a finite result near it; the others have none."""
    corners = bbox_xywh2xyxy(np.array(people, np.float32))
    (result,) = inferencer()(make_image(1, WIDTH, HEIGHT), corners)
    used = touches_image(corners)
    assert len(result) == used.sum()
    np.testing.assert_array_equal(result.boxes, corners[used])
    assert np.isfinite(result.keypoints).all()
    assert np.isfinite(result.scores).all()
    center, size = bbox_xyxy2cs(corners[used], 1.25)
    # The crop has the aspect ratio 3:4, and 12 x 16 cells; the network pads them to 16 x 16.
    width = np.maximum(size[:, 0], size[:, 1] * 0.75)
    reach = np.stack((width * (0.5 + 4 / 12), width / 0.75 * (0.5 + 1 / 16)), 1)
    assert (np.abs(result.keypoints - center[:, None]) <= reach[:, None] + 1e-2).all()


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
@share(0.15)
def test_images_of_any_size(size, seed):
    """The whole image is a valid box, down to one pixel."""
    (result,) = inferencer()(make_image(seed, *size))
    assert len(result) == 1
    assert np.isfinite(result.keypoints).all()


@given(data=st.data(), people=st.lists(inner_boxes(WIDTH, HEIGHT), min_size=2, max_size=5))
@share(0.2)
def test_order_of_boxes_is_the_order_of_results(data, people):
    corners = bbox_xywh2xyxy(np.array(people, np.float32))
    order = data.draw(st.permutations(range(len(people))))
    image = make_image(3, WIDTH, HEIGHT)
    (expected,) = inferencer()(image, corners)
    (result,) = inferencer()(image, corners[order])
    np.testing.assert_array_equal(result.boxes, corners[order])
    np.testing.assert_allclose(result.keypoints, expected.keypoints[order], atol=1e-3)
    np.testing.assert_allclose(result.scores, expected.scores[order], rtol=1e-4)


@given(
    batch_size=st.sampled_from([1, 2, 3, 5]),
    people=st.lists(st.lists(inner_boxes(WIDTH, HEIGHT), max_size=3), min_size=1, max_size=4),
)
@example(batch_size=3, people=[[], [(5.0, 5.0, 30.0, 40.0)], []])
@share(0.1)
def test_people_do_not_depend_on_the_batch(people, batch_size):
    """Other boxes of an image and other images do not change the keypoints of a person."""
    images = [make_image(index, WIDTH, HEIGHT) for index in range(len(people))]
    corners = [bbox_xywh2xyxy(np.array(some, np.float32).reshape(-1, 4)) for some in people]
    results = list(inferencer(batch_size)(images, corners))
    assert [len(result) for result in results] == [len(some) for some in people]
    for image, some, result in zip(images, corners, results):
        for index, box in enumerate(some):
            (alone,) = inferencer()(image, box[None])
            np.testing.assert_allclose(alone.keypoints[0], result.keypoints[index], atol=1e-3)
            np.testing.assert_allclose(alone.scores[0], result.scores[index], rtol=1e-4)


@st.composite
def whole_boxes(draw) -> tuple[int, int, int, int]:
    """Draw a box with integer coordinates, inside the image: left, top, right, bottom."""
    x, y = draw(st.integers(0, WIDTH - 20)), draw(st.integers(0, HEIGHT - 20))
    return x, y, draw(st.integers(x + 16, WIDTH)), draw(st.integers(y + 16, HEIGHT))


def crop_of(image: np.ndarray, box) -> np.ndarray:
    """Return the input of the network, (64, 48, 3), in 256 grey levels."""
    pipeline = inferencer().pipeline
    data = dict(inferencer().metainfo, img=image, img_path='', img_id=0, id=0)
    sample = pipeline({**data, 'bbox': np.array([box], np.float32), 'bbox_score': np.ones(1)})
    return sample['inputs'].numpy().astype(float)


@given(box=whole_boxes(), shift=st.tuples(st.integers(0, 40), st.integers(0, 40)))
@share(0.2)
def test_keypoints_move_with_image_and_box(box, shift):
    """Pixels outside an image are black, as those around its copy in a larger image.

    OpenCV rounds positions to 1/32 pixel, so a crop can change by a few grey levels.
    """
    image = make_image(5, WIDTH, HEIGHT)
    moved = np.pad(image, ((shift[1], 100), (shift[0], 100), (0, 0)))
    moved_box = np.array(box) + [*shift, *shift]
    difference = np.abs(crop_of(moved, moved_box) - crop_of(image, box))
    assert difference.max() <= 16
    assert difference.mean() <= 0.5
    (expected,) = inferencer()(image, [box])
    (result,) = inferencer()(moved, [moved_box])
    np.testing.assert_allclose(result.scores, expected.scores, atol=0.05)
    # A cell of the map, for most keypoints: two cells can have almost the same value.
    errors = np.linalg.norm(result.keypoints - shift - expected.keypoints, axis=-1)
    assert np.quantile(errors, 0.75) <= max(box[2] - box[0], box[3] - box[1]) / 12


@given(box=whole_boxes())
@share(0.2)
def test_keypoints_scale_with_image_and_box(box):
    """A quarter of the keypoints is within one cell of the heatmap (1/12 of the crop's width).

    The pixels of the larger image are squares, so that the crop is not exactly the same, and the
    highest cell of a network with random weights can be another one.
    """
    image = make_image(5, WIDTH, HEIGHT)
    large = image.repeat(2, 0).repeat(2, 1)
    assert np.abs(crop_of(large, np.array(box) * 2) - crop_of(image, box)).mean() <= 8
    (expected,) = inferencer()(image, [box])
    (result,) = inferencer()(large, [np.array(box) * 2])
    errors = np.linalg.norm(result.keypoints - 2 * expected.keypoints, axis=-1)
    width = 1.25 * max(box[2] - box[0], 0.75 * (box[3] - box[1]))
    assert np.quantile(errors, 0.25) <= 2 * width / 12


def test_both_tools_give_the_same_keypoints(folder, tmp_path):
    """Run `tools/test.py` and `tools/infer.py` on annotated boxes at all borders."""
    people = [
        (x, y, width, height)
        for x, width in ((-4.3, 40.7), (0, 80), (45.2, 40.1), (-3, 86), (79.5, 20), (10, 25.5))
        for y, height in ((-5.5, 30.2), (0, 60), (35.1, 30), (-4, 68), (59.5, 9), (10, 20.25))
    ]
    config = tmp_path / 'config.py'
    text = TOP_DOWN.replace('(48, 64)', '(64, 64)').replace('(12, 16)', '(16, 16)')
    config.write_text(text + EVALUATION.format(folder=folder))
    model = estimator(text)
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=model.dataset_meta))
    torch.save(checkpoint, tmp_path / 'tiny.pth')
    write_annotations(folder, people)
    dump = tmp_path / 'predictions.pkl'
    options = ['--work-dir', str(tmp_path / 'work'), '--dump', str(dump)]
    evaluation.main([str(config), str(tmp_path / 'tiny.pth'), *options])
    tested = {sample['id']: sample['pred_instances'] for sample in load(dump)}
    # without the boxes in the last row or column, which are empty after they are clipped
    assert sorted(tested) == [n for n, (x, y, *_) in enumerate(people) if x < 79 and y < 59]
    out = tmp_path / 'out'
    infer.main(
        [
            *(str(folder / f'{IMAGE_ID}.png'), '--boxes', str(folder / 'annotations.json')),
            *('--model', str(config), '--weights', str(tmp_path / 'tiny.pth')),
            *('--out', str(out), '--draw', 'none', '--device', 'cpu', '--batch-size', '4'),
        ]
    )
    inferred = json.loads((out / 'predictions.json').read_text())
    assert len(inferred) == len(tested) == 25
    for instances, person in zip(tested.values(), inferred):
        x0, y0, x1, y1 = instances['bboxes'][0].tolist()
        np.testing.assert_allclose(person['bbox'], [x0, y0, x1 - x0, y1 - y0], rtol=1e-6)
        points = np.array(person['keypoints'], np.float32).reshape(17, 3)
        np.testing.assert_array_equal(points[:, :2], instances['keypoints'][0])
        np.testing.assert_array_equal(points[:, 2], instances['keypoint_scores'][0])
