"""Members of an ensemble: check their configs, build them, and load their weights."""

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmpose.models.pose_estimators import TopdownPoseEstimator as MMPoseTopdownEstimator
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import MODELS as MMPOSE_MODELS
from torch import Tensor, nn

from ...checkpoints.loading import check_checkpoint_path, get_weights, load_weights, read_checkpoint
from ...configs import building, find_class, load_config
from ...errors import ConfigError, closest
from ...registry import MODELS
from ...zoo.names import config_path
from .heatmap_grid import crop_grid, map_grid
from .pipeline_geometry import check_codec, common_metainfo, read_crop

_KEYS = ('config', 'checkpoint', 'weight')


class Member(nn.Module):
    """A top-down model with its weights and the geometry of its pipeline.

    Args:
        cfg: Config of the model.
        checkpoint: Path or URL of the checkpoint, which is loaded strictly.
        metainfo: Parsed metainfo of its dataset.

    Raises:
        ConfigError: If the config is not of a top-down heatmap model, or its parts do not match.
        CheckpointError: If the checkpoint cannot be read or does not match the model.
    """

    def __init__(self, cfg: Config, checkpoint: str, metainfo: dict):
        super().__init__()
        self.name = str(cfg.filename)
        self.crop = read_crop(cfg)
        with building(cfg):
            self.model = MMPOSE_MODELS.build(cfg.model)
        if not isinstance(self.model, MMPoseTopdownEstimator):
            raise ConfigError(
                f'{self.name} is a {type(self.model).__name__}: expected a TopdownPoseEstimator as '
                'a member of an ensemble'
            )
        head = getattr(self.model, 'head', None)
        self.codec = getattr(head, 'decoder', None)
        check_codec(self.codec, f'{self.name}: model.head.decoder')
        if tuple(self.codec.input_size) != self.crop.size:
            raise ConfigError(
                f'{self.name}: the crops of the pipeline are {_size(self.crop.size)}, but the '
                f'input_size of the codec is {_size(self.codec.input_size)} (width x height)'
            )
        if head.out_channels != metainfo['num_keypoints']:
            raise ConfigError(
                f'{self.name}: model.head.out_channels is {head.out_channels}, but the dataset '
                f'{metainfo["dataset_name"]} has {metainfo["num_keypoints"]} keypoints'
            )
        weights = get_weights(read_checkpoint(checkpoint))
        load_weights(self.model, weights, checkpoint, dataset=metainfo['dataset_name'])
        self.pixels = crop_grid(self.crop.size, self.crop.use_udp)
        self.cells = map_grid(self.codec)

    def forward(
        self, crops: Tensor, flip_indices: Sequence[int] | None, flip_test: bool | None
    ) -> Tensor:
        """Compute heatmaps of crops, before decoding.

        Args:
            crops: (N, 3, height, width), with the geometry of `Crop`, values from 0 to 255, in the
                channel order of the pipeline.
            flip_indices: Index of the mirrored keypoint of each keypoint.
            flip_test: Whether to average with the heatmaps of the mirrored crops; None means as in
                the `test_cfg` of the model.

        Returns:
            (N, K, height, width), for the codec of the model.
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
        # Heads of several stages or units return a list; the last entry is the prediction.
        maps = maps if torch.is_tensor(maps) else maps[-1]
        if maps.shape[:1:-1] != self.cells.size:
            raise ConfigError(
                f'the heatmaps of {self.name} are {_size(maps.shape[:1:-1])}, but the heatmap_size '
                f'of its codec is {_size(self.cells.size)} (width x height)'
            )
        return maps


def _size(size: Sequence[int]) -> str:
    return 'x'.join(map(str, size))


@MODELS.register_module()
class EnsembleMembers(nn.ModuleList):
    """Models of a `HeatmapEnsemble`, given as its `backbone`.

    All configs and checkpoints are checked for existence before the first model is built.

    Args:
        members: A dict for each model, with `config` (a path or `'pose_backbones::…'`),
            `checkpoint` (path or URL of any release that the model can load) and optionally
            `weight`, the weight in the average (default: 1). A model of weight 0 is not run.

    Attributes:
        weights: Weights of the members.
        metainfo: Parsed metainfo of the dataset, which all members share.

    Raises:
        ConfigError: If an entry is invalid, a config is missing or broken, or the members have
            different keypoints or datasets.
        CheckpointError: If a checkpoint is missing, unreadable or does not match its model.
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
                f'the weights of the members are {self.weights}: at least one must be above 0'
            )
        cfgs = [load_config(config_path(member['config'])) for member in members]
        for cfg in cfgs:
            _check_model(cfg)
        for member in members:
            check_checkpoint_path(member['checkpoint'])
        self.metainfo = common_metainfo(cfgs)
        for member, cfg in zip(members, cfgs):
            self.append(Member(cfg, member['checkpoint'], self.metainfo))


def _check_model(cfg: Config) -> None:
    if cfg.get('model') is None:
        raise ConfigError(f"{cfg.filename} has no 'model': expected the config of a model")
    kind = find_class(cfg.model.get('backbone') or {}, MMPOSE_MODELS)
    if isinstance(kind, type) and issubclass(kind, EnsembleMembers):
        raise ConfigError(
            f'{cfg.filename} is itself an ensemble: list its members and their weights here instead'
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
