# Training as in MMPose, matching its released weights: RGB images and the augmentation of MMPose.
_base_ = ['../_base_/recipes/td-hm_mspn-210e_coco-256x192.py', '../_base_/models/td-hm_mspn.py']

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(stages=1),
    head=dict(stages=1, out_shape=(64, 48), decoder=_base_.codec),
)
