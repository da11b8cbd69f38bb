test_evaluator = dict(
    type='CocoMetric', ann_file='truth.json', outfile_prefix='test', use_area=True
)
test_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        data_root='.',
        ann_file='truth.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(
            dataset_name='five',
            keypoint_info={
                0: dict(name='a', id=0, color=[0, 0, 0], type='upper', swap='b'),
                1: dict(name='b', id=1, color=[0, 0, 0], type='', swap='a'),
                2: dict(name='c', id=2, color=[0, 0, 0], type='', swap=''),
                3: dict(name='d', id=3, color=[0, 0, 0], type='', swap=''),
                4: dict(name='e', id=4, color=[0, 0, 0], type='', swap=''),
            },
            skeleton_info={0: dict(link=('a', 'b'), id=0, color=[0, 0, 0])},
            joint_weights=[1.0] * 5,
            sigmas=[0.05] * 5,
        ),
    )
)
