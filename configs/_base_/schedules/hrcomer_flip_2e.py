# Schedule for fine-tuning HRCoMer for flip testing: AdamW with a learning rate of 1e-4 for 16
# images on each of 8 GPUs, two epochs with a step after the first, in full precision. Only the
# parts of the head that the config enables are trained.
_base_ = '../default_runtime.py'

train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=2, milestones=[1], gamma=0.1, by_epoch=True)
]
auto_scale_lr = dict(base_batch_size=8 * 16)
sync_bn = 'torch'
default_hooks = dict(checkpoint=dict(interval=1))
