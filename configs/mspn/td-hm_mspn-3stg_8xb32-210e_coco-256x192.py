_base_ = './td-hm_mspn-1stg_8xb32-210e_coco-256x192.py'

model = dict(backbone=dict(stages=3), head=dict(stages=3))
