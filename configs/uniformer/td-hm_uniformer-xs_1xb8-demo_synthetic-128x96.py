# Demo on synthetic people with a UniFormer of half the width of S, trained from scratch.
_base_ = '../moganet/td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='pose_backbones.UniFormer',
        arch=dict(embed_dims=(32, 64, 160, 256), depths=(3, 4, 8, 3), conv_stem=False),
        head_dim=32,
        out_indices=(0, 1, 2, 3),
    ),
    head=dict(in_channels=(32, 64, 160, 256)),
)
