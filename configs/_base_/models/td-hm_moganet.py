# MogaNet. Configs add arch, drop_path_rate, the ImageNet weights, and the in_channels and decoder
# of the head.
_base_ = './td-hm.py'

imagenet_weights = 'https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/'

model = dict(
    backbone=dict(type='pose_backbones.MogaNet', out_indices=(3,), init_cfg=dict(type='Pretrained'))
)
