"""Checks of the data sets of a run: files, detections, keypoints, input size."""

from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ..configs import as_list
from ..datasets.mpii import MpiiDataset
from ..errors import ConfigError, DatasetError
from ..models.backbones import BaseBackbone
from ..structures.coco import CocoFile, has, one_of
from ..utils.files import open_regular
from .bottomup import check_image_sizes, check_sigmas, is_bottomup
from .ground_truth import check_truth

_GET_DATA = 'Give the folder of the data set with --data-root. '
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


def check_datasets(cfg: Config, splits: Sequence[str]) -> None:
    """Check that the files of the data sets exist and belong together.

    Args:
        cfg: A config.
        splits: The splits that will be used, of `'train'`, `'val'` and `'test'`.

    Raises:
        DatasetError: If a path is missing or an entry of a file does not match. The message names
            it, and how to get the data.
    """
    for split in splits:
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if not dataset or 'ann_file' not in dataset:
            continue
        read = cache(read_coco)  # the ground truth is often the annotations
        annotations = str(_check_files(dataset, split))
        _check_boxes(dataset, split, annotations, read)
        if is_bottomup(dataset):
            check_image_sizes(dataset, annotations, read)
        heads = dataset.get('headbox_file')
        if split != 'train' and heads and not Path(heads).is_file():
            raise DatasetError(
                f'{split} head boxes not found: {heads} '
                f'({split}_dataloader.dataset.headbox_file). PCKh is '
                'measured against them; mpii_gt_val.mat comes with the '
                'annotations that https://mmpose.readthedocs.io/en/latest/'
                'dataset_zoo/2d_body_keypoint.html#mpii links to'
            )
        metrics = as_list(cfg.get(f'{split}_evaluator'))
        for metric in metrics if split != 'train' else ():
            truth = metric.get('ann_file')
            if truth and not Path(truth).is_file():
                raise DatasetError(
                    f'ground truth of the {split} metric not found: {truth} '
                    f'({split}_evaluator.ann_file). {_how_to_get(dataset)}'
                )
            check_truth(metric, split, dataset, read)


def _how_to_get(dataset: dict) -> str:
    mpii = str(dataset['type']).rpartition('.')[2] == MpiiDataset.__name__
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
    if boxes:
        check_detections(read_coco(boxes, 'detections'), read(annotations))
    elif split == 'test' and not is_bottomup(dataset) and read(annotations).is_image_list:
        raise DatasetError(
            f'{annotations} is a list of images without people: give '
            f'detections ({split}_dataloader.dataset.bbox_file). {how}'
        )


def check_keypoints(cfg: Config, dataset, split: str) -> None:
    """Check that annotations, dataset description and model have the same number of keypoints.

    Args:
        cfg: The config.
        dataset: A data set that was built from the config.
        split: Name of its split, for the message.

    Raises:
        DatasetError: If the numbers of keypoints differ.
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
                f'{type(dataset).__name__} has {num_keypoints}. Use the data set '
                'type, or a metainfo file (tools/make_dataset_info.py writes '
                'one), that describes these keypoints'
            )
    check_sigmas(cfg, num_keypoints, where)
    head = cfg.model.get('head') or {}
    key = 'out_channels' if 'out_channels' in head else 'num_keypoints'
    predicted = head.get(key)
    decoder = head.get('decoder')
    if isinstance(decoder, dict) and decoder.get('heatmap_type') == 'combined':
        predicted //= 3  # a heatmap and two maps of offsets per keypoint
    if isinstance(predicted, int) and predicted != num_keypoints:
        raise DatasetError(
            f'the model predicts {predicted} keypoints (model.head), but '
            f'{where} has {num_keypoints}: set --cfg-options '
            f'model.head.{key}={num_keypoints}'
        )


def _person_id(value):
    """Return the ID of a person, or of the first person of an image."""
    return value[0] if isinstance(value, list) and value else value


def check_input_size(cfg: Config, model: nn.Module) -> None:
    """Check that the input size fits the strides and windows of the backbone.

    Args:
        cfg: The config, with the input size in its codec.
        model: The model, built from the config. It may be wrapped for distributed training.

    Raises:
        ConfigError: If it does not. The message contains the size and the error of the backbone.
    """
    backbone = getattr(getattr(model, 'module', model), 'backbone', None)
    codec = as_list(cfg.get('codec'))
    if not isinstance(backbone, BaseBackbone) or not codec:
        return
    width, height = codec[0]['input_size']
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            backbone(next(backbone.parameters()).new_zeros(1, 3, height, width))
    except ValueError as error:
        raise ConfigError(
            f'{cfg.filename}: the input of {height}x{width} (codec.'
            f'input_size, height x width) does not fit the backbone: '
            f'{error}'
        ) from error
    finally:
        backbone.train(training)


def check_detections(boxes: CocoFile, annotations: CocoFile) -> None:
    """Check that detections have all fields and belong to the images.

    Args:
        boxes: Detections in COCO's results format.
        annotations: Annotations or an image list in COCO's format.

    Raises:
        DatasetError: If there are no detections, or a detection has no such field or belongs to
            another image.
    """
    detections, image_ids = boxes.entries(), annotations.image_ids()
    if not detections:
        raise DatasetError(f'{boxes.path} has no detections, so there is nothing to predict')
    boxes.check(
        'detection',
        detections,
        has('image_id', 'category_id', 'bbox', 'score'),
        one_of('image_id', image_ids, f'expected the id of an image of {annotations.path}'),
    )


def read_coco(path: str, what: str = 'annotations') -> CocoFile:
    """Read a COCO-style file that MMPose will read as well.

    Args:
        path: The file.
        what: What the file contains, for the message.

    Returns:
        The content of the file.

    Raises:
        DatasetError: If the file is not JSON, or begins with a byte order mark, which MMPose
            cannot read.
    """
    with open_regular(path, what) as file:
        if file.read(len(BOM_UTF8)) == BOM_UTF8:
            raise DatasetError(
                f'cannot read the {what} {path}: it begins with a byte order mark, which MMPose '
                'cannot read: save it as UTF-8 without one'
            )
    return CocoFile(path, what)
