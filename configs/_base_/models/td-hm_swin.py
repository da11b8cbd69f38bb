# MMPose's Swin, with this package's way of loading weights. A leaf adds the size, the ImageNet
# weights, the head's in_channels and decoder.
_base_ = './td-hm.py'

imagenet_weights = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'

model = dict(
    backbone=dict(
        type='pose_backbones.SwinTransformer',
        window_size=7,
        out_indices=(3,),
        convert_weights=True,
        init_cfg=dict(type='Pretrained'),
    )
)
