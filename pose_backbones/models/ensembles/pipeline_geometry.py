"""What configs of top-down models say of crops, codecs and data sets."""

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
    """How a test pipeline cuts a person out of an image.

    Args:
        size: Width and height of the crop, in pixels.
        use_udp: As in `TopdownAffine`.
        uniform: As `padding` of `GetBBoxCenterScale`.
        factors: What the box is multiplied by after that, along x and y.
    """

    size: tuple[int, int]
    use_udp: bool
    uniform: float
    factors: tuple[float, float] = (1.0, 1.0)

    @property
    def aspect(self) -> float:
        """Width by height."""
        return self.size[0] / self.size[1]

    @property
    def padding(self) -> tuple[float, float]:
        """Width and height of the crop's box, in those of the person's,
        before it grows to the crop's aspect."""
        x, y = self.factors
        return self.uniform * x, self.uniform * y

    def box(self, person: np.ndarray) -> np.ndarray:
        """Width and height of the crop's box: (N, 2), as the persons'."""
        return _fix_aspect_ratio(person * np.array(self.padding), self.aspect)

    def padding_of_larger(self, aspect: float) -> tuple[float, float]:
        """The least padding with which crops of another aspect hold these,
        of any person.

        These boxes, grown to that aspect, are wider by the one factor or
        higher by the other. Of people so wide that x alone counts, the x of
        the others has to be larger by that; of very high people, the y; and
        if both are, it is enough for all.

        Args:
            aspect: Width by height of the others.

        Returns:
            Along x and y.
        """
        x, y = self.padding
        return (x * max(1, aspect / self.aspect), y * max(1, self.aspect / aspect))


def read_crop(cfg: Config) -> Crop:
    """Find how a config's test pipeline cuts people out.

    Args:
        cfg: A top-down config.

    Returns:
        What its pipeline does.

    Raises:
        ConfigError: If that cannot be read from the pipeline.
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
            f'after it, in {_PLACE}, so it is unknown how it cuts people '
            'out: an ensemble is of top-down models'
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
    """Factors along x and y of a step that enlarges the box."""
    place = f'{cfg.filename}: {_PLACE}[{number}]'
    if _name(step) != 'ExtendBBox':
        raise ConfigError(
            f'{place} is {_name(step)}, and what it does to the box is '
            'unknown: between GetBBoxCenterScale and TopdownAffine, only '
            'ExtendBBox is expected'
        )
    with building(cfg):
        extend = MMPOSE_TRANSFORMS.build(step)
    for axis, span in dict(x=extend.x, y=extend.y).items():
        if span[0] != span[1]:
            raise ConfigError(
                f'{place} has {axis}={span}, drawn anew for each person: expected one factor'
            )
    return extend.x[0], extend.y[0]


def check_codec(codec, place: str) -> None:
    """Refuse a codec whose outputs cannot be averaged as heat maps.

    Args:
        codec: A codec, or None.
        place: Where it stands, for the message.

    Raises:
        ConfigError: With the codecs that can.
    """
    names = ', '.join(kind.__name__ for kind in CODECS)
    if not isinstance(codec, CODECS):
        found = 'None' if codec is None else type(codec).__name__
        raise ConfigError(f'{place} is {found}: an ensemble averages heat maps of {names}')
    if getattr(codec, 'heatmap_type', 'gaussian') != 'gaussian':
        raise ConfigError(
            f'{place} has heatmap_type={codec.heatmap_type!r}, maps of '
            "offsets, which have no average: expected 'gaussian'"
        )


def common_metainfo(cfgs: Sequence[Config]) -> dict:
    """Find the data set that all configs test on.

    Args:
        cfgs: At least one.

    Returns:
        Its metainfo, parsed.

    Raises:
        ConfigError: If there is none, or they differ.
    """
    first = None
    for cfg in cfgs:
        meta = dataset_meta_from_config(cfg, dataset_mode='test')
        if meta is None:
            raise ConfigError(
                f'{cfg.filename} has no test_dataloader.dataset, so its key points are unknown'
            )
        first = first or meta
        difference = compare_metainfo(first, meta)
        if difference:
            raise ConfigError(
                'the members of an ensemble have to agree: '
                f'{cfgs[0].filename} is of {difference[0]}, '
                f'{cfg.filename} of {difference[1]}'
            )
    return first


def compare_metainfo(one: dict, other: dict) -> tuple[str, str] | None:
    """Say in what two data sets differ.

    Args:
        one: Parsed metainfo.
        other: Parsed metainfo.

    Returns:
        What the one has and what the other has; None if the name of the data
        set, the names of the key points and their order are the same.
    """
    facts = []
    for meta in (one, other):
        points = list(meta['keypoint_id2name'].values())
        facts.append((meta['dataset_name'], points))
    (name, points), (other_name, others) = facts
    if name != other_name:
        return f'the data set {name}', f'the data set {other_name}'
    if len(points) != len(others):
        return f'{len(points)} key points', f'{len(others)} key points'
    for number, pair in enumerate(zip(points, others)):
        if pair[0] != pair[1]:
            return tuple(f'key points whose number {number} is {point}' for point in pair)
    return None
