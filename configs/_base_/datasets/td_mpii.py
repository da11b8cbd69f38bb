# MPII (16 keypoints), top-down, in the JSON files of HRNet. The crops are at the annotated
# positions of the people. PCKh uses the head boxes of the .mat file or, with headbox_file=None,
# those of the JSON file (docs/mpii.md).
_base_ = './td_coco.py'

dataset_type = 'pose_backbones.MpiiDataset'
data_root = 'data/mpii/'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/mpii_train.json',
        data_prefix=dict(img='images/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/mpii_val.json',
        headbox_file=f'{data_root}annotations/mpii_gt_val.mat',
        data_prefix=dict(img='images/'),
        test_mode=True,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='pose_backbones.MpiiPCKh')
test_evaluator = val_evaluator
