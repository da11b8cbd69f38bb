_base_ = [
    '../_base_/schedules/mspn_28k.py',
    '../_base_/datasets/td_mpii.py',
    '../_base_/pipelines/topdown_mspn_mpii_256x256.py',
    '../_base_/models/td-hm_mspn.py',
]

model = dict(
    backbone=dict(stages=2),
    head=dict(stages=2, out_shape=(64, 64), out_channels=16, decoder=_base_.codec),
)

train_dataloader = dict(sampler=_base_.sampler, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(save_best='PCKh/Mean'))
