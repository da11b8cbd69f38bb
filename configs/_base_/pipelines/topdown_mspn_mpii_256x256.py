# MSPN heatmaps at a quarter of 256x256 pixels. The augmentation has the values and the order of the
# original on MPII: the bounding box is enlarged by 1.25, or the box of half of the keypoints by up
# to 1.6 along each axis; scaled by 0.75 to 1.25; rotated by up to 60 degrees; flipped.
codec = dict(
    type='pose_backbones.CoarseToFineHeatmap',
    input_size=(256, 256),
    heatmap_size=(64, 64),
    kernel_sizes=(15, 11, 9, 7, 5),
    blur_kernel_size=9,
)

train_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(
        type='pose_backbones.HalfBody',
        upper=tuple(range(7, 16)),
        x=(1.0, 1.6),
        y=(1.0, 1.6),
        prob=0.5,
        min_points=9,
    ),
    dict(type='pose_backbones.RandomScaleRotation', scale=(0.75, 1.25), degrees=60, prob=0.5),
    dict(type='pose_backbones.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='pose_backbones.PackPoseInputs'),
]
