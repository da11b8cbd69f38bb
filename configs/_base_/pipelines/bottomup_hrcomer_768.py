# HRCoMer targets at a quarter of 768x768 pixels, on COCO, with the augmentation of the original.
# For testing, the shorter side of an image is resized to 768; ms_pipeline gives three sizes of each
# image. Images of more than max_pixels after resizing, which are narrow strips, raise an error.
codec = dict(type='pose_backbones.MultiScaleJoints', input_size=(768, 768), heatmap_size=(192, 192))

load_people = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='pose_backbones.GetPeople'),
    dict(type='pose_backbones.RandomFlip', direction='horizontal'),
]
train_pipeline = [
    *load_people,
    dict(
        type='pose_backbones.RandomAffine',
        input_size=codec['input_size'],
        heatmap_size=codec['heatmap_size'],
    ),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='pose_backbones.PackBottomupInputs'),
]
resize = dict(
    type='pose_backbones.ResizeAlign',
    short_side=codec['input_size'][0],
    size_divisor=64,
    max_pixels=16 * 768 * 768,
)
val_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    resize,
    dict(type='pose_backbones.PackBottomupInputs'),
]
ms_pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(scale_factors=(1, 0.75, 1.25), **resize),
    dict(type='pose_backbones.PackBottomupInputs'),
]
