# ConvNeXt with MMPose's heat-map head on its last stage. A leaf adds arch,
# drop_path_rate, the ImageNet weights, the head's in_channels and decoder.
imagenet_weights = ('https://download.openmmlab.com/mmclassification/v0/'
                    'convnext/')
# ConvNeXt V2's are under CC BY-NC 4.0: not for commercial use.
imagenet_weights_v2 = ('https://dl.fbaipublicfiles.com/convnext/convnextv2/'
                       'im1k/')

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='pose_backbones.ConvNeXt',
        out_indices=(3, ),
        init_cfg=dict(type='Pretrained')),
    head=dict(
        type='HeatmapHead',
        out_channels=17,
        loss=dict(type='KeypointMSELoss', use_target_weight=True)),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))
