# MSPN on MPII at 256x256, 28,800 iterations as in the original.
_base_ = [
    '../schedules/mspn_28k.py',
    '../datasets/td_mpii.py',
    '../pipelines/topdown_mspn_mpii_256x256.py',
]

train_dataloader = dict(sampler=_base_.sampler, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(save_best='PCKh/Mean'))
