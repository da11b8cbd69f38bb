"""Predict the poses of a stream of images, in batches and with bounded memory.

A `torch.utils.data.DataLoader` is not used: it reads ahead only in worker processes, which need
picklable inputs and cannot share open cameras and streams. A thread is enough here.
"""

import logging
import queue
import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData

from ..errors import ConfigError, ImageError, first_line
from ..structures.finite import non_finite_field
from ..utils.images import check_sides
from ..visualization.skeleton import Skeleton
from .boxes import Boxes, BoxSource
from .following import DetectionSchedule, boxes_around_poses
from .inputs import Failure, Frame, Inputs
from .pose_result import PoseResult
from .tracking import VideoTracker

_MAX_WAITING_BYTES = 256 << 20  # maximum bytes of the images that wait until a batch is full
_MAX_DETECTION_BYTES = 64 << 20  # maximum bytes of the images of a batch of the detector
_PREFETCH_COUNT = 4  # maximum number of images that are read ahead
_POLL_INTERVAL = 0.1  # seconds between two checks of the reading thread whether it should stop
_JOIN_TIMEOUT = 2.0  # maximum seconds to wait for the reading thread to end
_END = object()  # stands in the queue for the end of the items


@dataclass(eq=False)
class _Pending:
    """An input that waits for its predictions.

    A sample is the model input for one person, for a top-down model, or for the whole image, for a
    bottom-up model.

    Attributes:
        frame: The image, without pixels if they are no longer needed; an input that could not be
            read; or the exception that ends the iteration.
        size: Width and height of the image.
        boxes: Bounding boxes of the people, for a top-down model.
        num_unpredicted: Number of samples of the image that are prepared, but not predicted yet.
        predictions: Predictions for the samples that are predicted.
    """

    frame: Frame | Failure | Exception
    size: tuple[int, int] = (0, 0)
    boxes: Boxes | None = None
    num_unpredicted: int = 0
    predictions: list[InstanceData] = field(default_factory=list)

    def fail(self, frame: Frame, error: Exception) -> None:
        """Mark the image as unusable."""
        self.frame = Failure(
            frame.index, frame.name, frame.part, error, in_video=frame.frame is not None
        )

    @property
    def bytes(self) -> int:
        """Size of the pixels in memory."""
        image = getattr(self.frame, 'image', None)
        return 0 if image is None else image.nbytes


class Predictor(Protocol):
    """The part of `PoseInferencer` that `Results` uses; see there."""

    skeleton: Skeleton
    batch_size: int

    def prepare(self, frame: Frame, box: np.ndarray | None = None, score: float = 1.0) -> dict: ...

    def predict(self, batch: list[dict]) -> list[InstanceData]: ...


class Results(Iterator[PoseResult]):
    """Iterator over the poses of the inputs, which are estimated on demand.

    A result is returned as soon as it and all earlier ones are available. A thread reads a few
    images ahead. An image waits until its crops and those of later images fill a batch. A smaller
    batch is predicted if the next crop has another shape, if the frame is from a live source, if
    more than `batch_size` images are waiting, or if the waiting images take more than 256 MiB.

    A `BatchDetector` runs on several images at once: at most `batch_size` of the model and of the
    detector, and images of 64 MiB. Images of a live source are not collected.

    If `detector_interval` is above 1, the detector runs on a part of the frames of a video, see
    `DetectionSchedule`. The boxes of the other frames are those of `boxes_around_poses` of the
    previous frame, which is predicted first, also if its batch is not full. If there are no poses
    of the previous frame, because it could not be used, the detector runs.

    An image for which the model predicts NaN or infinity is treated as an image that cannot be
    read: it is skipped with a warning, or with `strict`, raises an exception.

    An exception, for example because of invalid boxes, is raised in place of the next result, after
    all earlier results have been returned.

    Args:
        inferencer: The `PoseInferencer`, which prepares and predicts batches.
        inputs: The images.
        source: Bounding boxes of each image; None for a bottom-up model.
        tracker: Tracker of the people in videos; None for no tracking.
        strict: See `PoseInferencer.__call__`.
        keep_images: See `PoseInferencer.__call__`.
        detector_interval: See `PoseInferencer.__call__`. With more than 1, the boxes of `source`
            are those of a detector.

    Attributes:
        failures: Inputs that were skipped so far, because they could not be read or processed, or
            because their predictions were NaN or infinite.
        inputs: The images.
        skeleton: Names of the keypoints, and the limbs.
    """

    def __init__(
        self,
        inferencer: Predictor,
        inputs: Inputs,
        source: BoxSource | None,
        tracker: VideoTracker | None,
        strict: bool,
        keep_images: bool,
        detector_interval: int = 1,
    ):
        self.failures: list[Failure] = []
        self.inputs = inputs
        self.skeleton = inferencer.skeleton
        self._inferencer, self._source = inferencer, source
        self._tracker = tracker
        self._strict, self._keep_images = strict, keep_images
        self._interval = detector_interval
        self._items = self.iterate_from()

    def __next__(self) -> PoseResult:
        while True:
            _, item = next(self._items)
            if isinstance(item, PoseResult):
                return item

    def close(self) -> None:
        """Stop the iteration and close open files."""
        self._items.close()

    def iterate_from(
        self, part: int = 0, index: int = 0
    ) -> Generator[tuple[int, PoseResult | Failure], None, None]:
        """Yield results and failures in the order of the inputs, starting at a given input.

        Args:
            part: See `Inputs.iterate_from`.
            index: See `Inputs.iterate_from`.

        Yields:
            The index in `Inputs.parts` (file, array or camera), and the result or the failure.
        """
        inputs = self.inputs.iterate_from(part, index)
        # `parts` is None for an iterator of the caller: it may not be thread-safe, so do not
        # prefetch from it.
        with (
            closing(inputs)
            if self.inputs.parts is None
            else prefetch(inputs, _PREFETCH_COUNT if self.inputs.may_prefetch else 0)
        ) as items:
            for entry in self._iterate_finished(items):
                yield self._to_result(entry)

    def since(
        self, part: int = 0, index: int = 0
    ) -> Generator[tuple[int, PoseResult | Failure], None, None]:
        """Deprecated: use `iterate_from`."""
        warnings.warn(
            'Results.since is now called iterate_from; the old name will be removed in the next '
            'release',
            DeprecationWarning,
            stacklevel=2,
        )
        return self.iterate_from(part, index)

    def _iterate_finished(self, items: Iterable[Frame | Failure]) -> Iterator[_Pending]:
        """Yield each input, in order, when all its samples are predicted."""
        batch_size = self._inferencer.batch_size
        waiting: deque[_Pending] = deque()
        batch: list[tuple[_Pending, dict]] = []
        for entry, sample in self._samples(items):
            if entry is None:
                self._predict(batch)
                continue
            if sample is not None:
                if batch and _shape(batch[-1][1]) != _shape(sample):
                    self._predict(batch)
                batch.append((entry, sample))
                if len(batch) == batch_size:
                    self._predict(batch)
                continue
            waiting.append(entry)
            if (
                getattr(entry.frame, 'live', False)
                or len(waiting) > batch_size
                or (sum(pending.bytes for pending in waiting) > _MAX_WAITING_BYTES)
            ):
                self._predict(batch)
            while waiting and not waiting[0].num_unpredicted:
                yield waiting.popleft()
        self._predict(batch)
        yield from waiting

    def _samples(
        self, items: Iterable[Frame | Failure]
    ) -> Iterator[tuple[_Pending | None, dict | None]]:
        """Yield the samples of each input, each with its input, and None after the last one.

        Without an input, all earlier samples are to be predicted before the next item is requested.
        """
        previous: _Pending | None = None
        try:
            for frame, boxes, follows in self._detect(items):
                entry = _Pending(frame)
                if isinstance(frame, Frame):
                    if follows and previous is not None:
                        yield None, None
                        boxes = _follow(previous)
                    for sample in self._prepare_samples(entry, frame, boxes):
                        entry.num_unpredicted += 1
                        yield entry, sample
                yield entry, None
                previous = entry
        except Exception as error:  # raised after the results of earlier inputs
            yield _Pending(error), None

    def _detect(
        self, items: Iterable[Frame | Failure]
    ) -> Iterator[tuple[Frame | Failure, Boxes | ImageError | None, bool]]:
        """Yield each input, its boxes if they are known, and whether they follow poses."""
        schedule = DetectionSchedule(self._interval)
        size = min(self._inferencer.batch_size, self._source.batch_size if self._source else 1)
        group: list[tuple[Frame | Failure, bool]] = []
        num_bytes = 0
        try:
            for item in items:
                group.append((item, not schedule.is_due(item)))
                num_bytes += item.image.nbytes if isinstance(item, Frame) else 0
                is_live = isinstance(item, Frame) and item.live
                if len(group) >= size or is_live or num_bytes > _MAX_DETECTION_BYTES:
                    yield from self._detect_in(group)
                    group, num_bytes = [], 0
        except Exception:  # of the inputs: the earlier ones come first
            yield from self._detect_in(group)
            raise
        yield from self._detect_in(group)

    def _detect_in(
        self, group: list[tuple[Frame | Failure, bool]]
    ) -> Iterator[tuple[Frame | Failure, Boxes | ImageError | None, bool]]:
        frames = [item for item, follows in group if isinstance(item, Frame) and not follows]
        found = iter(self._source.find_batch(frames) if self._source else [None] * len(frames))
        for item, follows in group:
            is_detected = isinstance(item, Frame) and not follows
            yield item, next(found) if is_detected else None, follows

    def _prepare_samples(
        self, entry: _Pending, frame: Frame, boxes: Boxes | ImageError | None
    ) -> Iterator[dict]:
        """Yield the samples of an image; mark the image as failed if it is unusable.

        Args:
            entry: The image.
            frame: The image with its pixels.
            boxes: Boxes of the people, or the error of the detector; None if they are not known.
        """
        height, width = frame.image.shape[:2]
        entry.size = width, height
        try:
            # The boxes may come from an iterator with one entry per image. The entry of an unusable
            # image has to be taken, too.
            arguments = self._boxes_and_scores(entry, frame, boxes)
            check_sides(frame.name, width, height)
        except ImageError as error:
            entry.fail(frame, error)
            return
        for box_and_score in arguments:
            try:
                sample = self._inferencer.prepare(frame, *box_and_score)
            except Exception as error:  # transforms raise exceptions of any type
                entry.fail(
                    frame,
                    ImageError(
                        f'cannot use the image {frame.name}, of {width} x '
                        f'{height} pixels: {first_line(error)}'
                    ),
                )
                return
            yield sample
        if not self._keep_images:
            entry.frame = replace(frame, image=None)  # type: ignore[arg-type]

    def _boxes_and_scores(
        self, entry: _Pending, frame: Frame, boxes: Boxes | ImageError | None
    ) -> list[tuple]:
        """Return a box and a score for each person, or one empty tuple for a bottom-up model."""
        if self._source is None:
            return [()]
        if isinstance(boxes, ImageError):
            raise boxes
        entry.boxes = self._source(frame) if boxes is None else boxes
        return list(zip(entry.boxes.corners, entry.boxes.scores.tolist()))

    def _predict(self, batch: list[tuple[_Pending, dict]]) -> None:
        """Predict a batch, and clear it."""
        if not batch:
            return
        predictions = self._inferencer.predict([sample for _, sample in batch])
        for (entry, _), instances in zip(batch, predictions, strict=True):
            entry.predictions.append(instances)
            entry.num_unpredicted -= 1
        batch.clear()

    def _to_result(self, entry: _Pending) -> tuple[int, PoseResult | Failure]:
        """Return what `iterate_from` yields for a finished input, or raise its exception."""
        if isinstance(entry.frame, Frame):
            _check_predictions(entry, entry.frame)
        frame = entry.frame
        if isinstance(frame, Exception):
            raise frame
        if isinstance(frame, Frame):
            result = _gather(entry, frame, self.skeleton)
            if self._tracker is not None and not frame.is_file:
                self._tracker.update(result, None if frame.frame is None else frame.part)
            return frame.part, result
        if self._strict:
            raise frame.error
        self.failures.append(frame)
        print_log(f'skipped: {frame.name}: {frame.error}', 'current', logging.WARNING)
        return frame.part, frame


def _shape(sample: dict) -> list[torch.Size]:
    """Return the shapes of a sample, whose input may be the image at several scales."""
    inputs = sample['inputs']
    return [x.shape for x in ([inputs] if isinstance(inputs, torch.Tensor) else inputs)]


def _check_predictions(entry: _Pending, frame: Frame) -> None:
    """Mark an image as failed if its predictions are not finite."""
    for instances in entry.predictions:
        name = non_finite_field(instances)
        if name is not None:
            error = ImageError(
                f'the model predicts {name} that are NaN or infinite for the image {frame.name}: '
                'check its weights, and half precision if it is used'
            )
            entry.fail(frame, error)
            return


def _follow(previous: _Pending) -> Boxes | None:
    """Return the boxes around the poses of the previous frame, or None if it was not used."""
    if (
        not isinstance(previous.frame, Frame)
        or previous.boxes is None
        or any(non_finite_field(instances) for instances in previous.predictions)
    ):
        return None
    if not previous.predictions:
        return previous.boxes  # of no people
    keypoints, scores = (
        np.concatenate([_array(instances[name]) for instances in previous.predictions])
        for name in ('keypoints', 'keypoint_scores')
    )
    return boxes_around_poses(keypoints[..., :2], scores, previous.boxes.scores)


def _gather(entry: _Pending, frame: Frame, skeleton: Skeleton) -> PoseResult:
    """Combine the predictions for an image into one result."""
    boxes = entry.boxes
    num_keypoints = len(skeleton.names)

    def gather(name: str, *shape: int) -> np.ndarray:
        arrays = [_array(instances[name]) for instances in entry.predictions]
        return np.concatenate(arrays) if arrays else np.zeros((0, *shape), np.float32)

    fields = {name for instances in entry.predictions for name in instances.keys()}
    keypoints = gather('keypoints', num_keypoints, 2)
    if keypoints.shape[2] != 2:
        raise ConfigError(
            f'the model predicts {keypoints.shape[2]} coordinates of each keypoint, and results '
            'have two: expected a 2D model'
        )
    scores = gather('keypoint_scores', num_keypoints)
    visible = None
    if 'keypoints_visible' in fields:
        visible = gather('keypoints_visible', num_keypoints)
        if np.array_equal(visible, scores):  # MMPose's default for models without visibility
            visible = None
    if boxes is None:
        boxes = Boxes(
            gather('bboxes', 4)
            if 'bboxes' in fields
            else np.concatenate((keypoints.min(1), keypoints.max(1)), 1),
            gather('bbox_scores') if 'bbox_scores' in fields else scores.mean(1),
        )
    return PoseResult(
        keypoints=keypoints,
        scores=scores,
        boxes=boxes.corners,
        box_scores=boxes.scores,
        skeleton=skeleton,
        size=entry.size,
        name=frame.name,
        index=frame.index,
        image_id=frame.image_id if boxes.image_id is None else boxes.image_id,
        image=frame.image,
        visible=visible,
        time=frame.time,
        frame=frame.frame,
    )


def _array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.float().cpu().numpy()
    return np.asarray(values, np.float32)


@contextmanager
def prefetch(items: Iterable, ahead: int = _PREFETCH_COUNT) -> Iterator[Iterator]:
    """Iterate over items in a thread that reads a few items ahead.

    The main thread can handle signals while the other thread waits for a slow disk, a camera or a
    network.

    Args:
        items: Iterable. It is used in the thread, and must not be used elsewhere meanwhile.
        ahead: Maximum number of items to read ahead. 0: each item is read when it is requested.

    Yields:
        An iterator over the items in order. An exception of `items` is raised in place of the next
        item. At the end of the `with` statement, a stop flag is set for the thread. If it is still
        blocked after two seconds, it keeps running as a daemon thread.
    """
    entries: queue.Queue = queue.Queue(max(ahead, 1))
    requests = threading.Semaphore(0)
    stop = threading.Event()

    def put(entry: tuple) -> bool:
        # Return False if the thread should stop.
        while not stop.is_set():
            try:
                entries.put(entry, timeout=_POLL_INTERVAL)
                return True
            except queue.Full:
                continue
        return False

    def may_read() -> bool:
        # With `ahead` of 0, wait for a request. Return False if the thread should stop.
        while ahead == 0 and not requests.acquire(timeout=_POLL_INTERVAL):
            if stop.is_set():
                return False
        return not stop.is_set()

    def read() -> None:
        iterator = iter(items)
        try:
            while may_read():
                item = next(iterator, _END)
                if not put((item, None)) or item is _END:
                    return
        except BaseException as error:  # raised again in the consumer's thread
            put((_END, error))
        finally:
            close = getattr(iterator, 'close', None)
            if close is not None:
                close()

    thread = threading.Thread(target=read, name='prefetch', daemon=True)
    thread.start()
    try:
        yield _read_queue(entries, requests)
    finally:
        stop.set()
        thread.join(_JOIN_TIMEOUT)


def _read_queue(entries: queue.Queue, requests: threading.Semaphore) -> Iterator:
    """Yield items from the queue; raise the exception that the reading thread has put there."""
    while True:
        requests.release()
        item, error = entries.get()
        if error is not None:
            raise error
        if item is _END:
            return
        yield item
