_base_ = [
    '../_base_/recipes/td-hm_adamw-210e_coco-256x192.py',
    '../_base_/models/td-hm_convnext.py',
]

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

model = dict(
    backbone=dict(
        arch='v2-tiny',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=_base_.imagenet_weights_v2 + 'convnextv2_tiny_1k_224_ema.pt'),
    ),
    head=dict(in_channels=768, decoder=_base_.codec),
)
