_base_ = [
    '../_base_/recipes/td-hm_adamw-210e_coco-448x320.py',
    '../_base_/models/td-hm_uniformer.py',
]

optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=512)

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'uniformer_small_in1k.pth'),
    ),
    head=dict(decoder=_base_.codec),
)

train_dataloader = dict(batch_size=64)
