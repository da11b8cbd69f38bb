# Schedule of HRCoMer-B: AdamW with a learning rate of 1e-3 for 12 images on each of 8 GPUs, a tenth
# of it for the backbone, 70 epochs with steps at 40 and 60, in mixed precision, which needs a GPU.
# For HRCoMer-L, use lr=5e-4 and 8 images per GPU.
_base_ = '../default_runtime.py'

train_cfg = dict(by_epoch=True, max_epochs=70, val_interval=5)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'backbone.base_net': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=70, milestones=[40, 60], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=8 * 12)
# As in the original. A single process keeps plain batch norm.
sync_bn = 'torch'
default_hooks = dict(checkpoint=dict(interval=5))
