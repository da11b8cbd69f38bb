# Demo on synthetic people (tools/make_synthetic_coco.py).
_base_ = './td-hm_moganet-xt_1xb8-demo_coco-128x96.py'

data_root = 'data/synthetic/'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='train/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='val/'),
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=f'{data_root}annotations/person_keypoints_val.json')
test_evaluator = val_evaluator
