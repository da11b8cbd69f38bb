# MPII (16 key points), top-down, in HRNet's JSON files; people stand where
# the annotations say. PCKh is measured against the head boxes of the .mat
# file. These files count pixels from 1: the metric of MMPose 1.3.2 adds 1 to
# what is predicted, but its data set does not take 1 off for the training.
_base_ = './td_coco.py'

data_root = 'data/mpii/'

train_dataloader = dict(
    dataset=dict(
        type='MpiiDataset',
        data_root=data_root,
        ann_file='annotations/mpii_train.json',
        data_prefix=dict(img='images/')))
val_dataloader = dict(
    dataset=dict(
        type='MpiiDataset',
        data_root=data_root,
        ann_file='annotations/mpii_val.json',
        bbox_file=None,
        headbox_file=f'{data_root}annotations/mpii_gt_val.mat',
        data_prefix=dict(img='images/')))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='MpiiPCKAccuracy')
test_evaluator = val_evaluator
