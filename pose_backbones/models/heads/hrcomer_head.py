"""People in the maps of HRCoMer: confidences, joints, heat maps."""

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
from ...codecs.multi_scale_joints import select_queries
from ...registry import MODELS, TASK_UTILS
from ...structures.skeleton import COCO
from ...utils.arguments import check_ints, check_positive_int
from ..layers import check_conv_init
from .hrcomer_branches import (
    MIRROR,
    ConfidenceBranch,
    HeatmapBranch,
    JointBranch,
    RefineBranch,
    sample,
    without_padding,
)

#: loss → class and weight
_LOSSES = dict(
    confidence=('BinaryFocalLoss', 0.5625),
    joint=('JointL1Loss', 2e-3),
    limb=('LimbL1Loss', 1e-3),
    oks=('OKSLoss', 1e-3),
    heatmap=('HeatmapFocalLoss', 1e-3),
)


@MODELS.register_module()
class HRCoMerHead(BaseHead):
    """Finds people in one step, and refines their joints.

    Each pixel of the maps of strides 8, 16 and 32 is a query: it has a
    confidence that it has found a person, and the joints of that person. The
    map of stride 4 gives heat maps, and short offsets with which joints are
    refined where they are.

    In prediction, joints are computed for the most confident queries only,
    and short offsets only where their joints are; the result is the same.

    Paper: ConvNeXtPose: Adapting ConvNeXt with High-Resolution Representation
    for Multi-Person Human Pose Estimation. Source:
    https://github.com/CR320/ConvNeXtPose. Names of parameters are those of
    its checkpoints, but for the norms of residual blocks (`bn1`, `bn2`).

    Args:
        in_channels: Channels of the four maps.
        num_keypoints: Number of keypoints, K.
        confidence_channels: Channels in the confidence branch.
        heatmap_channels: Channels in the heatmap branch.
        joint_channels: Channels for each joint in the joint branches.
        refine_channels: Channels for each joint in the refinement branch.
        norm_cfg: `dict(type='BN')` or `dict(type='SyncBN')`; None: the
            former.
        decoder: The codec, `MultiScaleJoints`.
        limbs: Of the skeleton: pairs of joints, or MMPose's description of
            the data set (a file).
        assigner: Config of what assigns people to queries; None:
            `PoseHungarianAssigner`, with `limbs` for its limb cost.
        losses: Configs of the losses to be computed, under the names
            `confidence`, `joint`, `limb`, `oks` and `heatmap`; None: all,
            with the weights of the paper. What a config leaves out is taken
            from the decoder (`sigmas`, `area_factor`) and from `limbs`.
        conv_init: Start values of convolutions before a norm: `'small'`
            (normal, standard deviation .001), as in the original, or
            `'kaiming'`, which learns faster from nothing.
        init_cfg: MMEngine's; None: as said.

    Raises:
        ValueError: For a wrong argument; the message has the value and the
            choices.
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
        check_ints('in_channels', in_channels, 4, each='one a map')
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
        first, others = self.in_channels[0], self.in_channels[1:]
        self.confidences_head = ConfidenceBranch(others, confidence_channels, norm_cfg, conv_init)
        self.joints_head = JointBranch(others, num_keypoints, joint_channels, norm_cfg, conv_init)
        self.heatmaps_head = HeatmapBranch(
            first, num_keypoints, heatmap_channels, norm_cfg, conv_init
        )
        self.refine_head = RefineBranch(first, num_keypoints, refine_channels, norm_cfg, conv_init)
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
        """Name → loss."""
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
        known = dict(
            limb=dict(limbs=limbs),
            oks=dict(sigmas=self.decoder.sigmas, area_factor=self.decoder.area_factor)
            if self.decoder
            else {},
        )
        return {
            name: MMPOSE_MODELS.build({**known.get(name, {}), **config})
            for name, config in losses.items()
        }

    def _check_feats(self, feats: Sequence[Tensor]) -> None:
        found = tuple(x.shape[1] for x in feats)
        if found != self.in_channels:
            raise ValueError(f'the head got maps of {found} channels: expected {self.in_channels}')

    def forward(self, feats: Sequence[Tensor], flip_indices: Sequence[int] | None = None) -> dict:
        """Compute everything, for all queries.

        Args:
            feats: Of `HRCoMer`, of strides 4 (N, C, H, W), 8, 16 and 32.
            flip_indices: If given, the second half of the batch are the
                mirrored images; heat maps and short offsets are then
                averaged, and all else is that of the first half.

        Returns:
            `confidences`, logits (N, 1, h, w), and `joints` and
            `joints_refined`, (N, h, w, K, 2), x and y in pixels of the map
            of stride 4, each a list of those of strides 8, 16 and 32;
            `heatmaps` (N, K, H, W), from 0 to 1. In float32.
        """
        self._check_feats(feats)
        queries = self._query_maps(feats, flip_indices)
        short = self.refine_head(feats[0])
        if flip_indices is not None:
            images, mirrored = short.chunk(2)
            mirrored = mirrored.flip(-1)[:, list(flip_indices)]
            sign = short.new_tensor(MIRROR)[:, None, None]
            short = (images + mirrored * sign) / 2
        joints = self.joints_head(queries)
        flat = torch.cat([one.flatten(1, 2) for one in joints], 1).detach()
        refined = (flat + sample(short, flat)).split([x[0, 0].numel() for x in queries], 1)
        return dict(
            confidences=self.confidences_head(queries),
            joints=joints,
            joints_refined=[one.view_as(other) for one, other in zip(refined, joints)],
            heatmaps=self._heatmaps(feats[0], flip_indices),
        )

    def _query_maps(
        self, feats: Sequence[Tensor], flip_indices: Sequence[int] | None
    ) -> list[Tensor]:
        """The maps of the queries, without the mirrored images'."""
        return [x if flip_indices is None else x.chunk(2)[0] for x in feats[1:]]

    def _heatmaps(self, x: Tensor, flip_indices: Sequence[int] | None) -> Tensor:
        maps = self.heatmaps_head(x)
        if flip_indices is None:
            return maps
        images, mirrored = maps.chunk(2)
        return (images + mirrored.flip(-1)[:, list(flip_indices)]) / 2

    def forward_candidates(
        self,
        feats: Sequence[Tensor],
        flip_indices: Sequence[int] | None = None,
        sizes: Tensor | None = None,
    ) -> dict:
        """Compute what the decoder needs to know, in evaluation.

        Args:
            feats: As for `forward`.
            flip_indices: As for `forward`.
            sizes: (N, 2), width and height of the images in pixels of the
                map of stride 4, where what is beyond is padding.

        Returns:
            As `forward`, but `joints`, refined, and `confidences` of chosen
            queries only: (N, 1, P, K, 2) and (N, 1, 1, P), each the only one
            of its list. At most `max_num_people` of the decoder, and as many
            as pass its threshold in the image with most of them.
        """
        self._check_feats(feats)
        queries = self._query_maps(feats, flip_indices)
        logits = self.confidences_head(queries)
        if sizes is not None:
            logits = [
                without_padding(one, sizes / 2 ** (level + 1)) for level, one in enumerate(logits)
            ]
        logits = torch.cat([one.flatten(1) for one in logits], 1)
        chosen, values = select_queries(logits.sigmoid(), self.decoder.max_num_people)
        sure = values > self.decoder.score_threshold
        chosen = chosen[:, : int(sure.sum(1).max())]
        joints = self.joints_head.forward_queries(queries, chosen)
        if chosen.shape[1]:
            joints = joints + self.refine_head.sample_at(feats[0], joints, flip_indices)
        return dict(
            confidences=[logits.gather(1, chosen)[:, None, None]],
            joints=[joints[:, None]],
            heatmaps=self._heatmaps(feats[0], flip_indices),
        )

    def predict(
        self,
        feats: Iterable[Sequence[Tensor]],
        batch_data_samples: list,
        test_cfg: dict | None = None,
    ):
        """Find people.

        Args:
            feats: For each scale of the test, as for `forward`. May be a
                generator, so that the maps of one scale are gone before
                those of the next are made.
            batch_data_samples: MMPose's, one for each image, with
                `input_size` (w, h) in pixels and, of several scales, their
                `scale_factors`.
            test_cfg: `flip_test`: whether the second half of each batch are
                the mirrored images; `output_heatmaps`.

        Returns:
            A list of MMPose's instances, in pixels of the input: `keypoints`
            (n, K, 2), `keypoint_scores` (n, K), `bboxes` (n, 4) around the
            joints, `bbox_scores` (n,), the mean of the joints'. With
            `output_heatmaps`, also a list of `PixelData`, of the first
            scale, without what pads a batch.

        Raises:
            ValueError: If scales do not begin with 1, or are not as many.
        """
        if self.decoder is None:
            raise ValueError(
                'decoder is None: expected a codec, such as '
                "dict(type='pose_backbones.MultiScaleJoints', …)"
            )
        test_cfg, metainfo = test_cfg or {}, batch_data_samples[0].metainfo
        factors = scale_factors(metainfo)
        flip = metainfo['flip_indices'] if test_cfg.get('flip_test', False) else None
        sizes = [sample.metainfo['input_size'] for sample in batch_data_samples]
        outputs = []
        for index, maps in enumerate(feats):
            limits = None
            if len(set(map(tuple, sizes))) > 1 and index < len(factors):
                limits = maps[0].new_tensor(sizes) * factors[index] / 4
            outputs.append(self.forward_candidates(maps, flip, limits))
        people = self.decoder.decode(outputs, factors)
        instances = [_pack(*found) for found in people]
        if test_cfg.get('output_heatmaps', False):
            return instances, [
                PixelData(heatmaps=one[:, : -(-height // 4), : -(-width // 4)])
                for one, (width, height) in zip(outputs[0]['heatmaps'], sizes)
            ]
        return instances

    def loss(
        self, feats: Sequence[Tensor], batch_data_samples: list, train_cfg: dict | None = None
    ) -> dict:
        """Assign people to queries, and compute the losses.

        Args:
            feats: As for `forward`.
            batch_data_samples: MMPose's, with the codec's targets and, in
                `gt_fields`, `heatmap_mask` (h, w), which is False where
                nothing is labelled; without it, everything counts.
            train_cfg: `flip`: whether the second half of the batch are the
                mirrored images.

        Returns:
            `loss_` and the name, for each of `losses`.
        """
        flip = (train_cfg or {}).get('flip', False)
        outputs = self.forward(
            feats, batch_data_samples[0].metainfo['flip_indices'] if flip else None
        )
        fields = [sample.gt_fields for sample in batch_data_samples]
        labels = [sample.gt_instance_labels for sample in batch_data_samples]
        heatmaps = torch.stack([one.heatmaps for one in fields])
        mask = heatmaps.new_ones(heatmaps[:, 0].shape)
        if 'heatmap_mask' in fields[0]:
            mask = torch.stack([one.heatmap_mask for one in fields])
            mask = mask.view_as(heatmaps[:, 0]).float()
        targets = {
            name: torch.stack([one[f'target_{name}'] for one in labels])
            for name in ('joints', 'areas', 'sizes')
        }
        return self.compute_losses(outputs, targets, heatmaps, mask)

    def compute_losses(
        self, outputs: Mapping, targets: Mapping, heatmaps: Tensor, mask: Tensor
    ) -> dict:
        """Compute the losses.

        Args:
            outputs: Of `forward`.
            targets: `joints` (N, M, K, 3), `areas` and `sizes` (N, M), in
                pixels of the map of stride 4; rows without a joint are no
                people.
            heatmaps: (N, K, H, W).
            mask: (N, H, W), 1 where it counts, else 0.

        Returns:
            As `loss`.
        """
        shapes = [one.shape[-2:] for one in outputs['confidences']]
        logits = torch.cat([one.flatten(2) for one in outputs['confidences']], 2)[:, 0]
        joints, refined = (
            torch.cat([one.flatten(1, 2) for one in outputs[name]], 1)
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
        image, query, person = self.assigner(
            dict(confidences=logits.detach()[..., None], joints=joints.detach()),
            shapes,
            targets,
            valid,
        )
        found = torch.zeros_like(logits)
        found[image, query] = 1
        goal = targets['joints'][image, person]
        area = targets['areas'][image, person]
        arguments = dict(
            confidence=(logits, found, valid),
            joint=(joints[image, query], goal, area),
            limb=(joints[image, query], goal, area),
            oks=(refined[image, query], goal, area),
            heatmap=(outputs['heatmaps'], heatmaps, mask),
        )
        return {
            f'loss_{name}': module(*arguments[name]) for name, module in self.loss_modules.items()
        }


def scale_factors(metainfo: Mapping) -> tuple[float, ...]:
    """The scales of a test, of `ResizeAlign` or MMPose's `BottomupResize`.

    Args:
        metainfo: Of a data sample.

    Returns:
        Factors, the first of which should be 1.
    """
    if metainfo.get('scale_factors') is not None:
        return tuple(metainfo['scale_factors'])
    return (1, *(metainfo.get('aug_scales') or ()))


def _pack(poses: Tensor, scores: Tensor) -> InstanceData:
    """Poses (n, K, 2) and joint scores (n, K) for MMPose."""
    boxes = torch.cat((poses.amin(1), poses.amax(1)), 1)
    return InstanceData(
        keypoints=poses.cpu().numpy(),
        keypoint_scores=scores.cpu().numpy(),
        bboxes=boxes.cpu().numpy(),
        bbox_scores=scores.mean(1).cpu().numpy(),
    )
