"""Descriptions of keypoints: their names, limbs, flip pairs and more, see MMPose's metainfo."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from mmengine.config import Config

from ..configs import find_class, find_datasets
from ..structures.metainfo import read_metainfo


def config_metainfo(cfg: Config) -> dict | None:
    """Return the description of the keypoints that a model of a config predicts.

    It is that of the training data, or if they have none, of the validation or test data.

    Args:
        cfg: The config. MMPose's datasets have been registered.

    Returns:
        The parsed metainfo, or None if there is none.

    Raises:
        DatasetError: If it is invalid.
    """
    metainfo = next(_metainfos(cfg), None)
    return None if metainfo is None else read_metainfo(metainfo)


def _metainfos(cfg: Config) -> Iterator[Mapping]:
    """Iterate over the metainfo of the datasets in a config and of their classes."""
    from mmpose.registry import DATASETS

    for split in ('train', 'val', 'test'):
        for _, dataset in find_datasets(cfg, split):
            kind = find_class(dataset, DATASETS)
            metainfo = dataset.get('metainfo') or getattr(kind, 'METAINFO', None)
            if getattr(kind, '__name__', '') == 'DeepFashionDataset':
                # MMPose sets the metainfo of its class when a dataset is built.
                subset = dataset.get('subset') or 'full'
                metainfo = dict(from_file=f'configs/_base_/datasets/deepfashion_{subset}.py')
            if metainfo:
                yield metainfo


def returned_metainfo(metainfo: Mapping, indices: Sequence[int] | None) -> dict:
    """Return the description of the keypoints that an estimator returns.

    Models of merged datasets predict the keypoints of all of them, and return those of one.

    Args:
        metainfo: Description of the keypoints that it predicts, `dataset_meta`.
        indices: The keypoints to return, `output_keypoint_indices` of `test_cfg`. None: all.

    Returns:
        The description. Limbs and flip pairs with keypoints that are not returned are left out.
    """
    names = metainfo.get('keypoint_id2name') or {}
    if indices is None or len(indices) == len(names):
        return dict(metainfo)
    new = {old: index for index, old in enumerate(indices)}
    found = {new[old]: name for old, name in names.items() if old in new}
    links = metainfo.get('skeleton_links') or []
    kept = [number for number, link in enumerate(links) if all(point in new for point in link)]
    selected = dict(
        metainfo,
        num_keypoints=len(new),
        keypoint_id2name=dict(sorted(found.items())),
        keypoint_name2id={name: index for index, name in sorted(found.items())},
        skeleton_links=[[new[point] for point in links[number]] for number in kept],
        num_skeleton_links=len(kept),
        flip_pairs=[
            [new[point] for point in pair]
            for pair in metainfo.get('flip_pairs') or []
            if all(point in new for point in pair)
        ],
    )
    if metainfo.get('flip_indices'):
        flipped = metainfo['flip_indices']
        selected['flip_indices'] = [new.get(flipped[old], new[old]) for old in indices]
    for key in ('upper_body_ids', 'lower_body_ids'):
        selected[key] = [new[old] for old in metainfo.get(key) or [] if old in new]
    for key, order in (
        ('keypoint_colors', list(indices)),
        ('dataset_keypoint_weights', list(indices)),
        ('sigmas', list(indices)),
        ('skeleton_link_colors', kept),
    ):
        values = metainfo.get(key)
        if values is not None and len(values):
            selected[key] = np.asarray(values)[order]
    return selected
