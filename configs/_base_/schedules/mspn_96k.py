# MSPN on COCO, in iterations of 8 x 32 people: 2,400 of warm-up from a tenth,
# then linearly to 0 at 96,000. The learning rate is 5e-4 for each GPU. The
# schedulers' `end` is the first step that they leave alone.
#
# Deviation: no weight decay on biases, as the original's configs have it
# (WEIGHT_DECAY_BIAS = 0); its optimizer never reads that, and decays biases by
# 1e-5 like every parameter.
_base_ = '../default_runtime.py'

max_iters = 96000
warmup = 2400
interval = 2400
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=interval)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=8 * 5e-4, weight_decay=1e-5),
    paramwise_cfg=dict(custom_keys={'.bias': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=warmup + 1, start_factor=0.1, by_epoch=False),
    dict(
        type='LinearLR',
        begin=warmup,
        end=max_iters + 1,
        start_factor=1.0,
        end_factor=0.0,
        by_epoch=False,
    ),
]
auto_scale_lr = dict(base_batch_size=256)

# For a leaf's train_dataloader.
sampler = dict(type='InfiniteSampler', shuffle=True)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=interval))
log_processor = dict(by_epoch=False)
