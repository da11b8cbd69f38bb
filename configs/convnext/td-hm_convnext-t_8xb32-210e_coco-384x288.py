_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw_210e.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_heatmap_384x288.py',
    '../_base_/models/td-hm_convnext.py',
]

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

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

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
