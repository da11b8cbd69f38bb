"""Ensemble of top-down pose estimators that averages heatmaps."""

from collections.abc import Sequence

import numpy as np
import torch
from mmpose.codecs import UDPHeatmap
from mmpose.models.pose_estimators import TopdownPoseEstimator as MMPoseTopdownEstimator
from mmpose.registry import MODELS as MMPOSE_MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor

from ...errors import ConfigError
from ...registry import MODELS
from .heatmap_grid import crop_grid, map_grid, map_unit, resample_crops, resample_maps
from .members import EnsembleMembers, Member
from .pipeline_geometry import check_codec

_TEST_OPTIONS = ('flip_test', 'output_heatmaps', 'output_keypoint_indices')
#: relative size by which the box of a member may exceed that of the ensemble
_TOLERANCE = 1e-3


@MODELS.register_module()
class HeatmapEnsemble(MMPoseTopdownEstimator):
    """Average the heatmaps of several top-down models and decode the average.

    The pipeline of the ensemble crops each person once. From this crop, the ensemble computes the
    crop that the pipeline of each member would make (input size, aspect ratio, padding of the
    bounding box, UDP or not), normalized by the data preprocessor of the member. The heatmaps of
    the member, with the flip test of its `test_cfg`, are resampled at the cells of the ensemble's
    codec, for any conventions of both codecs, and added to a weighted average. The crop of the
    ensemble must contain the crops of its members; see `Crop.padding_of_larger`.

    Both the crop (whose pixels are already interpolated) and the heatmaps are resampled only if
    size or convention differ. Otherwise, an ensemble of one member returns the results of the
    member.

    Source: the rows of https://github.com/megvii-research/MSPN that are marked as ensembles. Their
    method of averaging is not published; this one is specific to pose_backbones.

    Args:
        backbone: Config of `EnsembleMembers`.
        head: `dict(type='HeatmapHead', decoder=codec)`. The codec is for the crops of the ensemble
            and decodes the average. With a `UDPHeatmap`, the crops must be made with
            `use_udp=True`. The other arguments of the head are set by the ensemble; the head has no
            weights.
        neck: None; the members have their own necks.
        train_cfg: None; an ensemble cannot be trained.
        test_cfg: `flip_test`: True or False for all members, in place of their `test_cfg`;
            `output_heatmaps` and `output_keypoint_indices` as in MMPose.
        data_preprocessor: None; the members have their own data preprocessors.
        metainfo: As in MMPose.

    Raises:
        ConfigError: If an argument is invalid; see also `EnsembleMembers`.
        CheckpointError: See `EnsembleMembers`.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict | None = None,
        neck: None = None,
        train_cfg: None = None,
        test_cfg: dict | None = None,
        data_preprocessor: None = None,
        metainfo: dict | None = None,
    ):
        _check_arguments(head, neck, train_cfg, test_cfg, data_preprocessor)
        members = MMPOSE_MODELS.build(backbone)
        if not isinstance(members, EnsembleMembers):
            raise ConfigError(
                f'model.backbone is a {type(members).__name__}: expected '
                "dict(type='pose_backbones.EnsembleMembers', members=[…]) for an ensemble"
            )
        # The number of channels of the head depends on the members, and MMPose's constructor builds
        # both. It gets a function that returns the members, which are built already.
        count = members.metainfo['num_keypoints']
        super().__init__(
            backbone=dict(type=lambda: members),
            head=dict(
                dict(
                    in_channels=count,
                    out_channels=count,
                    deconv_out_channels=None,
                    final_layer=None,
                ),
                **head,
            ),
            test_cfg=test_cfg,
            data_preprocessor=dict(type='mmpose.PoseDataPreprocessor'),
            metainfo=metainfo,
        )
        if next(self.head.parameters(), None) is not None:
            raise ConfigError(
                'model.head has weights, but an ensemble has no checkpoint: expected only '
                "dict(type='HeatmapHead', decoder=…)"
            )
        codec = self.head.decoder
        check_codec(codec, 'model.head.decoder')
        self.cells = map_grid(codec)
        self.pixels = crop_grid(tuple(codec.input_size), isinstance(codec, UDPHeatmap))

    def init_weights(self) -> None:
        """Do nothing: the members have loaded their weights."""

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """Raise `ConfigError`, since an ensemble cannot be trained."""
        raise ConfigError('an ensemble is not trained: train each member with its own config')

    @torch.no_grad()
    def extract_feat(
        self, inputs: Tensor, data_samples: Sequence[PoseDataSample] | None = None
    ) -> tuple[Tensor]:
        """Return the average of the heatmaps of all members.

        Args:
            inputs: Crops (N, 3, height, width), values from 0 to 255.
            data_samples: Data samples of the crops. Without them, each member gets the whole crop,
                without flip test.

        Returns:
            The average (N, K, height, width), for the codec of the ensemble, in a tuple.
        """
        if inputs.shape[:1:-1] != self.pixels.size:
            width, height = self.pixels.size
            raise ConfigError(
                f'the crops are {inputs.shape[3]}x{inputs.shape[2]}, but the input_size of the '
                f"ensemble's codec (model.head.decoder) is {width}x{height} (width x height): set "
                'the input_size of TopdownAffine to the same size'
            )
        total = 0
        for member, weight in zip(self.backbone, self.backbone.weights):
            if weight:
                total = (
                    self._maps(member, inputs, data_samples)
                    * (weight * map_unit(self.head.decoder) / map_unit(member.codec))
                    + total
                )
        return (total / sum(self.backbone.weights),)

    def _maps(
        self, member: Member, inputs: Tensor, data_samples: Sequence[PoseDataSample] | None
    ) -> Tensor:
        """Return the heatmaps of a member, resampled at the cells of the ensemble."""
        if data_samples is None:
            zoom, flip_indices, flip_test = np.ones((len(inputs), 2)), None, (False)
        else:
            zoom = _zoom(member, data_samples)
            flip_indices = self.backbone.metainfo['flip_indices']
            flip_test = self.test_cfg.get('flip_test')
        crops = resample_crops(inputs, self.pixels, member.pixels, zoom)
        maps = member(crops, flip_indices, flip_test)
        return resample_maps(maps.float(), member.cells, self.cells, 1 / zoom)

    def predict(self, inputs: Tensor, data_samples: list[PoseDataSample]) -> list[PoseDataSample]:
        """Predict keypoints.

        Args:
            inputs: Crops (N, 3, height, width), values from 0 to 255.
            data_samples: Data samples of the crops, from the pipeline.

        Returns:
            The data samples, with `pred_instances`.

        Raises:
            ConfigError: If the data samples are of another dataset than the members, or the crops
                do not contain those of a member.
        """
        _check_samples(data_samples, self.backbone.metainfo)
        predictions = self.head.predict(
            self.extract_feat(inputs, data_samples),
            data_samples,
            test_cfg=dict(output_heatmaps=self.test_cfg.get('output_heatmaps', False)),
        )
        fields = None
        if isinstance(predictions, tuple):
            predictions, fields = predictions
        return self.add_pred_to_datasample(predictions, fields, data_samples)


def _check_arguments(
    head: dict | None, neck: None, train_cfg: None, test_cfg: dict | None, data_preprocessor: None
) -> None:
    if train_cfg:
        raise ConfigError(
            f'train_cfg={train_cfg!r}: an ensemble is not trained: train each member with its own '
            'config'
        )
    for name, value in dict(neck=neck, data_preprocessor=data_preprocessor).items():
        if value is not None:
            raise ConfigError(
                f'model.{name} is {value!r}: expected None, since each member has its own {name}; '
                'set _delete_=True in `model`, so that nothing is inherited from _base_'
            )
    if head is None:
        raise ConfigError(
            "model has no head: expected dict(type='HeatmapHead', decoder=…) with the codec of the "
            'crops'
        )
    for option in test_cfg or {}:
        if option not in _TEST_OPTIONS:
            raise ConfigError(
                f'model.test_cfg has {option!r}: expected only {", ".join(_TEST_OPTIONS)}; set '
                'other options in the configs of the members'
            )


def _check_samples(data_samples: Sequence[PoseDataSample], metainfo: dict) -> None:
    """Raise if the keypoints of data samples are not those of the members."""
    for key in ('dataset_name', 'flip_indices'):
        for sample in data_samples:
            # The `meta_keys` of a pipeline can omit them.
            value = sample.metainfo.get(key, metainfo[key])
            if list(value) != list(metainfo[key]):
                raise ConfigError(
                    f'the data samples have {key}={value!r}, but the members of the ensemble '
                    f'have {metainfo[key]!r}: use data with the keypoints of the members (for '
                    'inference, set the metainfo of train_dataloader.dataset)'
                )


def _zoom(member: Member, data_samples: Sequence[PoseDataSample]) -> np.ndarray:
    """Return the sizes (N, 2) of a member's boxes relative to those of the crops."""
    boxes = np.concatenate([sample.gt_instances.bboxes for sample in data_samples])
    scales = np.stack([sample.metainfo['input_scale'] for sample in data_samples])
    zoom = member.crop.box(boxes[:, 2:] - boxes[:, :2]) / scales
    if zoom.max() > 1 + _TOLERANCE:
        raise ConfigError(
            f'the crop of {member.name} is {zoom.max():.3f} times as large as the crop of the '
            'ensemble: increase `padding` of '
            'GetBBoxCenterScale in test_dataloader.dataset.pipeline'
        )
    # Differences by rounding are ignored.
    return np.where(np.abs(zoom - 1) < 1e-5, 1.0, zoom.astype(float))
