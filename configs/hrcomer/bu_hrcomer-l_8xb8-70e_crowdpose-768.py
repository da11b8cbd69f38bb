_base_ = [
    '../_base_/schedules/hrcomer_70e.py',
    '../_base_/datasets/bu_crowdpose.py',
    '../_base_/pipelines/bottomup_hrcomer_crowdpose_768.py',
    '../_base_/models/bu_hrcomer.py',
]

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
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(save_best='crowdpose/AP'))
