_base_ = ['../_base_/recipes/td-hm_mspn-28k_mpii-256x256.py', '../_base_/models/td-hm_mspn.py']

model = dict(
    backbone=dict(stages=2),
    head=dict(stages=2, out_shape=(64, 64), out_channels=16, decoder=_base_.codec),
)
