_base_ = [
    '../_base_/schedules/mspn_96k.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_mspn_384x288.py',
    '../_base_/models/td-hm_mspn.py',
]

model = dict(backbone=dict(stages=4), head=dict(stages=4, out_shape=(96, 72), decoder=_base_.codec))

train_dataloader = dict(sampler=_base_.sampler, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(nms_mode='none')
test_evaluator = val_evaluator
