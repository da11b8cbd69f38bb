"""Heat maps of every unit of MSPN in training, of the last in prediction."""

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
from ..layers import checkpointed
from ..layers.mspn import UNITS, BiasedConvNorm, check_stages, resize
from ..losses import HardKeypointsMSELoss, VisibleKeypointsMSELoss


@MODELS.register_module()
class MSPNHead(BaseHead):
    """Head of `MSPN`, with coarse-to-fine supervision.

    In training, every unit of every stage gives heat maps. The u-th unit of
    a stage learns the u-th widest kernel of the codec, in the last stage the
    next narrower one. In prediction, only the last unit's are computed.

    Paper: https://arxiv.org/abs/1901.00148. Source:
    https://github.com/megvii-research/MSPN. Names of parameters are those of
    MMPose's `MSPNHead`.

    Deviations from MMPose's: biases, as in the original; the losses are the
    original's by default; in prediction, no other maps are computed.

    Args:
        stages: How many.
        out_shape: Height and width of the heat maps.
        unit_channels: Of the maps of the units.
        out_channels: K.
        norm_cfg: Norm layer; None is `dict(type='BN')`.
        levels: For each unit, 4 to a stage, which kernel of the codec it
            learns, from 0; None: as above.
        loss: Of the first three units of a stage, called with outputs,
            targets (N, K, height, width) and weights (N, K); None:
            `VisibleKeypointsMSELoss`, with weight 1/4.
        last_loss: Of the fourth; None: `HardKeypointsMSELoss`, of 8 key
            points.
        with_cp: Whether activations are computed again in the backward pass.
        decoder: The codec, such as `CoarseToFineHeatmap`.
        init_cfg: MMEngine's; None: PyTorch's start values, as in the
            original.

    Raises:
        ValueError: For a number of stages, levels, kernels or key points, or
            a size, that does not fit.
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
                f'{out_channels}, the number of key points'
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
        """Heat maps (N, K, *out_shape) of one unit."""
        layer, x = self.predict_layers[index], feats[index]
        again = self.with_cp and self.training
        return resize(checkpointed(layer, x) if again else layer(x), self.out_shape)

    def _check_feats(self, feats: Sequence[Tensor]) -> None:
        expected = len(self.predict_layers), self.unit_channels
        found = len(feats), feats[0].shape[1]
        if found != expected:
            raise ValueError(
                f'the head got {found[0]} maps of {found[1]} channels: '
                f'expected {expected[0]} of {expected[1]}, {UNITS} for each '
                f'of its {self.stages} stages'
            )

    def unit_maps(self, feats: Sequence[Tensor]) -> list[Tensor]:
        """Compute the heat maps of every unit.

        Args:
            feats: Of `MSPN`, (N, unit_channels, h, w) for each unit.

        Returns:
            (N, K, *out_shape) for each unit.
        """
        self._check_feats(feats)
        return [self._maps_of(index, feats) for index in range(len(feats))]

    def forward(self, feats: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Compute heat maps.

        Args:
            feats: As for `unit_maps`.

        Returns:
            The last unit's (N, K, *out_shape); in training, the list of
            every unit's.
        """
        return self.unit_maps(feats) if self.training else self._last(feats)

    def _last(self, feats: Sequence[Tensor]) -> Tensor:
        """Heat maps (N, K, *out_shape) of the last unit."""
        self._check_feats(feats)
        return self._maps_of(len(feats) - 1, feats)

    def predict(self, feats, batch_data_samples: list, test_cfg: dict | None = None):
        """Find key points.

        Args:
            feats: As for `unit_maps`; with `flip_test`, a list of those of
                the images and of the mirrored images.
            batch_data_samples: MMPose's, one for each image.
            test_cfg: `flip_test`, `flip_mode`, `shift_heatmap`,
                `output_heatmaps`, as in MMPose's `HeatmapHead`.

        Returns:
            A list of MMPose's instances; with `output_heatmaps`, also a list
            of `PixelData`.
        """
        test_cfg = test_cfg or {}
        flip = test_cfg.get('flip_test', False)
        feats, mirrored = feats if flip else (feats, None)
        maps = self._last(feats)
        if flip:
            maps = 0.5 * (
                maps
                + flip_heatmaps(
                    self._last(mirrored),
                    flip_mode=test_cfg.get('flip_mode', 'heatmap'),
                    flip_indices=batch_data_samples[0].metainfo['flip_indices'],
                    shift_heatmap=test_cfg.get('shift_heatmap', False),
                )
            )
        found = self.decode(maps)
        if test_cfg.get('output_heatmaps', False):
            return found, [PixelData(heatmaps=one) for one in maps.detach()]
        return found

    def _targets(self, batch_data_samples: list) -> Tensor:
        """(N, L, K, height, width), for L kernels."""
        maps = torch.stack([sample.gt_fields.heatmaps for sample in batch_data_samples])
        levels, rest = divmod(maps.shape[1], self.out_channels)
        if rest or levels <= max(self.levels):
            raise ValueError(
                f'the targets are {maps.shape[1]} maps: expected '
                f'{self.out_channels} key points for each of at least '
                f'{max(self.levels) + 1} kernels'
            )
        return maps.unflatten(1, (levels, self.out_channels))

    def loss(
        self, feats: Sequence[Tensor], batch_data_samples: list, train_cfg: dict | None = None
    ) -> dict:
        """Compute the loss of every unit.

        Args:
            feats: As for `unit_maps`.
            batch_data_samples: MMPose's, with the codec's `heatmaps` and
                `keypoint_weights`.
            train_cfg: `compute_acc`: whether the accuracy is computed, too
                (default: yes).

        Returns:
            `loss_kpt`, and `acc_pose`: the share of the last maps' peaks
            that are near the targets'.
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
        """Add up the losses of the units.

        Args:
            maps: Of every unit, (N, K, height, width).
            targets: (N, L, K, height, width), for L kernels.
            weights: (N, K).

        Returns:
            A number.
        """
        total = 0
        for index, (output, level) in enumerate(zip(maps, self.levels)):
            last = index % UNITS == UNITS - 1
            loss = self.last_loss_module if last else self.loss_module
            total = total + loss(output, targets[:, level], weights)
        return total


def _unit_head(unit_channels: int, out_channels: int, norm_cfg: dict) -> nn.Module:
    """Two convolutions: map of a unit → heat maps."""
    layers = nn.Sequential(
        BiasedConvNorm(unit_channels, unit_channels, norm_cfg),
        BiasedConvNorm(unit_channels, out_channels, norm_cfg, kernel=3, relu=False),
    )
    return nn.Sequential(OrderedDict(conv_layers=layers))


def _add_biases(_head: MSPNHead, state_dict: dict, prefix: str, *_reports) -> None:
    """Take the weights of MMPose's head, which has no biases, in place."""
    own = {
        name[len(prefix) :]: value
        for name, value in state_dict.items()
        if name.startswith(f'{prefix}predict_layers.')
    }
    state_dict.update({prefix + name: value for name, value in convert_head(own).items()})
