# Demo on synthetic people with ConvNeXt V2 atto, trained from scratch.
_base_ = '../moganet/td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py'

model = dict(
    backbone=dict(
        _delete_=True, type='pose_backbones.ConvNeXt', arch='v2-atto', out_indices=(0, 1, 2, 3)
    ),
    head=dict(in_channels=(40, 80, 160, 320)),
)
