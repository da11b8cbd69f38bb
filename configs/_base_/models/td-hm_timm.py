# Any timm model; its channels are read. A leaf adds model_name, out_indices
# and the head's decoder.
_base_ = './td-hm.py'

model = dict(
    type='pose_backbones.TopdownPoseEstimator',
    backbone=dict(type='pose_backbones.TimmBackbone', pretrained=True),
)
