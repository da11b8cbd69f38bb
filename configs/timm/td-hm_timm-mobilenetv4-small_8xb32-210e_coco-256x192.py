# A small mobile net; its last map has stride 32.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw_210e.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_heatmap_256x192.py',
    '../_base_/models/td-hm_timm.py',
]

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

model = dict(
    backbone=dict(model_name='mobilenetv4_conv_small.e2400_r224_in1k', out_indices=(4,)),
    head=dict(decoder=_base_.codec),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
