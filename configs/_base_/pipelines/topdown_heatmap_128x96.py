# Heat maps at a quarter of 128x96 pixels, with mild augmentation: for a CPU
# and for quick trials.
_base_ = './topdown_heatmap_256x192.py'

codec = dict(
    type='MSRAHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5)

train_pipeline = [
    *_base_.augmentation[:3],
    dict(
        type='RandomBBoxTransform',
        scale_factor=(0.8, 1.25),
        rotate_factor=40.,
        shift_factor=0.1),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    *_base_.val_pipeline[:2],
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]
