# MSPN heatmaps at a quarter of 256x192 pixels, with the augmentation of MMPose, which does not
# distinguish occluded and visible keypoints.
_base_ = './topdown_heatmap_256x192.py'

codec = dict(
    _delete_=True,
    type='pose_backbones.CoarseToFineHeatmap',
    input_size=(192, 256),
    heatmap_size=(48, 64),
    kernel_sizes=(15, 11, 9, 7, 5),
    blur_kernel_size=5,
)
_encoder = {key: codec[key] for key in codec if key != '_delete_'}

train_pipeline = [
    *_base_.augmentation,
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=_encoder),
    dict(type='pose_backbones.PackPoseInputs'),
]
del _encoder
