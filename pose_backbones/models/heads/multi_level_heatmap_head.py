"""MMPose's heatmap head on the feature maps of several stages."""

from collections.abc import Sequence

from mmpose.models.heads import HeatmapHead
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..layers import MetaDeviceInit, can_fold, fuse, fuse_children, fuse_conv_norm, fuse_final_layer


@MODELS.register_module()
class MultiLevelHeatmapHead(MetaDeviceInit, HeatmapHead):
    """`HeatmapHead` on the concatenated feature maps of several stages.

    The maps are resized to the size of the first one, concatenated, and passed to 1x1 convolutions.
    Since a 1x1 convolution and bilinear resizing can be exchanged, each map is convolved before it
    is resized, which takes less time. Up to rounding, the outputs are those of the neck
    `FeatureMapProcessor(concat=True)` with a `HeatmapHead` without deconvolutions, and the state
    dict has the same names.

    Args:
        in_channels: Number of channels of each feature map; a single number for one map.
        out_channels: Number of keypoints, K.
        conv_out_channels: Output channels of the convolutions before the last one, at least one.
        loss: Config of the loss; None means that of `HeatmapHead`.
        decoder: Config of the codec.
        init_cfg: Initialization config of MMEngine; None means that of `HeatmapHead`.
    """

    #: With `TopdownPoseEstimator`, `in_channels` is the list of the channels of all maps.
    takes_all_maps = True

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int,
        conv_out_channels: Sequence[int] = (128,),
        loss: dict | None = None,
        decoder: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        channels = (in_channels,) if isinstance(in_channels, int) else tuple(in_channels)
        if not channels:
            raise ValueError('in_channels is empty: expected the channels of each feature map')
        if not conv_out_channels:
            raise ValueError(
                f'conv_out_channels is {conv_out_channels!r}: expected the channels of one or more '
                'convolutions'
            )
        super().__init__(
            sum(channels),
            out_channels,
            deconv_out_channels=None,
            conv_out_channels=conv_out_channels,
            conv_kernel_sizes=(1,) * len(conv_out_channels),
            loss=loss or dict(type='KeypointMSELoss', use_target_weight=True),
            decoder=decoder,
            init_cfg=init_cfg,
        )
        self.map_channels = channels

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Compute heatmaps.

        Args:
            feats: Feature maps (N, C_i, H_i, W_i); the first one has the size of the heatmaps.

        Returns:
            (N, K, H_0, W_0).

        Raises:
            ValueError: If the number of feature maps is not that of `in_channels`.
        """
        if len(feats) != len(self.map_channels):
            raise ValueError(
                f'the head got {len(feats)} feature maps, but in_channels is {self.map_channels}: '
                'expected the channels of each map'
            )
        conv, *layers = self.conv_layers
        weights = conv.weight.split(self.map_channels, dim=1)
        x = F.conv2d(feats[0], weights[0], conv.bias)
        for feature_map, weight in zip(feats[1:], weights[1:], strict=True):
            y = F.conv2d(feature_map, weight)
            x = x + F.interpolate(y, x.shape[2:], mode='bilinear', align_corners=False)
        for layer in layers:
            x = layer(x)
        return self.final_layer(x)

    def fused(self) -> 'MultiLevelHeatmapHead':
        """Return an equivalent head for inference, see `fuse`."""
        conv, norm, *others = self.conv_layers
        replaced = dict(final_layer=fuse_final_layer(self.final_layer))
        if can_fold(conv, norm):
            # `forward` splits the first convolution: no activation in it.
            layers = [fuse_conv_norm(conv, norm), *fuse(nn.Sequential(*others))]
            replaced['conv_layers'] = nn.Sequential(*layers)
        return fuse_children(self, replaced)
