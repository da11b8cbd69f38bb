"""Worker process of `benchmarks.inference`, which measures one of the inferencers."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

import pose_backbones  # noqa: F401  makes MMPose importable without mmcv's compiled operators

from ._measure import current_memory, peak_memory


class _GivenBoxes:
    """Detector for MMPose that returns given boxes.

    MMPose filters boxes by their scores and sorts them; decreasing scores keep their order.
    """

    def __init__(self, boxes: dict[str, list]):
        self.boxes = boxes

    def __call__(self, path: str, return_datasamples: bool) -> dict:
        boxes = torch.tensor(self.boxes[path], dtype=torch.float32)
        scores = 1 - 1e-3 * torch.arange(len(boxes))
        instances = InstanceData(
            bboxes=boxes.reshape(-1, 4),
            scores=scores,
            labels=torch.zeros(len(boxes), dtype=torch.int64),
        )
        return dict(predictions=[PoseDataSample(pred_instances=instances)])


def _pose_backbones(task: dict, backend: str = 'torch', half: bool = False) -> Iterator[np.ndarray]:
    from pose_backbones.cli.allocator import keep_freed_memory
    from pose_backbones.inference import PoseInferencer

    keep_freed_memory()  # as `infer.py --keep-freed-memory`
    pose = PoseInferencer(
        task['config'],
        task['weights'],
        device='cpu',
        batch_size=task['batch_size'],
        backend=backend,
        half=half,
    )
    yield from _warm(pose(path, [task['boxes'][path]]) for path in task['warm'])
    for result in pose(
        task['images'], [task['boxes'][path] for path in task['images']], keep_images=False
    ):
        yield result.keypoints


def _mmpose(task: dict) -> Iterator[np.ndarray]:
    from mmpose.apis import MMPoseInferencer

    pose = MMPoseInferencer(
        pose2d=task['config'], pose2d_weights=task['weights'], device='cpu', det_model='whole_image'
    )
    pose.inferencer.detector = _GivenBoxes(task['boxes'])
    pose.inferencer.det_cat_ids = (0,)
    pose.inferencer.show_progress = False
    options = dict(bbox_thr=0.0, nms_thr=1.0)
    yield from _warm(pose(path, **options) for path in task['warm'])
    for result in pose(task['images'], **options):
        yield np.array([person['keypoints'] for person in result['predictions'][0]], np.float32)


def _warm(runs: Iterator) -> Iterator[None]:
    """Process the first images, which take longer, and yield None after them."""
    for run in runs:
        for _ in run:
            pass
    yield None


#: name → generator of the keypoints (people, K, 2) of each image
VARIANTS = {
    'pose_backbones': _pose_backbones,
    'openvino': partial(_pose_backbones, backend='openvino'),
    'openvino-bf16': partial(_pose_backbones, backend='openvino', half=True),
    'mmpose': _mmpose,
}


def measure(variant: str, task: dict) -> dict:
    """Time one of the inferencers.

    Args:
        variant: One of `VARIANTS`.
        task: `config`, `weights`, `batch_size` (of PoseInferencer, or None), `images` (paths),
            `boxes` (path → corners), `warm` (paths of images for a warm-up that is not timed).

    Returns:
        `keypoints` (people, K, 2), `seconds`, `peak` in bytes, and `memory` in bytes after each
        tenth of the images.
    """
    warnings.simplefilter('ignore')
    with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere):
        return _measure(variant, task)


def _measure(variant: str, task: dict) -> dict:
    keypoints, memory = [], []
    count = len(task['images'])
    marks = {max(1, count * part // 10) for part in range(1, 11)}
    results = VARIANTS[variant](task)
    next(results)
    start = time.perf_counter()
    for number, people in enumerate(results, 1):
        keypoints.append(people)
        if number in marks:
            memory.append(current_memory())
    seconds = time.perf_counter() - start
    return dict(
        keypoints=np.concatenate(keypoints), seconds=seconds, peak=peak_memory(), memory=memory
    )
