_base_ = ['../_base_/recipes/td-hm_adam-210e_coco-256x192.py', '../_base_/models/td-hm_convnext.py']

optim_wrapper = dict(optimizer=dict(lr=5e-4))

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights
            + 'convnext-base_3rdparty_32xb128_in1k_20220124-d0915162.pth'
        ),
    ),
    head=dict(in_channels=1024, decoder=_base_.codec),
)
