_base_ = ['../_base_/recipes/td-hm_mspn-96k_coco-384x288.py', '../_base_/models/td-hm_mspn.py']

model = dict(backbone=dict(stages=4), head=dict(stages=4, out_shape=(96, 72), decoder=_base_.codec))
