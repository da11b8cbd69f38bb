_base_ = [
    '../_base_/recipes/td-hm_adamw-210e_coco-384x288.py',
    '../_base_/models/td-hm_convnext.py',
]

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.7,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights
            + 'convnext-base_3rdparty_32xb128_in1k_20220124-d0915162.pth'
        ),
    ),
    head=dict(in_channels=1024, decoder=_base_.codec),
)
