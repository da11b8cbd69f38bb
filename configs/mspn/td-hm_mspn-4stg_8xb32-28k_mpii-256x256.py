_base_ = './td-hm_mspn-2stg_8xb32-28k_mpii-256x256.py'

model = dict(backbone=dict(stages=4), head=dict(stages=4))
