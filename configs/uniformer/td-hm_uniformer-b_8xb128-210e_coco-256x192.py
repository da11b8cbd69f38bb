_base_ = [
    '../_base_/recipes/td-hm_adamw-210e_coco-256x192.py',
    '../_base_/models/td-hm_uniformer.py',
]

optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'uniformer_base_in1k.pth'),
    ),
    head=dict(decoder=_base_.codec),
)

train_dataloader = dict(batch_size=128)
