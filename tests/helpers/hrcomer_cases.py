"""A small HRCoMer model."""

ARCH = dict(
    base_net=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 3, 2), use_grn=True),
    embed_dims=(8, 12, 16, 24),
    stage1_channels=8,
    num_modules=(1, 1, 2, 1),
    depths=(1, 2, 2, 2),
)
FLIP = [1, 0, 2, 4, 3]
SIGMAS = [0.1, 0.1, 0.05, 0.2, 0.2]
DECODER = dict(
    type='pose_backbones.MultiScaleJoints',
    input_size=(96, 64),
    heatmap_size=(24, 16),
    sigmas=SIGMAS,
    max_num_people=6,
    nms_num_close=3,
)
