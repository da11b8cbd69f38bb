# Demo on a dataset with the layout of COCO; takes minutes on two CPU cores.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_heatmap_128x96.py',
    '../_base_/models/td-hm_moganet.py',
]

# For training from scratch in a few hundred steps: the head uses the feature maps of all stages, at
# stride 4, with no deconvolutions; the backbone has no drop path.
model = dict(
    backbone=dict(
        arch='x-tiny', layer_scale_init_value=0.1, out_indices=(0, 1, 2, 3), init_cfg=None
    ),
    head=dict(
        type='pose_backbones.MultiLevelHeatmapHead',
        in_channels=(32, 64, 96, 192),
        decoder=_base_.codec,
    ),
    test_cfg=dict(shift_heatmap=False),
)

max_iters = 820
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.01), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=75, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=75, end=max_iters, eta_min_ratio=0.01, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=8)

# Bounding boxes are those of the annotations. No data workers, since they would compete with the
# two threads of the model.
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=_base_.train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=_base_.val_pipeline, bbox_file=None),
)
test_dataloader = val_dataloader

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=100, max_keep_ckpts=2), logger=dict(interval=20)
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
