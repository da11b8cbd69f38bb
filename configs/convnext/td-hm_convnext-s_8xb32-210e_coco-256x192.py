_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/schedules/adam_210e.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_heatmap_256x192.py',
    '../_base_/models/td-hm_convnext.py',
]

optim_wrapper = dict(optimizer=dict(lr=5e-4))

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights
            + 'convnext-small_3rdparty_32xb128_in1k_20220124-d39b5192.pth'
        ),
    ),
    head=dict(in_channels=768, decoder=_base_.codec),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
