test_evaluator = [dict(type='CocoMetric', ann_file='./truth.json', iou_type='keypoints')]
test_dataloader = dict(
    dataset=dict(type='AicDataset', ann_file='truth.json', metainfo=dict(from_file='config.py'))
)
dataset_info = dict(
    dataset_name='five',
    keypoint_info={
        0: dict(name='a'),
        1: dict(name='b'),
        2: dict(name='c'),
        3: dict(name='d'),
        4: dict(name='e'),
    },
    skeleton_info={},
    joint_weights=[1.0] * 5,
    sigmas=[0.05] * 5,
)
