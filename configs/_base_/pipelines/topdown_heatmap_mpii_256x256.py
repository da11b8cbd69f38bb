# As topdown_heatmap_256x256, with the augmentation for MPII: no half bodies and no shift.
_base_ = './topdown_heatmap_256x256.py'

train_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='pose_backbones.RandomFlip', direction='horizontal'),
    dict(type='pose_backbones.RandomBBoxTransform', shift_prob=0),
    *_base_.train_pipeline[-3:],
]
