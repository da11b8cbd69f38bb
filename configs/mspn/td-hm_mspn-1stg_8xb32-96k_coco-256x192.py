_base_ = ['../_base_/recipes/td-hm_mspn-96k_coco-256x192.py', '../_base_/models/td-hm_mspn.py']

model = dict(backbone=dict(stages=1), head=dict(stages=1, out_shape=(64, 48), decoder=_base_.codec))
