_base_ = ['../_base_/recipes/td-hm_adam-210e_ap10k-256x256.py', '../_base_/models/td-hm_moganet.py']

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights + 'moganet_small_sz224_8xbs128_ep300.pth.tar'
        ),
    ),
    head=dict(in_channels=512, decoder=_base_.codec),
)
