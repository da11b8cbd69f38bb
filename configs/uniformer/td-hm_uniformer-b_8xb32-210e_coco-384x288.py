_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw_210e.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_heatmap_384x288_sigma3.py',
    '../_base_/models/td-hm_uniformer.py',
]

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'uniformer_base_in1k.pth'),
    ),
    head=dict(decoder=_base_.codec),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
