"""Checks that the ground truth has what a metric needs."""

from collections.abc import Callable
from pathlib import Path

from mmpose.evaluation.metrics import (
    CocoMetric,
    CocoWholeBodyMetric,
    MpiiPCKAccuracy,
    PoseTrack18Metric,
)
from mmpose.registry import DATASETS, METRICS

from ..configs import find_class
from ..datasets.mpii import MpiiDataset, read_people
from ..errors import ConfigError, DatasetError
from ..evaluation.mpii import MpiiPCKh
from ..structures.coco import CocoFile, has_fields, valid_crowd_index


def check_truth(metric: dict, split: str, dataset: dict, read: Callable[[str], CocoFile]) -> None:
    """Check that the annotations have what a metric needs.

    Args:
        metric: Config of the metric, whose files exist.
        split: Name of the split, for the message.
        dataset: Config of the dataset.
        read: Reads annotations.

    Raises:
        DatasetError: If there is nothing to compare predictions with, or a field is missing.
        ConfigError: If the metric does not fit the dataset.
    """
    kind = find_class(metric, METRICS)
    if not isinstance(kind, type) or metric.get('format_only'):
        return
    if issubclass(kind, CocoWholeBodyMetric):
        _check_whole_body(metric, split, dataset, read)
    if issubclass(kind, CocoMetric):
        truth = read(metric['ann_file']) if metric.get('ann_file') else None
        if truth is not None and truth.is_image_list:
            raise DatasetError(
                f'{truth.path} is a list of images without annotations, so there '
                f'is nothing to compare with ({split}_evaluator.ann_file): '
                'tools/test.py --format-only writes the predictions for '
                "COCO's server"
            )
        if truth is not None and not issubclass(kind, PoseTrack18Metric):
            _check_measures(metric, split, dataset, truth)
    elif issubclass(kind, (MpiiPCKh, MpiiPCKAccuracy)):
        _check_mpii(dataset, split, kind)


def _check_measures(metric: dict, split: str, dataset: dict, truth: CocoFile) -> None:
    """Check that there are areas or the crowding of images, where the metric uses them."""
    people, images = (truth.entries(name) for name in ('annotations', 'images'))
    counts = sorted(
        {len(p['keypoints']) // 3 for p in people if isinstance(p.get('keypoints'), list)}
    )
    crowd = metric.get('iou_type') == 'keypoints_crowd'
    for required, kind, entries, field, instead in (
        (crowd, 'image', images, 'crowdIndex', "iou_type='keypoints'"),
        (metric.get('use_area', True), 'annotation', people, 'area', 'use_area=False'),
    ):
        expected = (
            f'{split}_evaluator needs it. The people in the file have '
            f'{" or ".join(map(str, counts))} keypoints. Give annotations of the kind that '
            f'{dataset["type"]} reads, or set {instead}'
        )
        if required:
            truth.check(kind, entries, has_fields(field, expected=expected))
    if crowd:
        truth.check('image', images, valid_crowd_index)


def _check_whole_body(
    metric: dict, split: str, dataset: dict, read: Callable[[str], CocoFile]
) -> None:
    """Check that there are annotations of the whole body."""
    path = metric.get('ann_file') or str(Path(dataset.get('data_root') or '.', dataset['ann_file']))
    people = [person for person in read(path).entries('annotations') if person.get('keypoints')]
    if people and not any('foot_kpts' in person for person in people):
        raise ConfigError(
            f'{split}_evaluator.type={metric["type"]!r} needs the keypoints of the whole body, but '
            f'the people in {path} have no foot_kpts: use CocoMetric'
        )


def _check_mpii(dataset: dict, split: str, kind: type) -> None:
    is_package_dataset = find_class(dataset, DATASETS) is MpiiDataset
    if is_package_dataset != issubclass(kind, MpiiPCKh):
        raise ConfigError(
            f'{split}_evaluator: {kind.__name__} does not fit '
            f'{dataset["type"]}: pixels count from 0 in '
            'pose_backbones.MpiiDataset and pose_backbones.MpiiPCKh, but '
            "from 1 in the labels of MMPose's MpiiDataset and in "
            'MpiiPCKAccuracy'
        )
    if not is_package_dataset:
        return
    annotations = Path(dataset.get('data_root') or '.', dataset['ann_file'])
    people = read_people(str(annotations), dataset.get('headbox_file'))
    if not any(person['labelled'].any() for person in people):
        raise DatasetError(
            f'{annotations} has no labelled joints, like the test split, so '
            'there is nothing to compare with: tools/test.py '
            '--format-only writes the predictions'
        )
    bare = [number for number, person in enumerate(people) if person['head_size'] is None]
    if bare:
        raise DatasetError(
            f'{annotations} has no head boxes ({len(bare)} of {len(people)} '
            f'people, such as number {bare[0]}), which PCKh '
            f'needs: give {split}_dataloader.dataset.headbox_file '
            '(mpii_gt_val.mat), or each person a headbox, [x1, y1, x2, y2]. '
            'tools/test.py --format-only writes predictions without them'
        )
