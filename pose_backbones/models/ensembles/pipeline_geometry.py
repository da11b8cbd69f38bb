"""Read crop geometry, codec and dataset from configs of top-down models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS as MMPOSE_TRANSFORMS

from ...configs import building
from ...errors import ConfigError
from .heatmap_grid import CODECS

_PLACE = 'test_dataloader.dataset.pipeline'


def _fix_aspect_ratio(boxes: np.ndarray, aspect: float) -> np.ndarray:
    """Grow the sizes (N, 2) of boxes to an aspect ratio (width / height), as MMPose's crops do."""
    return TopdownAffine._fix_aspect_ratio(boxes, aspect)


@dataclass(frozen=True)
class Crop:
    """Geometry of the crops of a test pipeline.

    Args:
        size: Width and height of the crop, in pixels.
        use_udp: As in `TopdownAffine`.
        uniform: `padding` of `GetBBoxCenterScale`.
        factors: Factors along x and y by which the box is enlarged after that.
    """

    size: tuple[int, int]
    use_udp: bool
    uniform: float
    factors: tuple[float, float] = (1.0, 1.0)

    @property
    def aspect(self) -> float:
        """Aspect ratio (width / height)."""
        return self.size[0] / self.size[1]

    @property
    def padding(self) -> tuple[float, float]:
        """Width and height of the crop's box relative to the bounding box of the person.

        The box is then enlarged to the aspect ratio of the crop.
        """
        x, y = self.factors
        return self.uniform * x, self.uniform * y

    def box(self, person: np.ndarray) -> np.ndarray:
        """Return width and height (N, 2) of the boxes of crops, from those of bounding boxes."""
        return _fix_aspect_ratio(person * np.array(self.padding), self.aspect)

    def padding_of_larger(self, aspect: float) -> tuple[float, float]:
        """Return the smallest padding with which crops of another aspect ratio contain these crops.

        If the boxes of these crops are enlarged to the other aspect ratio, either their width or
        their height grows by a factor. For very wide people, the padding along x must be larger by
        this factor; for very tall people, the padding along y. This is sufficient for all people.

        Args:
            aspect: Aspect ratio (width / height) of the other crops.

        Returns:
            Padding along x and y.
        """
        x, y = self.padding
        return (x * max(1, aspect / self.aspect), y * max(1, self.aspect / aspect))


def read_crop(cfg: Config) -> Crop:
    """Read the geometry of the crops from the test pipeline of a config.

    Args:
        cfg: Config of a top-down model.

    Raises:
        ConfigError: If the geometry cannot be determined from the pipeline.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    pipeline = (loader.get('dataset') or {}).get('pipeline') or []
    names = [_name(step) for step in pipeline]
    try:
        start = names.index('GetBBoxCenterScale')
        end = names.index('TopdownAffine', start)
    except ValueError as error:
        raise ConfigError(
            f'{cfg.filename} has no GetBBoxCenterScale, or no TopdownAffine '
            f'after it, in {_PLACE}, so its crops are unknown: the members of an ensemble must be '
            'top-down models'
        ) from error
    factors = [_factors(cfg, pipeline[number], number) for number in range(start + 1, end)]
    with building(cfg):
        padded = MMPOSE_TRANSFORMS.build(pipeline[start])
        affine = MMPOSE_TRANSFORMS.build(pipeline[end])
    return Crop(
        tuple(affine.input_size),
        affine.use_udp,
        padded.padding,
        tuple(map(math.prod, zip((1.0, 1.0), *factors))),
    )


def _name(step: dict) -> str:
    kind = step['type']
    kind = kind if isinstance(kind, str) else kind.__name__
    return kind.rpartition('.')[2]


def _factors(cfg: Config, step: dict, number: int) -> tuple[float, float]:
    """Return the factors along x and y of a transform that enlarges the box."""
    place = f'{cfg.filename}: {_PLACE}[{number}]'
    if _name(step) != 'ExtendBBox':
        raise ConfigError(
            f'{place} is {_name(step)}, whose effect on the box is unknown: expected only '
            'ExtendBBox between GetBBoxCenterScale and TopdownAffine'
        )
    with building(cfg):
        extend = MMPOSE_TRANSFORMS.build(step)
    for axis, span in dict(x=extend.x, y=extend.y).items():
        if span[0] != span[1]:
            raise ConfigError(
                f'{place} has {axis}={span}, a random factor per person: expected a fixed factor'
            )
    return extend.x[0], extend.y[0]


def check_codec(codec, place: str) -> None:
    """Raise if the outputs of a codec cannot be averaged as heatmaps.

    Args:
        codec: A codec, or None.
        place: Config key of the codec, for the message.

    Raises:
        ConfigError: If the codec is not supported; the message has the supported ones.
    """
    names = ', '.join(kind.__name__ for kind in CODECS)
    if not isinstance(codec, CODECS):
        kind = 'None' if codec is None else type(codec).__name__
        raise ConfigError(f'{place} is {kind}: an ensemble averages heatmaps of {names}')
    if getattr(codec, 'heatmap_type', 'gaussian') != 'gaussian':
        raise ConfigError(
            f'{place} has heatmap_type={codec.heatmap_type!r}, maps of '
            "offsets, which cannot be averaged: expected 'gaussian'"
        )


def common_metainfo(cfgs: Sequence[Config]) -> dict:
    """Return the metainfo of the test dataset, which must be the same for all configs.

    Args:
        cfgs: At least one config.

    Returns:
        The parsed metainfo.

    Raises:
        ConfigError: If a config has no test dataset, or the datasets differ.
    """
    first = None
    for cfg in cfgs:
        meta = dataset_meta_from_config(cfg, dataset_mode='test')
        if meta is None:
            raise ConfigError(
                f'{cfg.filename} has no test_dataloader.dataset, so its keypoints are unknown'
            )
        first = first or meta
        difference = compare_metainfo(first, meta)
        if difference:
            raise ConfigError(
                'the members of an ensemble must have the same keypoints: '
                f'{cfgs[0].filename} has {difference[0]}, '
                f'{cfg.filename} has {difference[1]}'
            )
    return first


def compare_metainfo(first: dict, second: dict) -> tuple[str, str] | None:
    """Return the first difference between two datasets.

    Args:
        first: Parsed metainfo.
        second: Parsed metainfo.

    Returns:
        A description of the first and of the second dataset. None if the names of the datasets, and
        the names and the order of the keypoints, are the same.
    """
    points, others = (list(meta['keypoint_id2name'].values()) for meta in (first, second))
    name, other_name = first['dataset_name'], second['dataset_name']
    if name != other_name:
        return f'dataset_name={name!r}', f'dataset_name={other_name!r}'
    if len(points) != len(others):
        return f'{len(points)} keypoints', f'{len(others)} keypoints'
    for number, pair in enumerate(zip(points, others)):
        if pair[0] != pair[1]:
            return tuple(f'{point!r} as keypoint {number}' for point in pair)
    return None
