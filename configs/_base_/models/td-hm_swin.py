# MMPose's Swin, with the weight loading of this package. Configs add the model size, the ImageNet
# weights, and the in_channels and decoder of the head.
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
