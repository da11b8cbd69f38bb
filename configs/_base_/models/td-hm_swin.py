# MMPose's own Swin with its heat-map head on the last stage. A leaf adds the
# size, the ImageNet weights, the head's in_channels and decoder.
imagenet_weights = ('https://github.com/SwinTransformer/storage/releases/'
                    'download/v1.0.0/')

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='SwinTransformer',
        window_size=7,
        out_indices=(3, ),
        convert_weights=True,
        init_cfg=dict(type='Pretrained')),
    head=dict(
        type='HeatmapHead',
        out_channels=17,
        loss=dict(type='KeypointMSELoss', use_target_weight=True)),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))
