# UniFormer. Configs add arch, drop_path_rate, the ImageNet weights, and the decoder of the head.
_base_ = './td-hm.py'

imagenet_weights = 'https://download.openmmlab.com/mmpose/v1/projects/uniformer/'

model = dict(
    backbone=dict(
        type='pose_backbones.UniFormer', out_indices=(3,), init_cfg=dict(type='Pretrained')
    ),
    head=dict(in_channels=512),
)
