# Schedule of MSPN on MPII: as on COCO, with 28,800 iterations.
_base_ = './mspn_96k.py'

max_iters = 28800
interval = 1600
train_cfg = dict(max_iters=max_iters, val_interval=interval)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters + 1)
default_hooks = dict(checkpoint=dict(interval=interval))
