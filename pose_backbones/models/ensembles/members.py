"""The detectors of an ensemble: read, compared, built, loaded."""

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmpose.models.pose_estimators import TopdownPoseEstimator as MMPoseTopdownEstimator
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import MODELS as MMPOSE_MODELS
from torch import Tensor, nn

from ...checkpoints.loading import check_checkpoint_path, get_weights, load_weights, read_checkpoint
from ...configs import building, load_config
from ...errors import ConfigError, closest
from ...registry import MODELS
from .heatmap_grid import crop_grid, map_grid
from .pipeline_geometry import check_codec, common_metainfo, read_crop

_KEYS = ('config', 'checkpoint', 'weight')


class Member(nn.Module):
    """A detector with its weights, and the geometry of its own pipeline.

    Args:
        cfg: Its config.
        checkpoint: File or URL; everything has to fit.
        metainfo: Of its data set, parsed.

    Raises:
        ConfigError: If it is no top-down heat-map model, or its parts do not
            fit each other.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """

    def __init__(self, cfg: Config, checkpoint: str, metainfo: dict):
        super().__init__()
        self.name = str(cfg.filename)
        self.crop = read_crop(cfg)
        with building(cfg):
            self.model = MMPOSE_MODELS.build(cfg.model)
        if not isinstance(self.model, MMPoseTopdownEstimator):
            raise ConfigError(
                f'{self.name} is a {type(self.model).__name__}: the members '
                'of an ensemble are of TopdownPoseEstimator'
            )
        head = getattr(self.model, 'head', None)
        self.codec = getattr(head, 'decoder', None)
        check_codec(self.codec, f'{self.name}: model.head.decoder')
        if tuple(self.codec.input_size) != self.crop.size:
            raise ConfigError(
                f'{self.name}: its pipeline makes crops of '
                f'{_size(self.crop.size)}, its codec is for '
                f'{_size(self.codec.input_size)} (width x height)'
            )
        if head.out_channels != metainfo['num_keypoints']:
            raise ConfigError(
                f'{self.name}: model.head.out_channels is '
                f'{head.out_channels}, its data set '
                f'{metainfo["dataset_name"]} has '
                f'{metainfo["num_keypoints"]} key points'
            )
        load_weights(self.model, get_weights(read_checkpoint(checkpoint)), checkpoint)
        self.pixels = crop_grid(self.crop.size, self.crop.use_udp)
        self.cells = map_grid(self.codec)

    def forward(
        self, crops: Tensor, flip_indices: Sequence[int] | None, flip_test: bool | None
    ) -> Tensor:
        """Heat maps of crops, as they are before this detector's decoding.

        Args:
            crops: (N, 3, height, width), as `Crop` says, values 0 to 255 in
                the channels' order of the pipeline.
            flip_indices: Of each key point, its mirrored one.
            flip_test: Whether to average with the maps of the mirrored
                crops; None: as the detector's own `test_cfg` says.

        Returns:
            (N, K, height, width), as the codec says.
        """
        inputs = self.model.data_preprocessor(dict(inputs=crops, data_samples=[]))['inputs']
        test_cfg = self.model.test_cfg
        maps = self._maps(inputs)
        if test_cfg.get('flip_test', False) if flip_test is None else (flip_test):
            mirrored = flip_heatmaps(
                self._maps(inputs.flip(-1)),
                flip_mode=test_cfg.get('flip_mode', 'heatmap'),
                flip_indices=flip_indices,
                shift_heatmap=test_cfg.get('shift_heatmap', False),
            )
            maps = (maps + mirrored) * 0.5
        return maps

    def _maps(self, inputs: Tensor) -> Tensor:
        maps = self.model.head(self.model.extract_feat(inputs))
        # Heads of several stages or units give them all; the last counts.
        maps = maps if torch.is_tensor(maps) else maps[-1]
        if maps.shape[:1:-1] != self.cells.size:
            raise ConfigError(
                f'{self.name} makes maps of {_size(maps.shape[:1:-1])}, its '
                f'codec is for {_size(self.cells.size)} (width x height)'
            )
        return maps


def _size(size: Sequence[int]) -> str:
    return 'x'.join(map(str, size))


@MODELS.register_module()
class EnsembleMembers(nn.ModuleList):
    """The detectors of `HeatmapEnsemble`; stands in its `backbone`.

    Configs and checkpoints of all are looked for before the first is built.

    Args:
        members: For each detector a dict of `config` (a path, or
            `'pose_backbones::…'`), `checkpoint` (a file or URL of any
            release that the detector loads alone) and, by default 1,
            `weight`, its share in the average. One of weight 0 is not run.

    Attributes:
        weights: Of the members, as given.
        metainfo: Of the data set that all are of, parsed.

    Raises:
        ConfigError: If an entry is wrong, a config is missing or broken, or
            the members are not of the same key points and data set.
        CheckpointError: If a checkpoint is missing, unreadable or does not
            fit, strictly.
    """

    def __init__(self, members: Sequence[dict]):
        super().__init__()
        if isinstance(members, (dict, str)) or not members:
            raise ConfigError(
                f'members={members!r}: expected a list of dicts with {", ".join(_KEYS)}'
            )
        for number, member in enumerate(members):
            _check_entry(member, f'members[{number}]')
        self.weights = [member.get('weight', 1) for member in members]
        if not sum(self.weights):
            raise ConfigError(
                f'the weights of the members are {self.weights}: at least one has to be above 0'
            )
        cfgs = [load_config(member['config']) for member in members]
        for cfg in cfgs:
            _check_model(cfg)
        for member in members:
            check_checkpoint_path(member['checkpoint'])
        self.metainfo = common_metainfo(cfgs)
        for member, cfg in zip(members, cfgs):
            self.append(Member(cfg, member['checkpoint'], self.metainfo))


def _check_model(cfg: Config) -> None:
    if cfg.get('model') is None:
        raise ConfigError(f"{cfg.filename} has no 'model': is it a config of a model?")
    kind = (cfg.model.get('backbone') or {}).get('type')
    if isinstance(kind, str):
        kind = MMPOSE_MODELS.get(kind)
    if isinstance(kind, type) and issubclass(kind, EnsembleMembers):
        raise ConfigError(
            f'{cfg.filename} is itself an ensemble: name its members here, with their weights'
        )


def _check_entry(member: dict, place: str) -> None:
    if not isinstance(member, dict):
        raise ConfigError(f'{place} is {member!r}: expected a dict with {", ".join(_KEYS)}')
    for key in member:
        if key not in _KEYS:
            raise ConfigError(
                f'{place} has an unknown key {key!r}: expected '
                f'{", ".join(_KEYS)}{closest(key, _KEYS)}'
            )
    for key in _KEYS[:2]:
        if not isinstance(member.get(key), str):
            raise ConfigError(
                f'{place} has {key}={member.get(key)!r}: expected the path of a {key}'
            )
    weight = member.get('weight', 1)
    if (
        isinstance(weight, bool)
        or not isinstance(weight, (int, float))
        or not 0 <= weight < math.inf
    ):
        raise ConfigError(f'{place} has weight={weight!r}: expected a number of at least 0')
