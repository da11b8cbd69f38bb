# Heat maps at a quarter of 128x96 pixels, unbiased (UDP, with DARK decoding),
# since a cell is large here. No augmentation but the flip: this is for runs
# of a few hundred steps, which see each person about twice. Boxes get little
# margin, so that a person has more of the few pixels.
# 3 * sigma is a whole number: with another sigma, the UDP targets of
# MMPose 1.3.2 lie a cell off near the left and the upper border.
codec = dict(
    type='UDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=4 / 3, blur_kernel_size=5
)

crop = [
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
]
train_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='RandomFlip', direction='horizontal'),
    *crop,
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [dict(type='pose_backbones.LoadImage'), *crop, dict(type='PackPoseInputs')]
