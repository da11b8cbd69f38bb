# As MMPose trains it and its released weights take it: RGB, its augmentation.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/schedules/mspn_210e.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_mspn_210e_256x192.py',
    '../_base_/models/td-hm_mspn.py',
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(stages=1),
    head=dict(stages=1, out_shape=(64, 48), decoder=_base_.codec),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(nms_mode='none')
test_evaluator = val_evaluator
