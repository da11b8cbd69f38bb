# MSPN's heat maps at a quarter of 256x192 pixels, with the augmentation of
# the original on COCO, number by number and in its order: a box 1.05 times as
# large, and up to 1.6 times along x and 1.8 along y; or the box of half the
# key points, enlarged as much; .8 times .75 to 1.25; rotated by up to 45
# degrees; flipped.
#
# Deviations: MMPose cuts annotated boxes at the border of the image. The
# original cuts off the fraction of COCO's key points in the crop, so that
# those less than a pixel beyond the border count as inside.
codec = dict(
    type='pose_backbones.CoarseToFineHeatmap',
    input_size=(192, 256),
    heatmap_size=(48, 64),
    kernel_sizes=(15, 11, 9, 7, 5),
    blur_kernel_size=5,
)

augmentation = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.05),
    dict(type='pose_backbones.ExtendBBox', x=(1.0, 1.6), y=(1.0, 1.8)),
    dict(
        type='pose_backbones.HalfBody',
        upper=tuple(range(13)),
        x=(1.0, 1.6),
        y=(1.0, 1.8),
        prob=0.3,
        min_points=4,
    ),
    dict(
        type='pose_backbones.RandomScaleRotation',
        scale=(0.8 * 0.75, 0.8 * 1.25),
        degrees=45,
        prob=0.5,
    ),
    dict(type='pose_backbones.MarkHidden'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
]
train_pipeline = [
    *augmentation,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
crop = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='pose_backbones.ExtendBBox', x=1.09, y=1.135),
]
val_pipeline = [
    *crop,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]
