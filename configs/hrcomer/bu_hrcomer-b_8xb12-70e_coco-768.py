_base_ = ['../_base_/recipes/bu_hrcomer-70e_coco-768.py', '../_base_/models/bu_hrcomer.py']

model = dict(
    backbone=dict(
        arch='base',
        base_init_cfg=dict(
            type='Pretrained', checkpoint=_base_.base_weights + 'convnextv2_base_22k_384_ema.pt'
        ),
        adapter_init_cfg=dict(
            type='Pretrained', checkpoint=_base_.adapter_weights + 'hrnet_w32-36af842e.pth'
        ),
    ),
    head=dict(in_channels=(32, 64, 128, 256), decoder=_base_.codec),
)
