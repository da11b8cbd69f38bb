# HRCoMer targets at a quarter of 384x384 pixels, with the keypoints and areas of CrowdPose and
# little augmentation, for short runs. Otherwise as bottomup_hrcomer_768.
_base_ = './bottomup_hrcomer_768.py'

codec = dict(
    type='pose_backbones.MultiScaleJoints',
    input_size=(384, 384),
    heatmap_size=(96, 96),
    sigmas='configs/_base_/datasets/crowdpose.py',
    area_factor=0.53,
)

train_pipeline = [
    *_base_.load_people,
    dict(
        type='pose_backbones.RandomAffine',
        input_size=codec['input_size'],
        heatmap_size=codec['heatmap_size'],
        scale_factor=(0.75, 1.15),
        rotate_factor=10.0,
        shift_factor=0.1,
    ),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackBottomupInputs'),
]
resize = dict(
    type='pose_backbones.ResizeAlign',
    short_side=codec['input_size'][0],
    size_divisor=64,
    max_pixels=16 * 384 * 384,
)
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    resize,
    dict(type='pose_backbones.PackBottomupInputs'),
]
ms_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(scale_factors=(1, 0.75, 1.25), **resize),
    dict(type='pose_backbones.PackBottomupInputs'),
]
