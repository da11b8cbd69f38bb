_base_ = ['../_base_/recipes/td-hm_adam-210e_coco-256x192.py', '../_base_/models/td-hm_moganet.py']

model = dict(
    backbone=dict(
        arch='x-tiny',
        drop_path_rate=0.1,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights + 'moganet_xtiny_sz224_8xbs128_ep300.pth.tar'
        ),
    ),
    head=dict(in_channels=192, decoder=_base_.codec),
)
