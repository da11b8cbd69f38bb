# Top-down heatmaps on AP-10K at 256x256, 210 epochs with Adam.
_base_ = [
    '../schedules/adam_210e.py',
    '../datasets/td_ap10k.py',
    '../pipelines/topdown_heatmap_256x256.py',
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
