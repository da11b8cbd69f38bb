"""Head of MSPN with coarse-to-fine supervision."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmengine.structures import PixelData
from mmpose.evaluation.functional import pose_pck_accuracy
from mmpose.models.heads.base_head import BaseHead
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import KEYPOINT_CODECS
from mmpose.registry import MODELS as MMPOSE_MODELS
from mmpose.utils.tensor_utils import to_numpy
from torch import Tensor, nn

from ...checkpoints.names.mspn import convert_head
from ...registry import MODELS
from ..layers import MetaDeviceInit, at_least_float32, checkpointed
from ..layers.mspn import UNITS, BiasedConvNorm, check_stages, resize
from ..losses import HardKeypointsMSELoss, VisibleKeypointsMSELoss


@MODELS.register_module()
class MSPNHead(MetaDeviceInit, BaseHead):
    """Head of `MSPN`, with coarse-to-fine supervision.

    In training, every unit of every stage predicts heatmaps. The u-th unit of a stage learns the
    targets of the u-th widest kernel of the codec; in the last stage, those of the next narrower
    kernel. In prediction, only the heatmaps of the last unit are computed.

    Paper: https://arxiv.org/abs/1901.00148. Source:
    https://github.com/megvii-research/MSPN. The parameters have the names of MMPose's `MSPNHead`.

    Deviations from MMPose: convolutions have biases, as in the original; the default losses are
    those of the original; prediction computes only the maps of the last unit.

    Args:
        stages: Number of stages.
        out_shape: Height and width of the heatmaps.
        unit_channels: Channels of the feature maps of the units.
        out_channels: Number of keypoints, K.
        norm_cfg: Config of the norm layer; None means `dict(type='BN')`.
        levels: Index of the codec's kernel that each unit learns, 4 units for each stage; None
            means as above.
        loss: Config of the loss of the first three units of a stage. It is called with outputs and
            targets (N, K, height, width) and weights (N, K). None means
            `VisibleKeypointsMSELoss` with weight 1/4.
        last_loss: Config of the loss of the fourth unit; None means `HardKeypointsMSELoss` of 8
            keypoints.
        with_cp: Whether to use activation checkpointing.
        decoder: Config of the codec, such as `CoarseToFineHeatmap`.
        init_cfg: Initialization config of MMEngine; None means PyTorch's default initialization, as
            in the original.

    Raises:
        ValueError: If the number of stages, levels, kernels or keypoints, or the size of the
            heatmaps, is inconsistent.
    """

    def __init__(
        self,
        stages: int = 2,
        out_shape: tuple[int, int] = (64, 48),
        unit_channels: int = 256,
        out_channels: int = 17,
        norm_cfg: dict | None = None,
        levels: Sequence[int] | None = None,
        loss: dict | None = None,
        last_loss: dict | None = None,
        with_cp: bool = False,
        decoder: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        check_stages(stages)
        self.stages = stages
        self.out_shape = tuple(out_shape)
        self.unit_channels = unit_channels
        self.out_channels = out_channels
        self.with_cp = with_cp
        self.decoder = KEYPOINT_CODECS.build(decoder) if decoder else None
        if self.decoder is not None:
            self._check_size(self.decoder.heatmap_size)
        self.levels = self._check_levels(levels)
        self.loss_module = (
            MMPOSE_MODELS.build(loss) if loss else VisibleKeypointsMSELoss(loss_weight=0.25)
        )
        self.last_loss_module = (
            MMPOSE_MODELS.build(last_loss) if last_loss else HardKeypointsMSELoss()
        )
        topk = getattr(self.last_loss_module, 'topk', 0)
        if topk > out_channels:
            raise ValueError(
                f'last_loss has topk={topk}: expected at most '
                f'{out_channels}, the number of keypoints'
            )
        norm_cfg = norm_cfg or dict(type='BN')
        self.predict_layers = nn.ModuleList(
            _unit_head(unit_channels, out_channels, norm_cfg) for _ in range(UNITS * stages)
        )
        self.register_load_state_dict_pre_hook(_add_biases)

    def _check_size(self, heatmap_size: Sequence[int]) -> None:
        width, height = heatmap_size
        if self.out_shape != (height, width):
            raise ValueError(
                f'out_shape is {self.out_shape}: expected '
                f'{(height, width)}, height and width of the maps of the '
                'decoder'
            )

    def _check_levels(self, levels: Sequence[int] | None) -> tuple[int, ...]:
        count = UNITS * self.stages
        if levels is None:
            levels = [
                unit + (stage == self.stages - 1)
                for stage in range(self.stages)
                for unit in range(UNITS)
            ]
        if len(levels) != count or min(levels) < 0:
            raise ValueError(
                f'levels is {tuple(levels)}: expected {count} numbers of '
                f'kernels, {UNITS} for each of {self.stages} stages'
            )
        kernels = getattr(self.decoder, 'kernel_sizes', None)
        if kernels is not None and len(kernels) <= max(levels):
            raise ValueError(
                f'the decoder has {len(kernels)} kernel_sizes, '
                f'{tuple(kernels)}: expected at least {max(levels) + 1}, '
                f'since the units learn the levels {tuple(levels)}'
            )
        return tuple(levels)

    def _maps_of(self, index: int, feats: Sequence[Tensor]) -> Tensor:
        """Return the heatmaps (N, K, *out_shape) of one unit, at least float32."""
        layer, x = self.predict_layers[index], feats[index]
        use_checkpoint = self.with_cp and self.training
        x = checkpointed(layer, x) if use_checkpoint else layer(x)
        # NumPy, which decodes the maps and computes the accuracy, has no bfloat16.
        return resize(at_least_float32(x), self.out_shape)

    def _check_feats(self, feats: Sequence[Tensor]) -> None:
        expected = len(self.predict_layers), self.unit_channels
        actual = len(feats), feats[0].shape[1]
        if actual != expected:
            raise ValueError(
                f'the head got {actual[0]} maps of {actual[1]} channels: '
                f'expected {expected[0]} of {expected[1]}, {UNITS} for each '
                f'of its {self.stages} stages'
            )

    def unit_maps(self, feats: Sequence[Tensor]) -> list[Tensor]:
        """Compute the heatmaps of every unit.

        Args:
            feats: Feature maps of `MSPN`, (N, unit_channels, h, w) for each unit.

        Returns:
            (N, K, *out_shape) for each unit.
        """
        self._check_feats(feats)
        return [self._maps_of(index, feats) for index in range(len(feats))]

    def forward(self, feats: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Compute heatmaps.

        Args:
            feats: As for `unit_maps`.

        Returns:
            The heatmaps (N, K, *out_shape) of the last unit; in training mode, a list with those of
            every unit.
        """
        return self.unit_maps(feats) if self.training else self._last(feats)

    def _last(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the heatmaps (N, K, *out_shape) of the last unit."""
        self._check_feats(feats)
        return self._maps_of(len(feats) - 1, feats)

    def predict(self, feats, batch_data_samples: list, test_cfg: dict | None = None):
        """Predict keypoints.

        Args:
            feats: As for `unit_maps`; with `flip_test`, a list with the feature maps of the images
                and those of the mirrored images.
            batch_data_samples: Data samples of MMPose, one for each image.
            test_cfg: `flip_test`, `flip_mode`, `shift_heatmap`, `output_heatmaps`, as in MMPose's
                `HeatmapHead`.

        Returns:
            A list of `InstanceData`; with `output_heatmaps`, also a list of `PixelData`.
        """
        test_cfg = test_cfg or {}
        flip = test_cfg.get('flip_test', False)
        feats, mirrored = feats if flip else (feats, None)
        maps = self._predicted(feats)
        if flip:
            maps = 0.5 * (
                maps
                + flip_heatmaps(
                    self._predicted(mirrored),
                    flip_mode=test_cfg.get('flip_mode', 'heatmap'),
                    flip_indices=batch_data_samples[0].metainfo['flip_indices'],
                    shift_heatmap=test_cfg.get('shift_heatmap', False),
                )
            )
        instances = self.decode(maps)
        if test_cfg.get('output_heatmaps', False):
            return instances, [PixelData(heatmaps=heatmaps) for heatmaps in maps.detach()]
        return instances

    def _predicted(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the output of `forward` for the last unit."""
        maps = self.forward(feats)
        return maps[-1] if isinstance(maps, list) else maps

    def _targets(self, batch_data_samples: list) -> Tensor:
        """Return the targets (N, L, K, height, width) for L kernels."""
        maps = torch.stack([sample.gt_fields.heatmaps for sample in batch_data_samples])
        levels, rest = divmod(maps.shape[1], self.out_channels)
        if rest or levels <= max(self.levels):
            raise ValueError(
                f'the targets are {maps.shape[1]} maps: expected '
                f'{self.out_channels} keypoints for each of at least '
                f'{max(self.levels) + 1} kernels'
            )
        return maps.unflatten(1, (levels, self.out_channels))

    def loss(
        self, feats: Sequence[Tensor], batch_data_samples: list, train_cfg: dict | None = None
    ) -> dict:
        """Compute the loss of every unit.

        Args:
            feats: As for `unit_maps`.
            batch_data_samples: Data samples of MMPose, with the `heatmaps` and `keypoint_weights`
                of the codec.
            train_cfg: `compute_acc`: whether to compute the accuracy too (default: True).

        Returns:
            A dict of scalars: `loss_kpt`, and `acc_pose`, the fraction of peaks of the last unit's
            heatmaps that are near the peaks of the targets.
        """
        maps = self.unit_maps(feats)
        targets = self._targets(batch_data_samples)
        weights = torch.cat(
            [sample.gt_instance_labels.keypoint_weights for sample in batch_data_samples]
        )
        losses = dict(loss_kpt=self.unit_losses(maps, targets, weights))
        if (train_cfg or {}).get('compute_acc', True):
            _, accuracy, _ = pose_pck_accuracy(
                output=to_numpy(maps[-1]),
                target=to_numpy(targets[:, self.levels[-1]]),
                mask=to_numpy(weights) > 0,
            )
            losses['acc_pose'] = torch.tensor(accuracy, device=targets.device)
        return losses

    def unit_losses(self, maps: Sequence[Tensor], targets: Tensor, weights: Tensor) -> Tensor:
        """Sum the losses of all units.

        Args:
            maps: Heatmaps (N, K, height, width) of every unit.
            targets: (N, L, K, height, width), for L kernels.
            weights: (N, K).

        Returns:
            A scalar.
        """
        total = 0
        for index, (output, level) in enumerate(zip(maps, self.levels)):
            last = index % UNITS == UNITS - 1
            loss = self.last_loss_module if last else self.loss_module
            total = total + loss(output, targets[:, level], weights)
        return total


def _unit_head(unit_channels: int, out_channels: int, norm_cfg: dict) -> nn.Module:
    """Return two convolutions that map the features of a unit to heatmaps."""
    layers = nn.Sequential(
        BiasedConvNorm(unit_channels, unit_channels, norm_cfg),
        BiasedConvNorm(unit_channels, out_channels, norm_cfg, kernel=3, relu=False),
    )
    return nn.Sequential(OrderedDict(conv_layers=layers))


def _add_biases(_head: MSPNHead, state_dict: dict, prefix: str, *_reports) -> None:
    """Convert weights of MMPose's head, which has no biases, in place."""
    weights = {
        name[len(prefix) :]: value
        for name, value in state_dict.items()
        if name.startswith(f'{prefix}predict_layers.')
    }
    state_dict.update({prefix + name: value for name, value in convert_head(weights).items()})
