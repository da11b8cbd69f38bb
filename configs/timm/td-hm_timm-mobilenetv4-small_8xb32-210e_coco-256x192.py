# A small mobile network; its last feature map has stride 32.
_base_ = ['../_base_/recipes/td-hm_adamw-210e_coco-256x192.py', '../_base_/models/td-hm_timm.py']

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

model = dict(
    backbone=dict(model_name='mobilenetv4_conv_small.e2400_r224_in1k', out_indices=(4,)),
    head=dict(decoder=_base_.codec),
)
