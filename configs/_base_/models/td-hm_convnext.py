# ConvNeXt. A leaf adds arch, drop_path_rate, the ImageNet weights, the head's
# in_channels and decoder.
_base_ = './td-hm.py'

imagenet_weights = 'https://download.openmmlab.com/mmclassification/v0/convnext/'
# ConvNeXt V2's are under CC BY-NC 4.0: not for commercial use.
imagenet_weights_v2 = 'https://dl.fbaipublicfiles.com/convnext/convnextv2/im1k/'

model = dict(
    backbone=dict(
        type='pose_backbones.ConvNeXt', out_indices=(3,), init_cfg=dict(type='Pretrained')
    )
)
