"""Replace MMPose's `AssociativeEmbeddingHead`, whose loss cannot be computed.

MMPose's registry of models imports this module when a name is looked up for the first time.
"""

from collections.abc import Sequence

import torch
from mmpose.models import heads
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor


@MODELS.register_module(force=True)
class AssociativeEmbeddingHead(heads.AssociativeEmbeddingHead):
    """MMPose's `AssociativeEmbeddingHead` with a loss for images of any number of people.

    MMPose weights heatmaps of all people of an image, (images, K, H, W), with the weights of each
    person, (people, K), which raises an error. As in MMPose 0.x and the paper, only the mask of
    unlabelled people weights the heatmaps here: a keypoint that is not labelled has no peak in the
    targets.

    Args:
        args, kwargs: As in MMPose.
    """

    def loss(
        self,
        feats: tuple[Tensor, ...],
        batch_data_samples: Sequence[PoseDataSample],
        train_cfg: dict | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of heatmaps and tags.

        Args:
            feats: Feature maps of the backbone.
            batch_data_samples: Samples with `gt_fields.heatmaps` (K, H, W),
                `gt_fields.heatmap_mask` (1, H, W) and `gt_instance_labels.keypoint_indices`
                (people, K, 2), for each keypoint the index in the flattened heatmap and whether it
                is labelled.
            train_cfg: Unused, as in MMPose.

        Returns:
            `loss_kpt`, `loss_pull` and `loss_push`, scalars.
        """
        heatmaps, tags = self.forward(feats)
        if not self.tag_per_keypoint:
            tags = tags.repeat((1, self.num_keypoints, 1, 1))
        fields = [sample.gt_fields for sample in batch_data_samples]
        indices = [sample.gt_instance_labels.keypoint_indices for sample in batch_data_samples]
        loss_kpt = self.loss_module.keypoint_loss(
            heatmaps,
            torch.stack([field.heatmaps for field in fields]),
            mask=torch.stack([field.heatmap_mask for field in fields]),
        )
        loss_pull, loss_push = self.loss_module.tag_loss(tags, indices)
        return dict(loss_kpt=loss_kpt, loss_pull=loss_pull, loss_push=loss_push)
