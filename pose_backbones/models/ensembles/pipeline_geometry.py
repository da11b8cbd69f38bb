"""Read the crop geometry and metainfo from configs of top-down models, and check their codecs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS as MMPOSE_TRANSFORMS

from ...configs import building, type_name
from ...errors import ConfigError
from .heatmap_grid import CODECS


def _fix_aspect_ratio(sizes: np.ndarray, aspect: float) -> np.ndarray:
    """Enlarge box sizes (N, 2) to an aspect ratio (width / height), as in `TopdownAffine`."""
    return TopdownAffine._fix_aspect_ratio(sizes, aspect)


@dataclass(frozen=True)
class Crop:
    """Geometry of the crops of a test pipeline.

    Args:
        size: Width and height of the crop, in pixels.
        use_udp: As in `TopdownAffine`.
        bbox_padding: `padding` of `GetBBoxCenterScale`.
        extend_factors: Factors along x and y by which the box is then enlarged.
    """

    size: tuple[int, int]
    use_udp: bool
    bbox_padding: float
    extend_factors: tuple[float, float] = (1.0, 1.0)

    @property
    def aspect(self) -> float:
        """Aspect ratio (width / height)."""
        return self.size[0] / self.size[1]

    @property
    def padding(self) -> tuple[float, float]:
        """Width and height of the crop's box relative to the bounding box of the person.

        The box is then enlarged to the aspect ratio of the crop.
        """
        x, y = self.extend_factors
        return self.bbox_padding * x, self.bbox_padding * y

    def crop_sizes(self, person_sizes: np.ndarray) -> np.ndarray:
        """Return the width and height (N, 2) of crops, from those of bounding boxes of people."""
        return _fix_aspect_ratio(person_sizes * np.array(self.padding), self.aspect)

    def padding_to_contain(self, aspect: float) -> tuple[float, float]:
        """Return the padding with which crops of another aspect ratio contain these crops.

        It is the smallest padding that is sufficient for any bounding box. The worst cases are very
        wide boxes, which determine the padding along x, and very tall boxes, which determine the
        padding along y.

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
    loader_key = next(
        (key for key in ('test_dataloader', 'val_dataloader') if cfg.get(key)), 'test_dataloader'
    )
    config_key = f'{loader_key}.dataset.pipeline'
    pipeline = ((cfg.get(loader_key) or {}).get('dataset') or {}).get('pipeline') or []
    names = [type_name(step) for step in pipeline]
    try:
        start = names.index('GetBBoxCenterScale')
        end = names.index('TopdownAffine', start)
    except ValueError as error:
        raise ConfigError(
            f'{cfg.filename} has no GetBBoxCenterScale, or no TopdownAffine after it, in '
            f'{config_key}, so its crops are unknown: the members of an ensemble must be '
            'top-down models'
        ) from error
    factors = [
        _extend_factors(cfg, pipeline[number], f'{config_key}[{number}]')
        for number in range(start + 1, end)
    ]
    with building(cfg):
        center_scale = MMPOSE_TRANSFORMS.build(pipeline[start])
        affine = MMPOSE_TRANSFORMS.build(pipeline[end])
    return Crop(
        tuple(affine.input_size),
        affine.use_udp,
        center_scale.padding,
        tuple(map(math.prod, zip((1.0, 1.0), *factors))),
    )


def _extend_factors(cfg: Config, step: dict, config_key: str) -> tuple[float, float]:
    """Return the factors along x and y of a transform that enlarges the box."""
    if type_name(step) != 'ExtendBBox':
        raise ConfigError(
            f'{cfg.filename}: {config_key} is {type_name(step)}, whose effect on the box is '
            'unknown: expected only ExtendBBox between GetBBoxCenterScale and TopdownAffine'
        )
    with building(cfg):
        extend = MMPOSE_TRANSFORMS.build(step)
    for axis, span in dict(x=extend.x, y=extend.y).items():
        if span[0] != span[1]:
            raise ConfigError(
                f'{cfg.filename}: {config_key} has {axis}={span}, a random factor per person: '
                'expected a fixed factor'
            )
    return extend.x[0], extend.y[0]


def check_codec(codec, config_key: str) -> None:
    """Raise if the outputs of a codec cannot be averaged as heatmaps.

    Args:
        codec: A codec, or None.
        config_key: Config key of the codec, for the message.

    Raises:
        ConfigError: If the codec is not supported; the message has the supported ones.
    """
    names = ', '.join(kind.__name__ for kind in CODECS)
    if not isinstance(codec, CODECS):
        kind = 'None' if codec is None else type(codec).__name__
        raise ConfigError(f'{config_key} is {kind}: an ensemble averages heatmaps of {names}')
    if getattr(codec, 'heatmap_type', 'gaussian') != 'gaussian':
        raise ConfigError(
            f'{config_key} has heatmap_type={codec.heatmap_type!r}, maps of '
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
