# Heatmaps at a quarter of 128x96 pixels, unbiased (UDP with DARK decoding), since one heatmap pixel
# covers a large part of the crop. The only augmentation is flipping: the pipeline is for runs of a
# few hundred steps, which see each instance about twice. Boxes have a small margin, so that the
# person covers more of the few pixels. 3 * sigma is an integer: with other values of sigma, the UDP
# targets of MMPose 1.3.2 are shifted by one heatmap pixel near the left and top borders.
codec = dict(
    type='UDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=4 / 3, blur_kernel_size=5
)

crop = [
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
]
train_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='pose_backbones.RandomFlip', direction='horizontal'),
    *crop,
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    *crop,
    dict(type='pose_backbones.PackPoseInputs'),
]
