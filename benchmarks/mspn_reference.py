"""Configs of MSPN and of MMPose's MSPN of the same size, and batches for both."""

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import Compose, pseudo_collate

from pose_backbones.models.layers.mspn import UNITS

KERNELS = (15, 11, 9, 7, 5)
_KEYPOINTS = 17


def _codec(shape: tuple[int, int]) -> dict:
    height, width = shape
    return dict(
        type='pose_backbones.CoarseToFineHeatmap',
        input_size=(width, height),
        heatmap_size=(width // 4, height // 4),
        kernel_sizes=KERNELS,
    )


def _mmpose_codecs(shape: tuple[int, int]) -> list[dict]:
    height, width = shape
    return [
        dict(
            type='MegviiHeatmap',
            input_size=(width, height),
            heatmap_size=(width // 4, height // 4),
            kernel_size=kernel,
        )
        for kernel in KERNELS
    ]


def configs(
    stages: int, shape: tuple[int, int], num_blocks: Sequence[int] = (3, 4, 6, 3)
) -> tuple[dict, dict]:
    """Return configs of the estimators of pose_backbones and MMPose, of the same size.

    Args:
        stages: Number of stages.
        shape: Height and width of the image.
        num_blocks: Number of blocks of each layer of a stage.

    Returns:
        Both configs.
    """
    common = dict(
        data_preprocessor=dict(type='mmpose.PoseDataPreprocessor'), test_cfg=dict(flip_test=False)
    )
    out = dict(out_shape=(shape[0] // 4, shape[1] // 4), out_channels=_KEYPOINTS)
    own = dict(
        type='pose_backbones.MSPNEstimator',
        backbone=dict(type='pose_backbones.MSPN', stages=stages, num_blocks=num_blocks),
        head=dict(type='pose_backbones.MSPNHead', stages=stages, **out, decoder=_codec(shape)),
        **common,
    )
    coarse = dict(type='mmpose.KeypointMSELoss', use_target_weight=True, loss_weight=0.25)
    hard = dict(type='mmpose.KeypointOHKMMSELoss', use_target_weight=True)
    levels = [unit + (stage == stages - 1) for stage in range(stages) for unit in range(UNITS)]
    mmpose = dict(
        type='mmpose.TopdownPoseEstimator',
        backbone=dict(type='mmpose.MSPN', num_stages=stages, num_blocks=list(num_blocks)),
        head=dict(
            type='mmpose.MSPNHead',
            num_stages=stages,
            **out,
            level_indices=levels,
            loss=([coarse] * (UNITS - 1) + [hard]) * stages,
            decoder=_mmpose_codecs(shape)[-1],
        ),
        **common,
    )
    return own, mmpose


def batches(shape: tuple[int, int], count: int) -> tuple[dict, dict]:
    """Return the same random batch of people, with the targets of each model.

    Args:
        shape: Height and width of the images.
        count: Number of images.

    Returns:
        Batches of a data loader, for pose_backbones and for MMPose.
    """
    targets = (
        dict(type='GenerateTarget', encoder=_codec(shape)),
        dict(type='GenerateTarget', multilevel=True, encoder=_mmpose_codecs(shape)),
    )
    return tuple(_batch(target, shape, count) for target in targets)


def _batch(target: dict, shape: tuple[int, int], count: int) -> dict:
    """Return a batch of random images and keypoints, which is always the same."""
    rng = np.random.default_rng(0)
    height, width = shape
    pipeline = Compose([target, dict(type='PackPoseInputs')])
    return pseudo_collate(
        [
            pipeline(
                dict(
                    img=rng.integers(0, 255, (height, width, 3), dtype=np.uint8),
                    keypoints=rng.uniform(0, (width, height), (1, _KEYPOINTS, 2)),
                    keypoints_visible=np.ones((1, _KEYPOINTS), np.float32),
                    bbox=np.array([[0, 0, width, height]], np.float32),
                    bbox_score=np.ones(1, np.float32),
                    input_size=(width, height),
                    input_center=np.array([width / 2, height / 2], np.float32),
                    input_scale=np.array([width, height], np.float32),
                )
            )
            for _ in range(count)
        ]
    )
