# HRCoMer targets on CrowdPose, which has no annotated areas: the area of the bounding box is used,
# times 0.53 where it is compared with areas of COCO. Testing is the same as on COCO.
_base_ = './bottomup_hrcomer_768.py'

codec = dict(
    type='pose_backbones.MultiScaleJoints',
    input_size=(768, 768),
    heatmap_size=(192, 192),
    sigmas='configs/_base_/datasets/crowdpose.py',
    area_factor=0.53,
)

train_pipeline = [
    *_base_.load_people,
    dict(
        type='pose_backbones.RandomAffine',
        input_size=codec['input_size'],
        heatmap_size=codec['heatmap_size'],
    ),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackBottomupInputs'),
]
