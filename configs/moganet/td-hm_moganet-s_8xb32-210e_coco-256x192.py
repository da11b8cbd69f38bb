_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/schedules/adam_210e.py',
    '../_base_/datasets/td_coco.py',
    '../_base_/pipelines/topdown_heatmap_256x192.py',
    '../_base_/models/td-hm_moganet.py',
]

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint=_base_.imagenet_weights + 'moganet_small_sz224_8xbs128_ep300.pth.tar'
        ),
    ),
    head=dict(in_channels=512, decoder=_base_.codec),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader
