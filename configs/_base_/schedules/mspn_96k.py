# Schedule of MSPN on COCO, in iterations of 8 x 32 instances: a linear warm-up from a tenth of the
# learning rate over 2,400 iterations, then a linear decay to 0 at iteration 96,000. The learning
# rate is 5e-4 per GPU. The `end` of a scheduler is the first iteration that it does not change.
#
# Deviation: biases have no weight decay, as set in the configs of the original (WEIGHT_DECAY_BIAS =
# 0). The optimizer of the original does not read that setting and applies a weight decay of 1e-5 to
# biases, as to all parameters.
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

# For the train_dataloader of a config.
sampler = dict(type='InfiniteSampler', shuffle=True)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=interval))
log_processor = dict(by_epoch=False)
