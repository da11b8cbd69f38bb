# AP-10K (17 keypoints of 54 animal species), top-down, split 1 of 3. Bounding boxes are those of
# the annotations.
_base_ = './td_coco.py'

dataset_type = 'AP10KDataset'
data_root = 'data/ap10k/'

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/ap10k-train-split1.json',
        data_prefix=dict(img='data/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/ap10k-val-split1.json',
        bbox_file=None,
        data_prefix=dict(img='data/'),
    )
)
test_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/ap10k-test-split1.json',
        bbox_file=None,
        data_prefix=dict(img='data/'),
    )
)

val_evaluator = dict(ann_file=f'{data_root}annotations/ap10k-val-split1.json')
test_evaluator = dict(ann_file=f'{data_root}annotations/ap10k-test-split1.json')
