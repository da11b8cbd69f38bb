"""One way of finding poses, measured in a process of its own.

`python benchmarks/inference_worker.py WAY TASK.json OUT.npz`
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

import pose_backbones  # noqa: F401  (for mmcv-lite)

WAYS = ('ours', 'host')
_MIB = 2**20


def peak_memory() -> float:
    """Of this process up to now, in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (_MIB if sys.platform == 'darwin' else 2**10)


def current_memory() -> float:
    """Of this process, in MiB; of Linux alone, else the peak."""
    status = Path('/proc/self/statm')
    if not status.is_file():
        return peak_memory()
    pages = int(status.read_text().split()[1])
    return pages * resource.getpagesize() / _MIB


class _GivenBoxes:
    """In the place of the host's detector: the boxes of a file.

    The host drops boxes by their scores and orders them; scores that fall
    keep their order.
    """

    def __init__(self, boxes: dict[str, list]):
        self.boxes = boxes

    def __call__(self, path: str, return_datasamples: bool) -> dict:
        boxes = torch.tensor(self.boxes[path], dtype=torch.float32)
        scores = 1 - 1e-3 * torch.arange(len(boxes))
        found = InstanceData(
            bboxes=boxes.reshape(-1, 4),
            scores=scores,
            labels=torch.zeros(len(boxes), dtype=torch.int64),
        )
        return dict(predictions=[PoseDataSample(pred_instances=found)])


def _ours(task: dict) -> Iterator[np.ndarray]:
    from pose_backbones.cli.allocator import keep_freed_memory
    from pose_backbones.inference import PoseInferencer

    keep_freed_memory()  # as `infer.py --keep-freed-memory`
    pose = PoseInferencer(
        task['config'], task['weights'], device='cpu', batch_size=task['batch_size']
    )
    yield from _warm(pose(path, [task['boxes'][path]]) for path in task['warm'])
    for result in pose(
        task['images'], [task['boxes'][path] for path in task['images']], keep_images=False
    ):
        yield result.keypoints


def _host(task: dict) -> Iterator[np.ndarray]:
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
        yield np.array([one['keypoints'] for one in result['predictions'][0]], np.float32)


def _warm(runs: Iterator) -> Iterator[None]:
    """Do what only the first pictures cost; a None says that it is done."""
    for run in runs:
        for _ in run:
            pass
    yield None


def measure(way: str, task: dict, out: str) -> None:
    """Time one way.

    Args:
        way: One of `WAYS`.
        task: `config`, `weights`, `batch_size` (of ours, or None), `images`
            (paths), `boxes` (path → corners), `warm` (paths for a start that
            is not timed).
        out: File for `keypoints` (people, K, 2), `seconds`, `peak` and
            `memory`, which is that after each tenth of the images.
    """
    found, memory = [], []
    count = len(task['images'])
    marks = {max(1, count * part // 10) for part in range(1, 11)}
    keypoints = dict(ours=_ours, host=_host)[way](task)
    next(keypoints)
    start = time.perf_counter()
    for number, people in enumerate(keypoints, 1):
        found.append(people)
        if number in marks:
            memory.append(current_memory())
    seconds = time.perf_counter() - start
    np.savez(
        out, keypoints=np.concatenate(found), seconds=seconds, peak=peak_memory(), memory=memory
    )


if __name__ == '__main__':
    measure(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), sys.argv[3])
