# HRCoMer with the frozen layers of the original: every second block in all stages of the base
# network. Configs add arch, the pretrained weights, and the in_channels and decoder of the head.

# The weights of ConvNeXt V2 are licensed under CC BY-NC 4.0 (no commercial use).
base_weights = 'https://dl.fbaipublicfiles.com/convnext/convnextv2/im22k/'
adapter_weights = 'https://download.openmmlab.com/mmpose/pretrain_models/'

model = dict(
    type='pose_backbones.HRCoMerEstimator',
    data_preprocessor=dict(
        type='pose_backbones.PyramidDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='pose_backbones.HRCoMer',
        drop_path_rate=(0.1, 0.3),
        dropout_after_downsampling=True,
        frozen_stages=3,
        freeze_every_second_block=True,
        with_cp=True,
    ),
    head=dict(type='pose_backbones.HRCoMerHead', num_keypoints=17),
    test_cfg=dict(flip_test=False),
)
