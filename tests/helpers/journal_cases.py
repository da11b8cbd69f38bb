"""Results and journal lines of a run on three images, or on an image and a video."""

import numpy as np

from pose_backbones.inference.inputs import Failure
from pose_backbones.inference.pose_result import PoseResult
from pose_backbones.visualization.skeleton import Skeleton

SKELETON = Skeleton(('head', 'foot'), ((0, 1),))
SETTINGS = dict(model='a', inputs=['0.png', '1.png', '2.png'], half=False)
PERSON = dict(image_id=1, bbox=[0, 0, 1, 1], keypoints=[1, 2, 0.5], score=1)
VIDEO = dict(SETTINGS, inputs=['0.png', '1.mp4'])


def result(index: int, people: int = 1, frame: int | None = None) -> PoseResult:
    base = np.arange(people * 4).reshape(people, 2, 2) + 10.0 * index
    return PoseResult(
        base + 0.25,
        np.full((people, 2), 0.5),
        np.tile((1, 2, 31, 42), (people, 1)),
        np.full(people, 0.8),
        SKELETON,
        (64, 48),
        f'{index}.png' if frame is None else f'1.mp4, frame {frame}',
        index,
        index + 1,
        track_ids=None if frame is None else range(7, 7 + people),
        frame=frame,
        time=None if frame is None else frame / 10,
    )


def failure(index: int, part: int, in_video: bool = False) -> Failure:
    return Failure(
        index, '1.mp4' if in_video else f'{index}.png', part, ValueError('broken'), in_video
    )


def entry(part: int, index: int | None = None, **more) -> dict:
    index = part if index is None else index
    return dict(dict(index=index, part=part, name=f'{part}.png', people=[PERSON]), **more)
