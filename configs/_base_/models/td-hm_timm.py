# Any timm model; its channels are read from the model. Configs add model_name, out_indices and the
# decoder of the head.
_base_ = './td-hm.py'

model = dict(
    type='pose_backbones.TopdownPoseEstimator',
    backbone=dict(type='pose_backbones.TimmBackbone', pretrained=True),
)
