# MSPN heatmaps at a quarter of 256x192 pixels. The augmentation has the values and the order of the
# original on COCO: the bounding box is enlarged by 1.05, then by up to 1.6 along x and 1.8 along y;
# or the box of half of the keypoints is enlarged by the same factors; scaled by 0.8 times 0.75 to
# 1.25; rotated by up to 45 degrees; flipped.
#
# Deviations: MMPose clips annotated boxes to the image. The original truncates the COCO keypoint
# coordinates in the crop to integers, so that keypoints less than a pixel outside of the crop count
# as inside.
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
    dict(type='pose_backbones.RandomFlip', prob=0.5, direction='horizontal'),
]
train_pipeline = [
    *augmentation,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
crop = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='pose_backbones.ExtendBBox', x=1.09, y=1.135),
]
val_pipeline = [
    *crop,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='pose_backbones.PackPoseInputs'),
]
