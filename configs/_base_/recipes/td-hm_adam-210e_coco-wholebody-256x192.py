# Top-down heatmaps on COCO-WholeBody at 256x192, 210 epochs with Adam.
_base_ = [
    '../schedules/adam_210e.py',
    '../datasets/td_coco_wholebody.py',
    '../pipelines/topdown_heatmap_256x192.py',
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(save_best='coco-wholebody/AP'))
