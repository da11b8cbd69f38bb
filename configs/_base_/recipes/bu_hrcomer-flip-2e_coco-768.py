# HRCoMer on COCO at 768, two epochs of fine-tuning for flip testing.
_base_ = [
    '../schedules/hrcomer_flip_2e.py',
    '../datasets/bu_coco.py',
    '../pipelines/bottomup_hrcomer_768.py',
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
