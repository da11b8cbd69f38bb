# Top-down heatmaps on MPII at 256x256, 210 epochs with Adam.
_base_ = [
    '../schedules/adam_210e.py',
    '../datasets/td_mpii.py',
    '../pipelines/topdown_heatmap_mpii_256x256.py',
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(save_best='PCKh/Mean'))
