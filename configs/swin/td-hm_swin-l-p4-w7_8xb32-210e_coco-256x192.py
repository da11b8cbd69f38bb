_base_ = ['../_base_/recipes/td-hm_adamw-210e_coco-256x192.py', '../_base_/models/td-hm_swin.py']

optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0, custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0))
    )
)

model = dict(
    backbone=dict(
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'swin_large_patch4_window7_224_22k.pth'),
    ),
    head=dict(in_channels=1536, decoder=_base_.codec),
)
