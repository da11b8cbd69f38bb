"""Patch how MMPose reads COCO files: through the reader of this package.

MMPose's datasets and its `CocoMetric` then accept files with a byte order mark, IDs such as 7.0,
missing `iscrowd` entries, the suffix `.JSON`, and objects without keypoints beside those with
keypoints. Detections and predictions have the category with keypoints of the annotations, where
MMPose assumes that its ID is 1. AP of medium and large people is that of COCO's server, see
`KeypointIndex`. A `gt_converter` can be used with a `CombinedDataset`, and in several evaluations.
Copying the metainfo, which MMPose does for each sample, takes less time.
"""

import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmpose.datasets.datasets.base import base_coco_style_dataset
from mmpose.evaluation.metrics import coco_metric

from ..errors import DatasetError, shown
from ..structures.coco import CocoFile
from ..structures.coco_category import PERSON, keypoint_category_ids
from ..structures.coco_index import read_index

_Dataset = base_coco_style_dataset.BaseCocoStyleDataset
_Metric = coco_metric.CocoMetric


def load_detections(dataset: _Dataset) -> list[dict]:
    """Load the detections of a dataset, as `_load_detection_results` of MMPose does.

    Args:
        dataset: The dataset, whose `bbox_file` is read.

    Returns:
        A sample for each detection of a category with keypoints.

    Raises:
        DatasetError: If there is no such detection.
    """
    file = CocoFile(dataset.bbox_file, 'detections')
    categories = keypoint_category_ids(CocoFile(dataset.ann_file))
    detections = [entry for entry in file.entries() if entry['category_id'] in categories]
    left_out = len(file.entries()) - len(detections)
    listed = ', '.join(map(shown, categories))
    if not detections:
        ids = sorted({shown(entry['category_id']) for entry in file.entries()})
        raise DatasetError(
            f'{file.path}: no detection has the category with keypoints of {dataset.ann_file}, '
            f'{listed}: its detections have the category_id {", ".join(ids[:5])}'
        )
    if left_out:
        print_log(
            f'{file.path}: {left_out} of {len(file.entries())} detections are left out, since '
            f'their category_id is not {listed}',
            'current',
            logging.WARNING,
        )
    # MMPose keeps the detections of category 1.
    samples = _load_as_person(dataset, [{**entry, 'category_id': PERSON} for entry in detections])
    for sample, entry in zip(samples, detections, strict=True):
        sample['category_id'] = np.array(entry['category_id'])
    return samples


def _load_as_person(dataset: _Dataset, detections: list[dict]) -> list[dict]:
    """Call MMPose's method with other detections than those of the file."""
    load = base_coco_style_dataset.load
    base_coco_style_dataset.load = lambda _: detections
    try:
        return _load_detection_results(dataset)
    finally:
        base_coco_style_dataset.load = load


def process(metric: _Metric, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
    """Process predictions as MMPose does; those without a category get that of the annotations.

    Args:
        metric: The metric.
        data_batch, data_samples: See `CocoMetric.process`.
    """
    if metric.coco is not None:
        categories = [
            key for key, entry in metric.coco.cats.items() if entry.get('keypoints')
        ] or list(metric.coco.cats)
        for sample in data_samples if len(categories) == 1 else ():
            sample.setdefault('category_id', categories[0])
    _process(metric, data_batch, data_samples)


def set_dataset_meta(metric: _Metric, dataset_meta: dict) -> None:
    """Set the metainfo of the dataset as MMPose does.

    With `gt_converter`, MMPose converts the sigmas of the metainfo like the annotations. They are
    kept if the metainfo already describes the converted keypoints, as that of a `CombinedDataset`.

    Args:
        metric: The metric.
        dataset_meta: The metainfo.
    """
    converter = metric.gt_converter
    keep = converter is not None and _is_converted(metric, len(dataset_meta['sigmas']))
    with _without_converter(metric) if keep else nullcontext():
        _set_dataset_meta(metric, dataset_meta)


@contextmanager
def _without_converter(metric: _Metric) -> Iterator[None]:
    """Let the metric convert no annotations and sigmas within a `with` statement."""
    converter, metric.gt_converter = metric.gt_converter, None
    try:
        yield
    finally:
        metric.gt_converter = converter


def _is_converted(metric: _Metric, count: int) -> bool:
    """Return whether `count` keypoints are those after the conversion by `gt_converter`."""
    if count != metric.gt_converter['num_keypoints']:
        return False
    counts = {
        len(category['keypoints'])
        for category in (metric.coco.cats.values() if metric.coco is not None else ())
        if category.get('keypoints')
    }
    if counts:
        return count not in counts
    return any(np.max(source) >= count for source, _ in metric.gt_converter['mapping'])


def compute_metrics(metric: _Metric, results: list) -> dict:
    """Compute the metrics as MMPose does, which would convert the annotations in each evaluation.

    A warning is logged if no keypoint has a score above `keypoint_score_thr`, since the score of
    each pose is then 0, and AP depends on the order of the predictions.

    Args:
        metric, results: See `CocoMetric.compute_metrics`.
    """
    scores = [prediction['keypoint_scores'] for prediction, _ in results]
    best = max((float(values.max()) for values in scores if values.size), default=None)
    if (
        metric.score_mode == 'bbox_keypoint'
        and best is not None
        and (best <= metric.keypoint_score_thr)
    ):
        print_log(
            f'the highest score of a keypoint is {best:.3g}, and keypoint_score_thr of the metric '
            f'is {metric.keypoint_score_thr:g}: all poses have the score 0, so AP has no meaning',
            'current',
            logging.WARNING,
        )
    with _without_converter(metric) if getattr(metric, 'gt_is_converted', False) else nullcontext():
        try:
            return _compute_metrics(metric, results)
        finally:
            metric.gt_is_converted = True


def _load_annotations(path: str) -> dict:
    """Return the content of annotations, as `mmengine.load` does."""
    return CocoFile(path).content


def copy_metainfo(value: Any) -> Any:
    """Return a deep copy of an entry of the metainfo, which MMPose adds to each sample.

    Pickling copies lists of numbers ten times as fast as `copy.deepcopy`, and arrays more slowly
    than their own method.

    Args:
        value: Lists, dicts, arrays, numbers and strings.
    """
    if type(value) is str:
        return value
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return value.copy()
    try:
        return pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except (pickle.PicklingError, AttributeError, TypeError):
        return deepcopy(value)


_compute_metrics = _Metric.compute_metrics
_set_dataset_meta = _Metric.dataset_meta.fset
_load_detection_results = _Dataset._load_detection_results
_process = _Metric.process


def patch() -> None:
    """Patch MMPose, once."""
    base_coco_style_dataset.COCO = coco_metric.COCO = read_index
    base_coco_style_dataset.deepcopy = copy_metainfo
    _Dataset._load_detection_results = load_detections
    _Metric.process = process
    _Metric.dataset_meta = property(_Metric.dataset_meta.fget, set_dataset_meta)
    _Metric.compute_metrics = compute_metrics
    coco_metric.load = _load_annotations
