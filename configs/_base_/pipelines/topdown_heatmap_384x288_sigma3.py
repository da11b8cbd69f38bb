# Heatmaps at a quarter of 384x288 pixels, with sigma in proportion to the size.
_base_ = './topdown_heatmap_256x192.py'

codec = dict(type='MSRAHeatmap', input_size=(288, 384), heatmap_size=(72, 96), sigma=3)

train_pipeline = [
    *_base_.augmentation,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    *_base_.val_pipeline[:2],
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='pose_backbones.PackPoseInputs'),
]
