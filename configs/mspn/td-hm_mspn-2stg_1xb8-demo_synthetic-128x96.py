# Demo on synthetic people with two small stages, trained from scratch: AP .574 on 180 images,
# trained on 1,500 images in about eight minutes on one CPU core.
_base_ = '../moganet/td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py'

codec = dict(
    _delete_=True,
    type='pose_backbones.CoarseToFineHeatmap',
    input_size=(96, 128),
    heatmap_size=(24, 32),
    kernel_sizes=(11, 9, 7, 5, 3),
    blur_kernel_size=3,
)
_codec = {key: codec[key] for key in codec if key != '_delete_'}

model = dict(
    type='pose_backbones.MSPNEstimator',
    backbone=dict(
        _delete_=True,
        type='pose_backbones.MSPN',
        stages=2,
        num_blocks=(1, 1, 1, 1),
        base_channels=32,
        unit_channels=64,
    ),
    head=dict(
        _delete_=True,
        type='pose_backbones.MSPNHead',
        stages=2,
        out_shape=(32, 24),
        unit_channels=64,
        decoder=_codec,
    ),
)
# Target values are up to 255, and gradients are large accordingly.
optim_wrapper = dict(clip_grad=None)

crop = [
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='TopdownAffine', input_size=_codec['input_size']),
]
train_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='pose_backbones.MarkHidden'),
    dict(type='pose_backbones.RandomFlip', direction='horizontal'),
    *crop,
    dict(type='GenerateTarget', encoder=_codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    *crop,
    dict(type='pose_backbones.PackPoseInputs'),
]
del _codec
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
