"""Checks of the datasets of a run: files, detections, keypoints."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import DATASETS, METRICS

from ..configs import as_list, find_class, find_datasets, type_name
from ..datasets.mpii import MpiiDataset
from ..engine.distributed import is_first_process
from ..errors import ConfigError, DatasetError
from ..structures import coco_checker
from ..structures.coco import CocoFile
from ..structures.metainfo import check_sigma_values, read_metainfo
from ..structures.symmetry import find_pairs, find_sides, without_side
from .bottomup import check_image_sizes, check_sigmas, is_bottomup
from .ground_truth import check_truth

_GET_DATA = 'Give the folder of the dataset with --data-root. '
_GET_COCO = (
    'COCO 2017 is at https://cocodataset.org/#download (train2017, val2017, '
    'annotations, in the folder data/coco); a synthetic set is made by: '
    'python tools/make_synthetic_coco.py data/synthetic --train 2000 '
    '--val 200'
)
_GET_MPII = (
    'MPII is at http://human-pose.mpi-inf.mpg.de (docs/mpii.md has the '
    'annotations); a synthetic set is made by: python tools/'
    'make_synthetic_coco.py data/synthetic-mpii --format mpii'
)
_GET_DETECTIONS = (
    'Detections of COCO val2017 are linked at https://mmpose.readthedocs.io/'
    'en/latest/dataset_zoo/2d_body_keypoint.html#coco; to use the boxes of '
    'the annotations instead: --cfg-options '
    "{split}_dataloader.dataset.bbox_file=''"
)


def check_batches(cfg: Config, count: int) -> None:
    """Check that there is at least one batch in each epoch of the training.

    Args:
        cfg: The config.
        count: Number of samples of the training dataset.

    Raises:
        ConfigError: If incomplete batches are dropped, and there is no other.
    """
    loader = cfg.train_dataloader
    is_endless = 'InfiniteSampler' in type_name(loader.get('sampler') or {})
    batch_size, processes = loader.get('batch_size', 1), get_world_size()
    if loader.get('drop_last') and not is_endless and -(-count // processes) < batch_size:
        raise ConfigError(
            f'train_dataloader.batch_size={batch_size} and drop_last=True, but the training '
            f'dataset has {count} samples for {processes} process{"es" * (processes > 1)}: '
            'expected at most as many, or drop_last=False'
        )


def check_datasets(cfg: Config, splits: Sequence[str]) -> None:
    """Check that the files of the datasets exist and belong together.

    Args:
        cfg: A config.
        splits: The splits that will be used, of `'train'`, `'val'` and `'test'`.

    Raises:
        DatasetError: If a path is missing or an entry of a file does not match. The message names
            it, and how to get the data.
    """
    read = cache(CocoFile)  # the ground truth is often the annotations
    for split in splits:
        metrics = as_list(cfg.get(f'{split}_evaluator')) if split != 'train' else []
        for place, dataset in find_datasets(cfg, split):
            if 'ann_file' not in dataset:  # a wrapper
                continue
            annotations = str(_check_files(dataset, split))
            _check_head_boxes(dataset, split, place)
            files: dict[str, list[Mapping]] = {annotations: []}  # → metrics that use them
            for metric in metrics:
                truth = metric.get('ann_file') or annotations
                if not Path(truth).is_file():
                    raise DatasetError(
                        f'ground truth of the {split} metric not found: {truth} '
                        f'({split}_evaluator.ann_file). {_how_to_get(dataset)}'
                    )
                check_truth(metric, split, dataset, read)
                same = Path(truth).resolve() == Path(annotations).resolve()
                files.setdefault(annotations if same else truth, []).append(metric)
            if is_bottomup(dataset):
                check_image_sizes(dataset, annotations, read)
            # The others wait for the first process, and end if it raises.
            for path, users in files.items() if is_first_process() else ():
                _check_content(dataset, path, users, read)
            _check_boxes(dataset, split, annotations, read)


def _check_head_boxes(dataset: Mapping, split: str, place: str) -> None:
    heads = dataset.get('headbox_file')
    if split != 'train' and heads and not Path(heads).is_file():
        raise DatasetError(
            f'{split} head boxes not found: {heads} ({place}.headbox_file). PCKh is '
            'measured against them; mpii_gt_val.mat comes with the '
            'annotations that https://mmpose.readthedocs.io/en/latest/'
            'dataset_zoo/2d_body_keypoint.html#mpii links to'
        )


def _check_content(
    dataset: Mapping, annotations: str, metrics: Sequence[Mapping], read: Callable[[str], CocoFile]
) -> None:
    """Check the entries of annotations in COCO's format, and log warnings.

    Args:
        dataset: Config of the dataset.
        annotations: Path of its annotations.
        metrics: Configs of the metrics.
        read: Reads annotations.
    """
    if not reads_coco(dataset):
        return
    file = read(annotations)
    folder = Path(
        dataset.get('data_root') or '.', (dataset.get('data_prefix') or {}).get('img', '')
    )
    findings = coco_checker.check_annotations(
        file,
        folder,
        # The losses of bottom-up models use it if there is one.
        use_area=any(map(_uses_area, metrics)) or (None if is_bottomup(dataset) else False),
    )
    _log_warnings(file, coco_checker.raise_errors(file, findings))
    metainfo = dataset.get('metainfo') or find_class(dataset, DATASETS).METAINFO
    names = coco_checker.split_annotations(file).names
    if names and isinstance(metainfo, Mapping) and metainfo:
        parsed = read_metainfo(metainfo)
        described = [parsed['keypoint_id2name'][k] for k in range(parsed['num_keypoints'])]
        check_names(names, described, file.path, type_name(dataset))


def check_names(names: Sequence[str], described: Sequence[str], path: str, kind: str) -> None:
    """Compare the names of the keypoints in annotations with those of the dataset.

    Names that differ only in their spelling, such as `left_eye` and `L_Eye`, are equal. A warning
    is logged for other names, since they may mean the same keypoint.

    Args:
        names: Names in the annotations. Nothing is checked if there are more or fewer.
        described: Names in the metainfo of the dataset.
        path: Path of the annotations, for the message.
        kind: Type of the dataset, for the message.

    Raises:
        DatasetError: If the names are the same, but in another order.
    """
    if len(names) != len(described):
        return
    first, second = (list(zip(find_sides(both), _joints(both))) for both in (names, described))
    differences = [
        k
        for k, ((side, joint), (other_side, other)) in enumerate(zip(first, second))
        if side != other_side or not _is_same_joint(joint, other)
    ]
    if not differences:
        return
    k = differences[0]
    message = (
        f'{path}: keypoint {k} of the category is {names[k]!r}, but {described[k]!r} in the '
        f'metainfo of {kind} ({len(differences)} of {len(names)} keypoints differ)'
    )
    advice = (
        'use the dataset type, or a metainfo file (tools/make_dataset_info.py writes one), that '
        'describes these keypoints'
    )
    if sorted(first) == sorted(second):
        raise DatasetError(f'{message}: expected the same order, otherwise {advice}')
    print_log(f'{message}: if they are other keypoints, {advice}', 'current', logging.WARNING)


def _is_same_joint(first: str, second: str) -> bool:
    """Compare names of `_joints`: head and top_head of CrowdPose, front_paw and f_paw of AP-10K."""
    if first in second or second in first:
        return True
    words = first.split('_'), second.split('_')
    return len(words[0]) == len(words[1]) and all(
        a.startswith(b) or b.startswith(a) for a, b in zip(*words)
    )


def _joints(names: Sequence[str]) -> list[str]:
    pairs = find_pairs(names)
    return [without_side(name, name in pairs) for name in names]


def _uses_area(metric: Mapping) -> bool:
    return (
        type_name(metric).startswith('Coco')
        and metric.get('use_area', True)
        and not metric.get('format_only')
    )


def is_coco_style(dataset: Mapping) -> bool:
    """Return whether the annotations of a dataset are a COCO file; those of 3D poses are not."""
    from mmpose.datasets.datasets.base import BaseCocoStyleDataset

    kind = find_class(dataset, DATASETS)
    return isinstance(kind, type) and issubclass(kind, BaseCocoStyleDataset)


def reads_coco(dataset: Mapping) -> bool:
    """Return whether MMPose reads a dataset as COCO's annotations of single people.

    Datasets whose class parses annotations in another way are not checked, except for
    COCO-WholeBody.
    """
    from mmpose.datasets.datasets.base import BaseCocoStyleDataset
    from mmpose.datasets.datasets.wholebody import CocoWholeBodyDataset

    if not is_coco_style(dataset):
        return False
    kind = find_class(dataset, DATASETS)
    parsers = [kind._load_annotations, kind.load_data_list, kind.parse_data_info]
    base = BaseCocoStyleDataset
    if issubclass(kind, CocoWholeBodyDataset):
        base = CocoWholeBodyDataset
    return parsers == [base._load_annotations, base.load_data_list, base.parse_data_info]


def _log_warnings(file: CocoFile, warnings: Sequence[coco_checker.Finding]) -> None:
    for warning in warnings:
        print_log(f'{file.path}: {warning}', 'current', logging.WARNING)


def _how_to_get(dataset: dict) -> str:
    mpii = type_name(dataset) == MpiiDataset.__name__
    return _GET_DATA + (_GET_MPII if mpii else _GET_COCO)


def _check_files(dataset: dict, split: str) -> Path:
    """Check that annotations and images exist.

    Returns:
        The path of the annotations.
    """
    root = Path(dataset.get('data_root') or '.')
    annotations = root / dataset['ann_file']
    if not annotations.is_file():
        raise DatasetError(f'{split} annotations not found: {annotations}. ' + _how_to_get(dataset))
    prefixes = dataset.get('data_prefix')
    if prefixes is not None and list(prefixes) != ['img'] and reads_coco(dataset):
        raise ConfigError(
            f'{split}_dataloader.dataset.data_prefix={dict(prefixes)!r}: expected dict(img=…), the '
            'folder of the images in data_root'
        )
    for prefix in (dataset.get('data_prefix') or {}).values():
        if not (root / prefix).is_dir():
            raise DatasetError(
                f'{split} images not found: there is no folder '
                f'{root / prefix}. {_how_to_get(dataset)}'
            )
    return annotations


def _check_boxes(
    dataset: dict, split: str, annotations: str, read: Callable[[str], CocoFile]
) -> None:
    """Check that detections exist where they are needed, and belong to the images."""
    boxes = dataset.get('bbox_file')
    how = _GET_DETECTIONS.format(split=split)
    if boxes and not Path(boxes).is_file():
        raise DatasetError(f'{split} detections not found: {boxes}. {how}')
    if not is_coco_style(dataset):
        return
    if boxes:
        check_detection_file(CocoFile(boxes, 'detections'), read(annotations))
    elif split == 'test' and not is_bottomup(dataset) and read(annotations).is_image_list:
        raise DatasetError(
            f'{annotations} is a list of images without people: give '
            f'detections ({split}_dataloader.dataset.bbox_file). {how}'
        )


def check_keypoints(cfg: Config, dataset, split: str) -> None:
    """Check that annotations, dataset description and model have the same number of keypoints.

    Args:
        cfg: The config.
        dataset: A dataset that was built from the config.
        split: Name of its split, for the message.

    Raises:
        DatasetError: If the numbers of keypoints differ, a sigma is not a positive number, or a
            metric needs sigmas and there are none.
        ConfigError: If `output_keypoint_indices` are not keypoints of the model.
    """
    num_keypoints = dataset.metainfo['num_keypoints']
    source = cfg[f'{split}_dataloader'].dataset
    where = f'{split} data ({source.get("ann_file", source.type)})'
    for number in range(min(len(dataset), 100)):
        person = dataset.get_data_info(number)
        shape = np.shape(person.get('keypoints', ()))
        if len(shape) > 1 and shape[1] != num_keypoints:
            raise DatasetError(
                f'{where} has {shape[1]} keypoints per person (annotation '
                f'{_person_id(person.get("id"))}), but '
                f'{type(dataset).__name__} has {num_keypoints}. Use the dataset '
                'type, or a metainfo file (tools/make_dataset_info.py writes '
                'one), that describes these keypoints'
            )
    check_sigma_values(dataset.metainfo, f'the metainfo of the {where}')
    _check_metric_sigmas(cfg, dataset.metainfo, split, where)
    check_sigmas(cfg, num_keypoints, where)
    check_swaps(dataset.metainfo, where)
    head = cfg.model.get('head') or {}
    key = 'out_channels' if 'out_channels' in head else 'num_keypoints'
    predicted = head.get(key)
    decoder = head.get('decoder')
    if isinstance(decoder, dict) and decoder.get('heatmap_type') == 'combined':
        predicted //= 3  # a heatmap and two maps of offsets per keypoint
    if not isinstance(predicted, int):
        return
    option, value = f'model.head.{key}', str(num_keypoints)
    # models of merged datasets return the keypoints of one of them
    indices = (cfg.model.get('test_cfg') or {}).get('output_keypoint_indices')
    if indices is not None and split != 'train':
        option, value = 'model.test_cfg.output_keypoint_indices', f'those {num_keypoints} keypoints'
        wrong = [index for index in indices if not 0 <= index < predicted]
        if wrong:
            raise ConfigError(
                f'{option} contains {wrong[0]}: the model predicts {predicted} keypoints '
                f'(model.head.{key}), which count from 0'
            )
        predicted = len(indices)
    if predicted != num_keypoints:
        raise DatasetError(
            f'the model predicts {predicted} keypoints ({option}), but {where} has '
            f'{num_keypoints}: set --cfg-options {option}={value}'
        )


def _check_metric_sigmas(cfg: Config, metainfo: Mapping, split: str, where: str) -> None:
    """Check that there are sigmas if the keypoints are compared by OKS."""
    if split == 'train' or np.size(metainfo.get('sigmas', ())):
        return
    for metric in as_list(cfg.get(f'{split}_evaluator')):
        kind = find_class(metric, METRICS)
        if isinstance(kind, type) and issubclass(kind, CocoMetric):
            raise DatasetError(
                f'the metainfo of the {where} has no sigmas, which {kind.__name__} needs '
                f'({split}_evaluator): add them to the metainfo file (tools/make_dataset_info.py '
                'writes one), or use PCKAccuracy, NME or EPE'
            )


def check_swaps(metainfo: Mapping, where: str) -> None:
    """Warn if a flip does not exchange keypoints in pairs.

    Args:
        metainfo: Parsed metainfo with `flip_indices`.
        where: Name of the data, for the message.
    """
    indices = list(metainfo.get('flip_indices', ()))
    if not all(0 <= index < len(indices) for index in indices):
        return
    wrong = [k for k, partner in enumerate(indices) if indices[partner] != k]
    if wrong:
        names = metainfo.get('keypoint_id2name', {})
        first = wrong[0]
        partner = indices[first]
        a, b, c = (names.get(k, k) for k in (first, partner, indices[partner]))
        print_log(
            f'{where}: in the metainfo, a flip exchanges the keypoint {a} with {b}, but {b} with '
            f'{c}: expected pairs (swap), since flipped images get wrong labels ({len(wrong)} of '
            f'{len(indices)} keypoints)',
            'current',
            logging.WARNING,
        )


def _person_id(value):
    """Return the ID of a person, or of the first person of an image."""
    return value[0] if isinstance(value, list) and value else value


def check_detection_file(boxes: CocoFile, annotations: CocoFile) -> None:
    """Check that detections have all fields and belong to the images, and log warnings.

    Args:
        boxes: Detections in COCO's results format.
        annotations: Annotations or an image list in COCO's format.

    Raises:
        DatasetError: If there are no detections, or a detection has no such field or belongs to
            another image.
    """
    findings = coco_checker.check_detections(boxes, annotations)
    _log_warnings(boxes, coco_checker.raise_errors(boxes, findings))
