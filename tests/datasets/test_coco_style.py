"""MMPose's datasets and metrics read COCO files through the reader of this package."""

import copy
import json
from contextlib import suppress

import numpy as np
import pytest
from mmpose.datasets import CocoDataset
from mmpose.datasets.transforms import BottomupGetHeatmapMask
from mmpose.evaluation.metrics import CocoMetric

from pose_backbones.datasets import coco_style
from pose_backbones.errors import DatasetError
from pose_backbones.structures.coco_index import read_index

coco_style.patch()
POINTS = [value for point in range(17) for value in (10.0 + 2 * point, 20.0 + point, 2)]


def person(number: int, category: int = 1, **fields) -> dict:
    return dict(
        id=number,
        image_id=number,
        category_id=category,
        bbox=[5, 10, 50, 40],
        area=1060.0,
        keypoints=POINTS,
        num_keypoints=17,
        **fields,
    )


def content(category: int = 1) -> dict:
    names = [f'point {number}' for number in range(17)]
    return dict(
        images=[
            dict(id=number, file_name=f'{number}.jpg', width=64, height=64)
            for number in range(1, 5)
        ],
        categories=[dict(id=category, name='x', keypoints=names), dict(id=9, name='ball')],
        annotations=[person(number, category) for number in range(1, 5)],
    )


def write(path, value, encoding: str = 'utf-8') -> str:
    path.write_text(json.dumps(value), encoding)
    return str(path)


def test_variants_that_json_allows_are_read(tmp_path):
    annotations = content()
    annotations['images'][0]['id'] = 1.0
    annotations['annotations'][0]['image_id'] = 1.0
    annotations['annotations'].append(dict(id=7, image_id=1, category_id=9, bbox=[1, 1, 4, 4]))
    path = write(tmp_path / 'a.JSON', annotations, 'utf-8-sig')
    dataset = CocoDataset(ann_file=path)
    assert [dataset.get_data_info(n)['img_id'] for n in range(len(dataset))] == [1, 2, 3, 4]
    index = read_index(path)
    assert [entry['iscrowd'] for entry in index.anns.values()] == [0] * 4
    assert sorted(index.anns) == [1, 2, 3, 4]  # the ball has no keypoints
    assert sorted(index.cats) == [1, 9]
    metric = CocoMetric(ann_file=path)
    assert sorted(metric.coco.anns) == [1, 2, 3, 4]


@pytest.mark.parametrize('category', [0, 1, 3])
def test_detections_of_the_category_with_keypoints(tmp_path, category, caplog):
    path = write(tmp_path / 'a.json', content(category))
    detections = [
        dict(image_id=1, category_id=found, bbox=[number, 10, 50, 40], score=0.5)
        for number, found in enumerate((category, 9, category))
    ]
    boxes = write(tmp_path / 'boxes.JSON', detections, 'utf-8-sig')
    dataset = CocoDataset(ann_file=path, bbox_file=boxes, test_mode=True)
    samples = [dataset.get_data_info(n) for n in range(len(dataset))]
    assert [sample['bbox'][0, 0] for sample in samples] == [0, 2]
    assert [int(sample['category_id']) for sample in samples] == [category] * 2
    with pytest.raises(
        DatasetError, match=r'no detection has the category .*: its detections .* 9'
    ):
        CocoDataset(
            ann_file=path, bbox_file=write(tmp_path / 'b.json', detections[1:2]), test_mode=True
        )


@pytest.mark.parametrize('category', [0, 1, 3])
def test_predictions_without_a_category_are_evaluated(tmp_path, category):
    path = write(tmp_path / 'a.json', content(category))
    dataset = CocoDataset(ann_file=path, test_mode=True)
    metric = CocoMetric(ann_file=path)
    metric.dataset_meta = dataset.metainfo
    points = np.reshape(POINTS, (1, 17, 3))
    for number in range(len(dataset)):
        sample = dataset.get_data_info(number)
        metric.process(
            [],
            [
                dict(
                    id=sample['id'],
                    img_id=sample['img_id'],
                    gt_instances=dict(bbox_scores=np.ones(1)),
                    pred_instances=dict(
                        keypoints=points[..., :2], keypoint_scores=np.ones((1, 17))
                    ),
                )
            ],
        )
    assert metric.evaluate(len(dataset))['coco/AP'] == 1


@pytest.mark.parametrize('first', [0, 8])
def test_evaluation_of_some_keypoints(tmp_path, first):
    """The dataset describes the nine keypoints that `gt_converter` selects."""
    mapping = [(first + number, number) for number in range(9)]
    sigmas = [0.01 * (number + 1) for number in range(9)]
    path = write(tmp_path / 'a.json', content())
    metric = CocoMetric(ann_file=path, gt_converter=dict(num_keypoints=9, mapping=mapping))
    metric.dataset_meta = dict(dataset_name='nine', num_keypoints=9, sigmas=np.array(sigmas))
    assert metric.dataset_meta['sigmas'].tolist() == sigmas
    points = np.reshape(POINTS, (1, 17, 3))[:, first : first + 9]
    for _ in range(2):
        for number in range(1, 5):
            predicted = dict(keypoints=points[..., :2], keypoint_scores=np.ones((1, 9)))
            boxes = dict(bbox_scores=np.ones(1))
            sample = dict(id=number, img_id=number, gt_instances=boxes, pred_instances=predicted)
            metric.process([], [sample])
        assert metric.evaluate(4)['coco/AP'] == 1
    # MMPose's use: metainfo of the annotations, whose sigmas are converted
    metric = CocoMetric(ann_file=path, gt_converter=dict(num_keypoints=9, mapping=mapping))
    sigmas = [0.01 * (number + 1) for number in range(17)]
    metric.dataset_meta = dict(dataset_name='all', num_keypoints=17, sigmas=np.array(sigmas))
    assert metric.dataset_meta['sigmas'].tolist() == sigmas[first : first + 9]


def test_segmentations_that_mmpose_cannot_read(tmp_path):
    """Objects without a polygon beside others, as in the images of a bottom-up dataset."""
    annotations = content()
    values = (None, [[1, 2, 3, 4]], [], [[1, 2, 9, 2, 9, 8], [1, 2]])
    for entry, value in zip(annotations['annotations'], values):
        entry.update(image_id=1, keypoints=[0] * 51, num_keypoints=0, segmentation=value)
    annotations['annotations'].append({**person(8), 'image_id': 1})
    path = write(tmp_path / 'a.json', annotations)
    found = [entry['segmentation'] for entry in read_index(path).anns.values()]
    assert found == [{}, {}, {}, [[1, 2, 9, 2, 9, 8]], {}]
    dataset = CocoDataset(ann_file=path, data_mode='bottomup')
    assert dataset.get_data_info(0)['invalid_segs'] == found[:4]
    transform = BottomupGetHeatmapMask()
    mask = transform._segs_to_mask(found[:4], (20, 20))
    assert mask.sum() == pytest.approx(24, abs=12)


def test_samples_have_copies_of_the_metainfo(tmp_path):
    dataset = CocoDataset(ann_file=write(tmp_path / 'a.json', content()))
    names = ('flip_pairs', 'flip_indices', 'skeleton_links', 'dataset_keypoint_weights')
    expected = copy.deepcopy({name: dataset.metainfo[name] for name in names})
    sample = dataset.get_data_info(0)
    np.testing.assert_equal({name: sample[name] for name in names}, expected)
    sample['flip_pairs'].clear()
    sample['skeleton_links'][0] = None
    sample['dataset_keypoint_weights'][:] = 0
    again = dataset.get_data_info(0)
    np.testing.assert_equal({name: again[name] for name in names}, expected)


@pytest.mark.parametrize(
    'value',
    [[[1], None], dict(a=[np.float32(1), (2, 'x')]), np.array([[1], None], object), [lambda: 0]],
    ids=['list', 'dict', 'array of objects', 'not picklable'],
)
def test_metainfo_of_any_type_is_copied(value):
    copied = coco_style.copy_metainfo(value)
    assert type(copied) is type(value)
    assert copied is not value
    np.testing.assert_equal(copied, value)


def test_threshold_above_all_scores_of_keypoints(tmp_path, mmengine_log):
    """MMPose gives all poses the score 0."""
    metric = CocoMetric(ann_file=write(tmp_path / 'a.json', content()), keypoint_score_thr=5)
    metric.dataset_meta = dict(CLASSES=['person'], num_keypoints=17, sigmas=np.full(17, 0.05))
    for number in range(1, 5):
        instances = dict(
            keypoints=np.reshape(POINTS, (1, 17, 3))[..., :2],
            keypoint_scores=np.full((1, 17), 0.1 * number),
            bbox_scores=np.ones(1),
        )
        sample = dict(id=number, img_id=number, pred_instances=instances, gt_instances={})
        metric.process([], [sample])
    metric.evaluate(size=4)
    messages = [text for text in mmengine_log.messages if 'keypoint_score_thr' in text]
    # There are no scores without predictions.
    none = (dict(keypoint_scores=np.zeros((0, 17))), {})
    with suppress(Exception):  # MMPose's method
        metric.compute_metrics([none])
    assert [text for text in mmengine_log.messages if 'keypoint_score_thr' in text] == messages
    (message,) = messages
    assert message.startswith(
        'the highest score of a keypoint is 0.4, and keypoint_score_thr of the metric is 5: all '
        'poses have the score 0'
    )
