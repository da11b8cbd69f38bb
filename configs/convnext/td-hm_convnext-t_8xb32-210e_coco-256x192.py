_base_ = ['../_base_/recipes/td-hm_adam-210e_coco-256x192.py', '../_base_/models/td-hm_convnext.py']

optim_wrapper = dict(optimizer=dict(lr=5e-4))

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.4,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights
            + 'downstream/convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth'
        ),
    ),
    head=dict(in_channels=768, decoder=_base_.codec),
)
