# Top-down heatmaps on COCO at 256x192, 210 epochs with Adam.
_base_ = [
    '../schedules/adam_210e.py',
    '../datasets/td_coco.py',
    '../pipelines/topdown_heatmap_256x192.py',
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
