# ConvNeXt. Configs add arch, drop_path_rate, the ImageNet weights, and the in_channels and decoder
# of the head.
_base_ = './td-hm.py'

imagenet_weights = 'https://download.openmmlab.com/mmclassification/v0/convnext/'
# The weights of ConvNeXt V2 are licensed under CC BY-NC 4.0 (no commercial use).
imagenet_weights_v2 = 'https://dl.fbaipublicfiles.com/convnext/convnextv2/im1k/'

model = dict(
    backbone=dict(
        type='pose_backbones.ConvNeXt', out_indices=(3,), init_cfg=dict(type='Pretrained')
    )
)
