"""Benchmark of `detector_interval`: speed, and accuracy on synthetic people who move as known."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from pose_backbones import PoseInferencer
from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.inference.boxes import Detector
from pose_backbones.inference.torchvision_detector import TorchvisionDetector
from pose_backbones.structures.oks import AREA_OF_BOX, keypoint_similarity
from pose_backbones.synthetic import Scene, render_scene

from ._measure import markdown_head, markdown_row, write_json

_DEMO = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
_SIZE = 384, 288
_PERIOD = 40  # frames of one movement from left to right and back
_NOISE = 0.03  # standard deviation of the detected corners, relative to the side


@dataclass(frozen=True)
class Row:
    """Measurements of an interval.

    Args:
        interval: `detector_interval`.
        frames_per_second: Frames per second of CPU time, with the detector.
        oks: Mean OKS of the people, of whom a lost one has 0.
        lost: Part of the people whose pose has an OKS below 0.3, or who are lost.
    """

    interval: int
    frames_per_second: float
    oks: float
    lost: float


@dataclass(frozen=True)
class Frame:
    """A frame and its people.

    Args:
        image: (H, W, 3), uint8, BGR.
        keypoints: (n, 17, 3), x, y and visibility.
        boxes: (n, 4), left, top, right, bottom.
    """

    image: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray


def make_clip(scene: Scene, count: int, speed: float) -> Iterator[Frame]:
    """Move a scene from left to right and back, and towards the camera.

    Args:
        scene: The scene.
        count: Number of frames.
        speed: Highest speed in pixels per frame.
    """
    people = [person for person in scene.people if not person.iscrowd and person.joints[:, 2].any()]
    joints = np.array([person.joints for person in people]).reshape(-1, 17, 3)
    corners = np.array([person.bbox for person in people], float).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    for number in range(count):
        angle = 2 * np.pi * number / _PERIOD
        zoom = 1 + 0.1 * np.sin(angle / 2) ** 2
        shift = speed * _PERIOD / (2 * np.pi) * np.array([np.sin(angle), 0])
        offset = shift + (1 - zoom) * np.array(_SIZE) / 2
        matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
        moved = joints.copy()
        moved[..., :2] = joints[..., :2] * zoom + offset
        image = cv2.warpAffine(scene.image, matrix, _SIZE, borderMode=cv2.BORDER_REFLECT)
        yield Frame(image, moved, corners * zoom + np.tile(offset, 2))


class SimulatedDetector:
    """Runs a detector for its time, and returns the true boxes with noise.

    Args:
        detector: The detector; its weights do not matter.
        frames: The frames in order.
    """

    def __init__(self, detector: Detector, frames: Sequence[Frame]) -> None:
        self._detector = detector
        self._boxes = {frame.image.tobytes(): frame.boxes for frame in frames}
        self._rng = np.random.default_rng(0)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self._detector(image)
        boxes = self._boxes[image.tobytes()]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        return boxes + self._rng.normal(0, _NOISE, boxes.shape) * sides


def measure(
    pose: PoseInferencer, detector: Detector, clips: Sequence[Sequence[Frame]], interval: int
) -> Row:
    """Predict the poses of all clips with an interval."""
    seconds, similarities = 0.0, []
    sigmas = np.array(pose.metainfo['sigmas'])
    for frames in clips:
        detect = SimulatedDetector(detector, frames)
        start = time.process_time()
        results = list(pose([frame.image for frame in frames], detect, detector_interval=interval))
        seconds += time.process_time() - start
        for frame, result in zip(frames, results, strict=True):
            for truth, box in zip(frame.keypoints, frame.boxes):
                similarities.append(_best_oks(truth, box, result.keypoints, sigmas))
    count = sum(map(len, clips))
    values = np.array(similarities)
    return Row(interval, count / seconds, float(values.mean()), float((values < 0.3).mean()))


def _best_oks(
    truth: np.ndarray, box: np.ndarray, keypoints: np.ndarray, sigmas: np.ndarray
) -> float:
    """Return the highest OKS of the predicted poses with a person; 0 without poses."""
    labelled = truth[:, 2] > 0
    area = AREA_OF_BOX * np.prod(box[2:] - box[:2])
    squares = ((keypoints - truth[:, :2]) ** 2).sum(-1)[:, labelled]
    values = keypoint_similarity(squares, np.full(len(keypoints), area), sigmas[labelled])
    return float(values.mean(1).max(initial=0.0))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.detector_interval`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.detector_interval',
        description='Measure PoseInferencer with detector_interval on clips of synthetic people '
        'who move as known, on the CPU. The boxes of the detector are the true ones with noise; '
        'its time is that of a detector of torchvision with random weights.',
    )
    parser.add_argument('--model', default=_DEMO, metavar='NAME', help='(default: %(default)s)')
    parser.add_argument(
        '--weights', required=True, metavar='FILE', help='checkpoint, such as that of `make demo`'
    )
    parser.add_argument(
        '--detector',
        default='fasterrcnn_mobilenet_v3_large_320_fpn',
        metavar='NAME',
        help='detector of torchvision (default: %(default)s)',
    )
    parser.add_argument('--intervals', type=int, nargs='+', default=[1, 2, 5, 10, 20], metavar='N')
    parser.add_argument(
        '--clips', type=int, default=6, metavar='N', help='number of clips (default: 6)'
    )
    parser.add_argument(
        '--frames', type=int, default=40, metavar='N', help='frames of a clip (default: 40)'
    )
    parser.add_argument(
        '--speed', type=float, default=3.0, metavar='PX', help='pixels per frame (default: 3)'
    )
    parser.add_argument('--json', metavar='FILE', help='write the results to a file')
    args = parser.parse_args(argv)
    check_counts(args, 'intervals', 'clips', 'frames')
    return args


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield from markdown_head(
        ['interval', 'frames per second of CPU time', 'speed-up', 'mean OKS', 'lost']
    )
    for row in rows:
        yield markdown_row(
            [
                str(row.interval),
                f'{row.frames_per_second:.1f}',
                f'{row.frames_per_second / rows[0].frames_per_second:.2f}',
                f'{row.oks:.3f}',
                f'{row.lost:.1%}',
            ]
        )


def main(argv: list[str] | None = None) -> None:
    """Measure each interval and print a table."""
    from torchvision import models

    args = parse_args(argv)
    rng = np.random.default_rng(0)
    scenes: list[Scene] = []
    while len(scenes) < args.clips:
        scene = render_scene(rng, _SIZE)
        if any(not person.iscrowd and person.joints[:, 2].any() for person in scene.people):
            scenes.append(scene)
    clips = [list(make_clip(scene, args.frames, args.speed)) for scene in scenes]
    pose = PoseInferencer(args.model, args.weights, device='cpu', backend='torch')
    model = models.get_model(args.detector, weights=None, weights_backbone=None)
    detector = TorchvisionDetector(model)
    measure(pose, detector, [clips[0][:5]], 1)  # warm-up
    rows = [measure(pose, detector, clips, interval) for interval in args.intervals]
    print('\n'.join(table(rows)))
    if args.json:
        write_json(args.json, [asdict(row) for row in rows])


if __name__ == '__main__':
    run(main)
