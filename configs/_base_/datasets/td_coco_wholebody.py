# COCO-WholeBody (133 keypoints: body, feet, face, hands), top-down, with the images and person
# detections of COCO.
_base_ = './td_coco.py'

dataset_type = 'CocoWholeBodyDataset'
data_root = 'data/coco/'

train_dataloader = dict(
    dataset=dict(type=dataset_type, ann_file='annotations/coco_wholebody_train_v1.0.json')
)
val_dataloader = dict(
    dataset=dict(type=dataset_type, ann_file='annotations/coco_wholebody_val_v1.0.json')
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoWholeBodyMetric', ann_file=f'{data_root}annotations/coco_wholebody_val_v1.0.json'
)
test_evaluator = val_evaluator
