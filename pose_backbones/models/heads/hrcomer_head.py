"""Head of HRCoMer, which detects people and regresses their keypoints (joints) in one step."""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from mmpose.models.heads.base_head import BaseHead
from mmpose.registry import KEYPOINT_CODECS
from mmpose.registry import MODELS as MMPOSE_MODELS
from torch import Tensor

from ...checkpoints.conversion_hook import register_state_dict_conversion
from ...checkpoints.names.hrcomer import convert_head
from ...codecs.multi_scale_joints import is_confident, select_queries
from ...registry import MODELS, TASK_UTILS
from ...structures.skeleton import COCO
from ...utils.arguments import check_ints, check_positive_int
from ..layers import MetaDeviceInit, check_conv_init
from .hrcomer_branches import (
    MIRROR,
    ConfidenceBranch,
    HeatmapBranch,
    JointBranch,
    RefineBranch,
    halves,
    sample,
    without_padding,
)

#: name of a loss → its class and weight
_LOSSES = dict(
    confidence=('BinaryFocalLoss', 0.5625),
    joint=('JointL1Loss', 2e-3),
    limb=('LimbL1Loss', 1e-3),
    oks=('OKSLoss', 1e-3),
    heatmap=('HeatmapFocalLoss', 1e-3),
)


@MODELS.register_module()
class HRCoMerHead(MetaDeviceInit, BaseHead):
    """Detect people in one step and refine their joints.

    Each pixel of the feature maps of strides 8, 16 and 32 is a query. For each query, the head
    predicts the confidence that the query belongs to a person, and the joints (keypoints) of that
    person. From the feature map of stride 4, the head predicts heatmaps, and the paper's short
    offsets, which refine the joints.

    For a prediction, joints are computed only for the most confident queries, and short offsets
    only at these joints. The result is the same as with all queries.

    Paper: ConvNeXtPose: Adapting ConvNeXt with High-Resolution Representation
    for Multi-Person Human Pose Estimation. Source:
    https://github.com/CR320/ConvNeXtPose. The parameters have the names of its checkpoints, except
    for the norms of residual blocks (`bn1`, `bn2`).

    Args:
        in_channels: Channels of the four feature maps.
        num_keypoints: Number of keypoints, K.
        confidence_channels: Channels in the confidence branch.
        heatmap_channels: Channels in the heatmap branch.
        joint_channels: Channels for each joint in the joint branches.
        refine_channels: Channels for each joint in the refinement branch.
        norm_cfg: `dict(type='BN')` or `dict(type='SyncBN')`; None means `dict(type='BN')`.
        decoder: The codec, `MultiScaleJoints`.
        limbs: Limbs of the skeleton: pairs of joint indices, or the path of a dataset metainfo file
            of MMPose.
        assigner: Config of the assigner of people to queries; None means `PoseHungarianAssigner`,
            with `limbs` for its limb cost.
        losses: Configs of the losses to compute, with the keys `confidence`, `joint`, `limb`, `oks`
            and `heatmap`; None means all, with the weights of the paper. Arguments that a config
            omits are taken from the decoder (`sigmas`, `area_factor`) and from `limbs`.
        conv_init: Initialization of the convolutions that precede a norm: `'small'` (normal,
            standard deviation 0.001), as in the original, or `'kaiming'`, which learns faster when
            training from scratch.
        init_cfg: Initialization config of MMEngine; None means the initialization above.

    Raises:
        ValueError: If an argument is invalid; the message has the value and the choices.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (32, 64, 128, 256),
        num_keypoints: int = 17,
        confidence_channels: int = 32,
        heatmap_channels: int = 32,
        joint_channels: int = 12,
        refine_channels: int = 8,
        norm_cfg: dict | None = None,
        decoder: dict | None = None,
        limbs: str | Sequence[Sequence[int]] = COCO,
        assigner: dict | None = None,
        losses: dict | None = None,
        conv_init: str = 'small',
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        check_ints('in_channels', in_channels, 4, each='one per map')
        for name, value in (
            ('num_keypoints', num_keypoints),
            ('confidence_channels', confidence_channels),
            ('heatmap_channels', heatmap_channels),
            ('joint_channels', joint_channels),
            ('refine_channels', refine_channels),
        ):
            check_positive_int(name, value)
        check_conv_init(conv_init)
        norm_cfg = norm_cfg or dict(type='BN')
        self.in_channels = tuple(in_channels)
        self.num_keypoints = num_keypoints
        stride4, queries = self.in_channels[0], self.in_channels[1:]
        self.confidences_head = ConfidenceBranch(queries, confidence_channels, norm_cfg, conv_init)
        self.joints_head = JointBranch(queries, num_keypoints, joint_channels, norm_cfg, conv_init)
        self.heatmaps_head = HeatmapBranch(
            stride4, num_keypoints, heatmap_channels, norm_cfg, conv_init
        )
        self.refine_head = RefineBranch(
            stride4, num_keypoints, refine_channels, norm_cfg, conv_init
        )
        self.decoder = KEYPOINT_CODECS.build(decoder) if decoder else None
        self._check_decoder()
        self.assigner = TASK_UTILS.build(
            assigner
            or dict(
                type='pose_backbones.PoseHungarianAssigner',
                costs=[
                    dict(type='pose_backbones.BinaryFocalCost'),
                    dict(type='pose_backbones.JointL1Cost'),
                    dict(type='pose_backbones.LimbL1Cost', limbs=limbs),
                ],
            )
        )
        self.loss_modules = torch.nn.ModuleDict(self._build_losses(losses, limbs))
        register_state_dict_conversion(self, convert_head)

    def _check_decoder(self) -> None:
        sigmas = getattr(self.decoder, 'sigmas', None)
        if sigmas is not None and len(sigmas) != self.num_keypoints:
            raise ValueError(
                f'num_keypoints is {self.num_keypoints}: expected '
                f'{len(sigmas)}, since the decoder has as many sigmas'
            )

    def _build_losses(self, losses: Mapping | None, limbs) -> dict:
        """Return the loss modules by name."""
        if losses is None:
            losses = {
                name: dict(type=f'pose_backbones.{kind}', loss_weight=weight)
                for name, (kind, weight) in _LOSSES.items()
            }
        if not losses or set(losses) - set(_LOSSES):
            raise ValueError(
                f'losses has the names {", ".join(losses) or "(none)"}: '
                f'expected some of {", ".join(_LOSSES)}'
            )
        defaults = dict(
            limb=dict(limbs=limbs),
            oks=dict(sigmas=self.decoder.sigmas, area_factor=self.decoder.area_factor)
            if self.decoder
            else {},
        )
        return {
            name: MMPOSE_MODELS.build({**defaults.get(name, {}), **config})
            for name, config in losses.items()
        }

    def _check_feats(self, feats: Sequence[Tensor]) -> None:
        channels = tuple(x.shape[1] for x in feats)
        if channels != self.in_channels:
            raise ValueError(
                f'the head got maps of {channels} channels: expected {self.in_channels}'
            )

    def forward(self, feats: Sequence[Tensor], flip_indices: Sequence[int] | None = None) -> dict:
        """Compute the outputs of all queries.

        Args:
            feats: Feature maps of `HRCoMer`, of strides 4 (N, C, H, W), 8, 16 and 32.
            flip_indices: For each keypoint, the index of its left or right counterpart. If given,
                the second half of the batch contains the flipped images. Heatmaps and short offsets
                are then averaged; all other outputs are those of the first half.

        Returns:
            A dict of float32 tensors. `confidences`, `joints` and `joints_refined` are lists with a
            tensor for each of the strides 8, 16 and 32: confidence logits (N, 1, h, w), and x and y
            of the joints (N, h, w, K, 2) in pixels of the feature map of stride 4. `heatmaps` is a
            tensor (N, K, H, W), from 0 to 1.
        """
        self._check_feats(feats)
        queries = self._query_maps(feats, flip_indices)
        short_offsets = self.refine_head(feats[0])
        if flip_indices is not None:
            originals, flipped = halves(short_offsets)
            flipped = flipped.flip(-1)[:, list(flip_indices)]
            sign = short_offsets.new_tensor(MIRROR)[:, None, None]
            short_offsets = (originals + flipped * sign) / 2
        joints = self.joints_head(queries)
        all_joints = torch.cat([level.flatten(1, 2) for level in joints], 1).detach()
        refined = all_joints + sample(short_offsets, all_joints)
        refined_levels = refined.split([x[0, 0].numel() for x in queries], 1)
        return dict(
            confidences=self.confidences_head(queries),
            joints=joints,
            joints_refined=[
                refined_level.view_as(level) for refined_level, level in zip(refined_levels, joints)
            ],
            heatmaps=self._heatmaps(feats[0], flip_indices),
        )

    def _query_maps(
        self, feats: Sequence[Tensor], flip_indices: Sequence[int] | None
    ) -> list[Tensor]:
        """Return the feature maps of the queries, without those of the flipped images."""
        return [x if flip_indices is None else halves(x)[0] for x in feats[1:]]

    def _heatmaps(self, x: Tensor, flip_indices: Sequence[int] | None) -> Tensor:
        maps = self.heatmaps_head(x)
        if flip_indices is None:
            return maps
        originals, flipped = halves(maps)
        return (originals + flipped.flip(-1)[:, list(flip_indices)]) / 2

    def forward_candidates(
        self,
        feats: Sequence[Tensor],
        flip_indices: Sequence[int] | None = None,
        sizes: Tensor | None = None,
        static: bool = False,
    ) -> dict:
        """Compute only the outputs that the decoder needs, in evaluation mode.

        Args:
            feats: As for `forward`.
            flip_indices: As for `forward`.
            sizes: (N, 2), width and height of the images without padding, in pixels of the feature
                map of stride 4. None: the images have no padding.
            static: Whether P is `max_num_people` of the decoder for all images, for exported
                graphs, whose shapes cannot depend on values.

        Returns:
            A dict with the keys `confidences`, `joints` (refined) and `heatmaps`. The first two are
            lists of one tensor, (N, 1, 1, P) and (N, 1, P, K, 2), for the P selected queries. P is
            at most `max_num_people` of the decoder, and at most the largest number of queries in an
            image of the batch whose confidence is above `score_threshold` of the decoder, or NaN.
        """
        self._check_feats(feats)
        queries = self._query_maps(feats, flip_indices)
        logits = self.confidences_head(queries)
        if sizes is not None:
            logits = [
                without_padding(x, sizes / 2 ** (level + 1)) for level, x in enumerate(logits)
            ]
        logits = torch.cat([x.flatten(1) for x in logits], 1)
        count = self.decoder.max_num_people
        if static:
            selected = logits.sigmoid().topk(count, dim=1).indices
        else:
            selected, confidences = select_queries(logits.sigmoid(), count)
            confident = is_confident(confidences, self.decoder.score_threshold)
            selected = selected[:, : int(confident.sum(1).max())]
        joints = self.joints_head.forward_queries(queries, selected, static)
        if selected.shape[1]:
            joints = joints + self.refine_head.sample_at(feats[0], joints, flip_indices, static)
        return dict(
            confidences=[logits.gather(1, selected)[:, None, None]],
            joints=[joints[:, None]],
            heatmaps=self._heatmaps(feats[0], flip_indices),
        )

    def predict(
        self,
        feats: Iterable[Sequence[Tensor]],
        batch_data_samples: list,
        test_cfg: dict | None = None,
    ):
        """Predict the people in a batch of images.

        Args:
            feats: Feature maps for each test scale, as for `forward`. Can be a generator, so that
                the maps of one scale are freed before those of the next scale are computed.
            batch_data_samples: Data samples of MMPose, one for each image, with `input_size` (w, h)
                in pixels and, for several scales, `scale_factors`.
            test_cfg: `flip_test`: whether the second half of each batch contains the flipped
                images; `output_heatmaps`: whether to return heatmaps.

        Returns:
            A list of `InstanceData`, in pixels of the input: `keypoints` (n, K, 2),
            `keypoint_scores` (n, K), `bboxes` (n, 4) around the joints, and `bbox_scores` (n,), the
            means of the joint scores. With `output_heatmaps`, also a list of `PixelData` of the
            first scale, without the padding of the batch.

        Raises:
            ValueError: If the decoder is None, the first scale factor is not 1, or the numbers of
                scales and scale factors differ.
        """
        if self.decoder is None:
            raise ValueError(
                'decoder is None: expected a codec, such as '
                "dict(type='pose_backbones.MultiScaleJoints', …)"
            )
        test_cfg, metainfo = test_cfg or {}, batch_data_samples[0].metainfo
        factors = scale_factors(metainfo)
        flip_indices = metainfo['flip_indices'] if test_cfg.get('flip_test', False) else None
        sizes = [sample.metainfo['input_size'] for sample in batch_data_samples]
        outputs = []
        for index, maps in enumerate(feats):
            map_sizes = None  # without padding
            if len(set(map(tuple, sizes))) > 1 and index < len(factors):
                map_sizes = maps[0].new_tensor(sizes) * factors[index] / 4
            outputs.append(self.forward_candidates(maps, flip_indices, map_sizes))
        people = self.decoder.decode(outputs, factors)
        instances = [pack_people(*poses) for poses in people]
        if test_cfg.get('output_heatmaps', False):
            return instances, [
                PixelData(heatmaps=maps[:, : -(-height // 4), : -(-width // 4)])
                for maps, (width, height) in zip(outputs[0]['heatmaps'], sizes)
            ]
        return instances

    def loss(
        self, feats: Sequence[Tensor], batch_data_samples: list, train_cfg: dict | None = None
    ) -> dict:
        """Assign people to queries and compute the losses.

        Args:
            feats: As for `forward`.
            batch_data_samples: Data samples of MMPose, with the targets of the codec. `gt_fields`
                can have `heatmap_mask` (h, w), which is False in regions whose people are not
                labelled, such as crowds; without it, all pixels count.
            train_cfg: `flip`: whether the second half of the batch contains the flipped images.

        Returns:
            A dict of scalars, with the key `loss_<name>` for each of `losses`.
        """
        flip = (train_cfg or {}).get('flip', False)
        outputs = self.forward(
            feats, batch_data_samples[0].metainfo['flip_indices'] if flip else None
        )
        fields = [sample.gt_fields for sample in batch_data_samples]
        labels = [sample.gt_instance_labels for sample in batch_data_samples]
        heatmaps = torch.stack([field.heatmaps for field in fields])
        mask = heatmaps.new_ones(heatmaps[:, 0].shape)
        if 'heatmap_mask' in fields[0]:
            mask = torch.stack([field.heatmap_mask for field in fields])
            mask = mask.view_as(heatmaps[:, 0]).float()
        targets = {
            name: torch.stack([label[f'target_{name}'] for label in labels])
            for name in ('joints', 'areas', 'sizes')
        }
        return self.compute_losses(outputs, targets, heatmaps, mask)

    def compute_losses(
        self, outputs: Mapping, targets: Mapping, heatmaps: Tensor, mask: Tensor
    ) -> dict:
        """Compute the losses from outputs and targets.

        Args:
            outputs: Outputs of `forward`.
            targets: `joints` (N, M, K, 3), `areas` and `sizes` (N, M), in pixels of the feature
                map of stride 4. Rows without a labelled joint are padding.
            heatmaps: Target heatmaps (N, K, H, W).
            mask: (N, H, W), 1 for pixels that count in the heatmap loss and for queries, else 0.

        Returns:
            The same dict as `loss`.
        """
        shapes = [x.shape[-2:] for x in outputs['confidences']]
        logits = torch.cat([x.flatten(2) for x in outputs['confidences']], 2)[:, 0]
        joints, refined = (
            torch.cat([x.flatten(1, 2) for x in outputs[name]], 1)
            for name in ('joints', 'joints_refined')
        )
        valid = (
            torch.cat(
                [
                    F.interpolate(mask[:, None], shape, mode='bilinear').flatten(1)
                    for shape in shapes
                ],
                1,
            )
            > 0
        )
        image_index, query_index, person_index = self.assigner(
            dict(confidences=logits.detach()[..., None], joints=joints.detach()),
            shapes,
            targets,
            valid,
        )
        matched = torch.zeros_like(logits)
        matched[image_index, query_index] = 1
        joint_targets = targets['joints'][image_index, person_index]
        areas = targets['areas'][image_index, person_index]
        arguments = dict(
            confidence=(logits, matched, valid),
            joint=(joints[image_index, query_index], joint_targets, areas),
            limb=(joints[image_index, query_index], joint_targets, areas),
            oks=(refined[image_index, query_index], joint_targets, areas),
            heatmap=(outputs['heatmaps'], heatmaps, mask),
        )
        return {
            f'loss_{name}': module(*arguments[name]) for name, module in self.loss_modules.items()
        }


def scale_factors(metainfo: Mapping) -> tuple[float, ...]:
    """Return the scale factors of multi-scale testing, from `ResizeAlign` or `BottomupResize`.

    Args:
        metainfo: Meta information of a data sample.

    Returns:
        The factors; the first one should be 1.
    """
    if metainfo.get('scale_factors') is not None:
        return tuple(metainfo['scale_factors'])
    return (1, *(metainfo.get('aug_scales') or ()))


def pack_people(poses: Tensor, scores: Tensor) -> InstanceData:
    """Convert poses (n, K, 2) and joint scores (n, K) to MMPose's `InstanceData`."""
    boxes = torch.cat((poses.amin(1), poses.amax(1)), 1)
    return InstanceData(
        keypoints=poses.cpu().numpy(),
        keypoint_scores=scores.cpu().numpy(),
        bboxes=boxes.cpu().numpy(),
        bbox_scores=scores.mean(1).cpu().numpy(),
    )
