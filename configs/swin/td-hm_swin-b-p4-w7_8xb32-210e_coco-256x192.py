_base_ = ['../_base_/recipes/td-hm_adam-210e_coco-256x192.py', '../_base_/models/td-hm_swin.py']

optim_wrapper = dict(optimizer=dict(lr=5e-4))

model = dict(
    backbone=dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'swin_base_patch4_window7_224_22k.pth'),
    ),
    head=dict(in_channels=1024, decoder=_base_.codec),
)
