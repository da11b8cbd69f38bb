# A small HRCoMer on synthetic crowds (tools/make_synthetic_coco.py), trained from scratch within an
# hour on two CPU cores.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/bu_crowdpose.py',
    '../_base_/pipelines/bottomup_hrcomer_384.py',
    '../_base_/models/bu_hrcomer.py',
]

model = dict(
    backbone=dict(
        arch='atto',
        conv_init='kaiming',
        drop_path_rate=0.0,
        dropout_after_downsampling=False,
        frozen_stages=-1,
        freeze_every_second_block=False,
        with_cp=False,
    ),
    head=dict(
        num_keypoints=14,
        in_channels=(16, 32, 64, 128),
        confidence_channels=16,
        heatmap_channels=16,
        joint_channels=8,
        refine_channels=6,
        conv_init='kaiming',
        decoder=_base_.codec,
        limbs=_base_.codec.sigmas,
    ),
)

max_iters = 3000
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()
# The outputs are initialized with small values and must become large in a short run.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys=dict(
            reg_layer=dict(lr_mult=10.0),
            cls_layer=dict(lr_mult=5.0),
            heatmap_layer=dict(lr_mult=5.0),
        )
    ),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=300, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=300, end=max_iters, eta_min_ratio=0.01, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=2)

data_root = 'data/synthetic-crowdpose/'
# No data workers, since they would compete with the two threads of the model.
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(data_root=data_root, pipeline=_base_.train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=_base_.val_pipeline),
)
test_dataloader = val_dataloader

# After such a short run, the predictions still contain duplicates.
val_evaluator = dict(
    ann_file=f'{data_root}annotations/mmpose_crowdpose_test.json', nms_mode='oks_nms', nms_thr=0.7
)
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=2, save_best='crowdpose/AP'),
    logger=dict(interval=40),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
