# The same two small stages on synthetic people in the layout of MPII (tools/make_synthetic_coco.py
# data/synthetic-mpii --format mpii): PCKh 85.2 on 180 images, trained on 1,500 images.
_base_ = './td-hm_mspn-2stg_1xb8-demo_synthetic-128x96.py'

codec = dict(input_size=(128, 128), heatmap_size=(32, 32))
_codec = dict(_base_.codec, **codec)

model = dict(head=dict(out_shape=(32, 32), out_channels=16, decoder=codec))

crop = [
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='TopdownAffine', input_size=codec['input_size']),
]
train_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='pose_backbones.RandomFlip', direction='horizontal'),
    *crop,
    dict(type='GenerateTarget', encoder=_codec),
    dict(type='pose_backbones.PackPoseInputs'),
]
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    *crop,
    dict(type='pose_backbones.PackPoseInputs'),
]
del _codec

data_root = 'data/synthetic-mpii/'
_people = dict(
    _delete_=True,
    type='pose_backbones.MpiiDataset',
    data_root=data_root,
    data_prefix=dict(img='images/'),
)

train_dataloader = dict(
    dataset=dict(_people, ann_file='annotations/mpii_train.json', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(
        _people,
        ann_file='annotations/mpii_val.json',
        headbox_file=f'{data_root}annotations/mpii_gt_val.mat',
        test_mode=True,
        pipeline=val_pipeline,
    )
)
del _people
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='pose_backbones.MpiiPCKh')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='PCKh/Mean'))
