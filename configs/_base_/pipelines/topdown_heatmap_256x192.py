# Heatmaps at a quarter of 256x192 pixels.
codec = dict(type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)

augmentation = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='pose_backbones.RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='pose_backbones.RandomBBoxTransform'),
]
train_pipeline = [
    *augmentation,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='pose_backbones.PackPoseInputs'),
]
