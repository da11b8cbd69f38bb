"""Bottom-up pose estimator of HRCoMer, with flip test and several test scales."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from mmpose.models.pose_estimators import BottomupPoseEstimator
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ...checkpoints.conversion_hook import register_state_dict_conversion
from ...checkpoints.names.hrcomer import convert_estimator
from ...registry import MODELS
from ...utils.arguments import check_flag
from ..heads.hrcomer_head import scale_factors

_STRIDES = (4, 8, 16, 32)
_TEST_CFG = {'flip_test', 'output_heatmaps'}


@MODELS.register_module()
class HRCoMerEstimator(BottomupPoseEstimator):
    """MMPose's bottom-up estimator for `HRCoMer` and `HRCoMerHead`.

    With the flip test, images and mirrored images are processed in one batch. Images of several
    scales are passed as a list, as returned by `ResizeAlign` and `PyramidDataPreprocessor`. Heights
    and widths do not have to be multiples of 32. Checkpoints of the original code are converted
    when they are loaded.

    Source: https://github.com/CR320/ConvNeXtPose

    Args:
        backbone: Config of an `HRCoMer`.
        neck: As in MMPose; none by default.
        head: Config of an `HRCoMerHead`.
        train_cfg: As in MMPose.
        test_cfg: `flip_test` and `output_heatmaps`, both False by default.
        use_syncbn: As in MMPose.
        finetune_flip: Whether to fine-tune for the flip test: only the branches of heatmaps and
            short offsets are trained, with fixed batch norms, on outputs that are averaged with
            those of the mirrored images. Everything else is frozen.
        data_preprocessor: As in MMPose.
        init_cfg: As in MMPose.

    Raises:
        ValueError: If backbone and head have different channels, or `test_cfg` has an unknown key.
    """

    #: arguments that freeze nothing
    without_freezing: ClassVar = {'finetune_flip': False}

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        use_syncbn: bool = False,
        finetune_flip: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            use_syncbn=use_syncbn,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        check_flag('finetune_flip', finetune_flip)
        unknown = set(self.test_cfg) - _TEST_CFG
        if unknown:
            raise ValueError(
                f'test_cfg has {", ".join(sorted(unknown))}: expected '
                f'{", ".join(sorted(_TEST_CFG))}; the test pipeline sets the scales'
            )
        channels = getattr(self.backbone, 'embed_dims', None)
        in_channels = getattr(self.head, 'in_channels', None) if head else None
        if neck is None and None not in (channels, in_channels) and channels != in_channels:
            raise ValueError(
                f'head.in_channels is {in_channels}: expected {channels}, the channels of the '
                'backbone'
            )
        self.finetune_flip = finetune_flip
        if finetune_flip:
            self._freeze()
        register_state_dict_conversion(self, convert_estimator, whole=True)

    def _freeze(self) -> None:
        """Freeze everything except the branches of heatmaps and short offsets, without norms."""
        trainable = {id(value) for branch in self._trained() for value in branch.parameters()}
        for value in self.parameters():
            if id(value) not in trainable:
                value.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)

    def _trained(self) -> tuple[torch.nn.Module, ...]:
        """Return the branches that `finetune_flip` trains."""
        return self.head.heatmaps_head, self.head.refine_head

    def train(self, mode: bool = True) -> 'HRCoMerEstimator':
        """Set the training mode; frozen modules stay in evaluation mode.

        Args:
            mode: Training (True) or evaluation (False).

        Returns:
            The estimator.
        """
        super().train(mode and not self.finetune_flip)
        self.training = mode
        return self

    def _maps(self, images: Tensor, flip: bool) -> tuple[Tensor, ...]:
        """Return feature maps of images (N, 3, H, W), followed by those of the mirrored images.

        The images are padded on the right and at the bottom to multiples of the largest stride.
        """
        if flip:
            images = torch.cat((images, images.flip(-1)))
        height, width = images.shape[-2:]
        last = _STRIDES[-1]
        padding = -height % last, -width % last
        if not any(padding):
            return self.extract_feat(images)
        maps = self.extract_feat(F.pad(images, (0, padding[1], 0, padding[0])))
        return tuple(
            x[..., : -(-height // stride), : -(-width // stride)]
            for x, stride in zip(maps, _STRIDES)
        )

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """Compute the losses.

        Args:
            inputs: (N, 3, H, W).
            data_samples: Data samples of MMPose, see `HRCoMerHead.loss`.

        Returns:
            A dict of scalars, see `HRCoMerHead.loss`.
        """
        if not self.finetune_flip:
            return super().loss(inputs, data_samples)
        with torch.no_grad():
            maps = self._maps(inputs, flip=True)
        return self.head.loss(maps, data_samples, train_cfg={**self.train_cfg, 'flip': True})

    def predict(self, inputs: Tensor | Sequence[Tensor], data_samples: list) -> list:
        """Predict the people in a batch of images.

        Args:
            inputs: (N, 3, H, W); for several scales, a list of these.
            data_samples: Data samples of MMPose, one for each image.

        Returns:
            The data samples, with `pred_instances` in pixels of the image.

        Raises:
            ValueError: If the numbers of scales and scale factors differ.
        """
        images = [inputs] if torch.is_tensor(inputs) else list(inputs)
        factors = scale_factors(data_samples[0].metainfo)
        if len(images) != len(factors):
            raise ValueError(
                f'there are images of {len(images)} scales: expected '
                f'{len(factors)}, since scale_factors is {factors}'
            )
        results = self.head.predict(self._scales(images), data_samples, test_cfg=self.test_cfg)
        instances, fields = results if isinstance(results, tuple) else (results, None)
        return self.add_pred_to_datasample(instances, fields, data_samples)

    def _scales(self, images: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Yield the feature maps of each scale."""
        for batch in images:
            yield self._maps(batch, self.test_cfg.get('flip_test', False))
