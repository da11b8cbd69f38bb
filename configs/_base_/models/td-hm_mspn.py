# MSPN. Configs add the number of stages of the backbone and of the head, and the decoder of the
# head.
_base_ = './td-hm.py'

model = dict(
    type='pose_backbones.MSPNEstimator',
    # The original uses BGR channels.
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False
    ),
    backbone=dict(
        type='pose_backbones.MSPN',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(_delete_=True, type='pose_backbones.MSPNHead', out_channels=17),
    test_cfg=dict(shift_heatmap=False),
)
