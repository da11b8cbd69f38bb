_base_ = [
    '../_base_/schedules/hrcomer_70e.py',
    '../_base_/datasets/bu_coco.py',
    '../_base_/pipelines/bottomup_hrcomer_768.py',
    '../_base_/models/bu_hrcomer.py',
]

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

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
