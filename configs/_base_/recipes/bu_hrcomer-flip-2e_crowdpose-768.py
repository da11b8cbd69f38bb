# HRCoMer on CrowdPose at 768, two epochs of fine-tuning for flip testing.
_base_ = [
    '../schedules/hrcomer_flip_2e.py',
    '../datasets/bu_crowdpose.py',
    '../pipelines/bottomup_hrcomer_crowdpose_768.py',
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(save_best='crowdpose/AP'))
