# HRCoMer-L on CrowdPose, fine-tuned for flip testing from the checkpoint of the run of 70 epochs,
# or from that of --load-from. Tests use flip testing.
_base_ = ['../_base_/recipes/bu_hrcomer-flip-2e_crowdpose-768.py', '../_base_/models/bu_hrcomer.py']

load_from = 'work_dirs/bu_hrcomer-l_8xb8-70e_crowdpose-768/epoch_70.pth'

model = dict(
    finetune_flip=True,
    backbone=dict(arch='large'),
    head=dict(
        num_keypoints=14,
        in_channels=(48, 96, 192, 384),
        decoder=_base_.codec,
        limbs=_base_.codec.sigmas,
        losses=dict(
            oks=dict(type='pose_backbones.OKSLoss', loss_weight=1e-3),
            heatmap=dict(type='pose_backbones.HeatmapFocalLoss', loss_weight=1e-3),
        ),
    ),
    test_cfg=dict(flip_test=True),
)

train_dataloader = dict(batch_size=16)
