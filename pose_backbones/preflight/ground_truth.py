"""Ground truth that lacks what a metric compares with."""

from pathlib import Path

from mmengine.fileio import load as load_file
from mmpose.evaluation.metrics import CocoMetric, MpiiPCKAccuracy
from mmpose.registry import DATASETS, METRICS

from ..datasets.mpii import MpiiDataset, read_people
from ..errors import ConfigError, DatasetError
from ..evaluation.mpii import MpiiPCKh


def check_truth(metric: dict, split: str, dataset: dict) -> None:
    """Refuse annotations without what the metric needs of them.

    Args:
        metric: One of the config's, whose files are there.
        split: Its name, for the message.
        dataset: The config of the data set.

    Raises:
        DatasetError: If there is nothing to compare predictions with.
        ConfigError: If the metric does not go with the data set.
    """
    kind = METRICS.get(metric['type'])
    if not isinstance(kind, type) or metric.get('format_only'):
        return
    if issubclass(kind, CocoMetric):
        truth = metric.get('ann_file')
        if truth and is_image_list(truth):
            raise DatasetError(
                f'{truth} is a list of images without annotations, so there '
                f'is nothing to compare with ({split}_evaluator.ann_file): '
                'tools/test.py --format-only writes the predictions for '
                "COCO's server"
            )
        if truth:
            _check_measures(metric, split, dataset, truth)
    elif issubclass(kind, (MpiiPCKh, MpiiPCKAccuracy)):
        _check_mpii(dataset, split, kind)


def _check_measures(metric: dict, split: str, dataset: dict, truth: str) -> None:
    """Refuse annotations without areas, or CrowdPose's levels, if needed."""
    content = read_json(truth, 'annotations')
    people = content.get('annotations', [])
    counts = sorted({len(p['keypoints']) // 3 for p in people if 'keypoints' in p})
    images = content.get('images', [])
    crowd = metric.get('iou_type') == 'keypoints_crowd'
    for wanted, key, entries, what in (
        (crowd, 'crowdIndex', images, 'images'),
        (metric.get('use_area', True), 'area', people, 'people'),
    ):
        lacking = [entry['id'] for entry in entries if key not in entry]
        if wanted and lacking:
            raise DatasetError(
                f'{truth} has no {key} of {len(lacking)} of {len(entries)} '
                f'{what} (such as {lacking[0]}), by which {split}_evaluator '
                f'measures; its people have '
                f'{" or ".join(map(str, counts))} key points. Give '
                f'annotations of the kind that {dataset["type"]} reads, or '
                'set ' + ("iou_type='keypoints'" if key == 'crowdIndex' else 'use_area=False')
            )


def _check_mpii(dataset: dict, split: str, kind: type) -> None:
    ours = DATASETS.get(dataset['type']) is MpiiDataset
    if ours != issubclass(kind, MpiiPCKh):
        raise ConfigError(
            f'{split}_evaluator: {kind.__name__} does not go with '
            f'{dataset["type"]}: pixels count from 0 in '
            'pose_backbones.MpiiDataset and pose_backbones.MpiiPCKh, but '
            "from 1 in the labels of MMPose's MpiiDataset and in "
            'MpiiPCKAccuracy'
        )
    if not ours:
        return
    annotations = Path(dataset.get('data_root') or '.', dataset['ann_file'])
    people = read_people(str(annotations), dataset.get('headbox_file'))
    if not any(person['labelled'].any() for person in people):
        raise DatasetError(
            f'{annotations} has no labelled joints, as those of the test '
            'split, so there is nothing to compare with: tools/test.py '
            '--format-only writes the predictions'
        )
    bare = [number for number, person in enumerate(people) if person['head_size'] is None]
    if bare:
        raise DatasetError(
            f'{annotations} has no head boxes ({len(bare)} of {len(people)} '
            f'people, such as number {bare[0]}), and PCKh is measured by '
            f'them: give {split}_dataloader.dataset.headbox_file '
            '(mpii_gt_val.mat), or each person a headbox, [x1, y1, x2, y2]. '
            'tools/test.py --format-only writes predictions without them'
        )


def is_image_list(path: str) -> bool:
    """Whether a file has images but no annotation, as those of test sets.

    Args:
        path: In COCO's format, or another.

    Returns:
        The answer.

    Raises:
        DatasetError: If it is no JSON file.
    """
    content = read_json(path, 'annotations')
    return isinstance(content, dict) and 'images' in content and not content.get('annotations')


def read_json(path: str, what: str):
    """Read a JSON file.

    Args:
        path: Of the file.
        what: It holds, for the message.

    Returns:
        Its content.

    Raises:
        DatasetError: If it is none.
    """
    try:
        return load_file(path, file_format='json')
    except ValueError as error:
        raise DatasetError(f'{what} unreadable: {path} is no JSON file ({error})') from error
