_base_ = ['../_base_/recipes/td-hm_adam-210e_coco-256x192.py', '../_base_/models/td-hm_swin.py']

optim_wrapper = dict(optimizer=dict(lr=5e-4))

model = dict(
    backbone=dict(
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'swin_tiny_patch4_window7_224.pth'),
    ),
    head=dict(in_channels=768, decoder=_base_.codec),
)
