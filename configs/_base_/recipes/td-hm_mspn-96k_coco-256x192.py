# MSPN on COCO at 256x192, 96,000 iterations as in the original.
_base_ = [
    '../schedules/mspn_96k.py',
    '../datasets/td_coco.py',
    '../pipelines/topdown_mspn_256x192.py',
]

train_dataloader = dict(sampler=_base_.sampler, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(nms_mode='none')
test_evaluator = val_evaluator
