# MSPN heatmaps at a quarter of 384x288 pixels, with the same augmentation.
_base_ = './topdown_mspn_256x192.py'

codec = dict(
    type='pose_backbones.CoarseToFineHeatmap',
    input_size=(288, 384),
    heatmap_size=(72, 96),
    kernel_sizes=(15, 11, 9, 7, 5),
    blur_kernel_size=5,
)

train_pipeline = [
    *_base_.augmentation,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    *_base_.crop,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='pose_backbones.PackPoseInputs'),
]
