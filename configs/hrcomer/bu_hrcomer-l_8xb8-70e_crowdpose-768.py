_base_ = ['../_base_/recipes/bu_hrcomer-70e_crowdpose-768.py', '../_base_/models/bu_hrcomer.py']

model = dict(
    backbone=dict(
        arch='large',
        base_init_cfg=dict(
            type='Pretrained', checkpoint=_base_.base_weights + 'convnextv2_large_22k_384_ema.pt'
        ),
        adapter_init_cfg=dict(
            type='Pretrained', checkpoint=_base_.adapter_weights + 'hrnet_w48-8ef0771d.pth'
        ),
    ),
    head=dict(
        num_keypoints=14,
        in_channels=(48, 96, 192, 384),
        decoder=_base_.codec,
        limbs=_base_.codec.sigmas,
    ),
)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
auto_scale_lr = dict(base_batch_size=8 * 8)
train_dataloader = dict(batch_size=8)
