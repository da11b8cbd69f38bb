_base_ = [
    '../_base_/recipes/td-hm_adamw-210e_coco-384x288-sigma3.py',
    '../_base_/models/td-hm_uniformer.py',
]

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.imagenet_weights + 'uniformer_base_in1k.pth'),
    ),
    head=dict(decoder=_base_.codec),
)
