"""Predict the poses of a stream of images, in batches and with bounded memory."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData

from ..errors import ImageError, first_line
from ..utils.images import check_sides
from ..visualization.skeleton import Skeleton
from .boxes import Boxes, BoxSource
from .inputs import Failure, Frame, Inputs
from .pose_result import PoseResult
from .tracking import VideoTracker

if TYPE_CHECKING:
    from .inferencer import PoseInferencer

_HELD = 256 << 20  # bytes of images that wait for a batch to be full
_AHEAD = 4  # images that are read ahead
_POLL = 0.1  # seconds, after which a thread sees that nobody waits for it
_PATIENCE = 2.0  # seconds for the thread to end
_END = object()


@dataclass(eq=False)
class _Pending:
    """An input whose poses are not all known, or that has none.

    Attributes:
        frame: The picture, without pixels if nobody wants them; or what
            could not be read; or the error that ends it all.
        size: Width and height.
        boxes: Of the people, of a top-down model.
        missing: How many samples of it the model has not seen yet.
        found: What the model has found in the others.
    """

    frame: Frame | Failure | Exception
    size: tuple[int, int] = (0, 0)
    boxes: Boxes | None = None
    missing: int = 0
    found: list[InstanceData] = field(default_factory=list)

    def fail(self, frame: Frame, error: Exception) -> None:
        """Note that the image cannot be used."""
        self.frame = Failure(
            frame.index, frame.name, frame.part, error, in_video=frame.frame is not None
        )

    @property
    def bytes(self) -> int:
        image = getattr(self.frame, 'image', None)
        return 0 if image is None else image.nbytes


class Results(Iterator[PoseResult]):
    """The poses of the inputs, found while one iterates.

    Each result comes as soon as it and those before it are known. Pictures
    are read in a thread, a few ahead, and wait until their crops fill a
    batch: at most as many as a batch has crops, and 256 MB.

    An error, such as of the user's boxes, is raised where the next result
    would have come; those before it are not lost.

    Args:
        inferencer: The `PoseInferencer`.
        inputs: What it gets.
        source: Of the boxes of a top-down model; None for a bottom-up one.
        tracker: Of the persons in videos, if they are tracked.
        strict: See `PoseInferencer.__call__`.
        keep_images: See `PoseInferencer.__call__`.

    Attributes:
        failures: The inputs that could not be read, up to now.
        inputs: The pictures.
        skeleton: Of the people.
    """

    def __init__(
        self,
        inferencer: 'PoseInferencer',
        inputs: Inputs,
        source: BoxSource | None,
        tracker: VideoTracker | None,
        strict: bool,
        keep_images: bool,
    ):
        self.failures: list[Failure] = []
        self.inputs = inputs
        self.skeleton: Skeleton = inferencer.skeleton
        self._inferencer, self._source = inferencer, source
        self._tracker = tracker
        self._strict, self._keep_images = strict, keep_images
        self._items = self.iterate_from()

    def __next__(self) -> PoseResult:
        while True:
            _, item = next(self._items)
            if isinstance(item, PoseResult):
                return item

    def close(self) -> None:
        """Stop; what is open is closed."""
        self._items.close()

    def iterate_from(
        self, part: int = 0, index: int = 0
    ) -> Generator[tuple[int, PoseResult | Failure], None, None]:
        """Everything in the order of the inputs, from somewhere on.

        Args:
            part: See `Inputs.iterate_from`.
            index: See `Inputs.iterate_from`.

        Yields:
            Numbers of parts, with results and with what could not be read.
        """
        inputs = self.inputs.iterate_from(part, index)
        # An iterator of the user's stays in the user's thread.
        with (
            closing(inputs)
            if self.inputs.parts is None
            else prefetch(inputs, _AHEAD if self.inputs.may_prefetch else 0)
        ) as items:
            for entry in self._finished(items):
                yield self._deliver(entry)

    def _finished(self, items: Iterable[Frame | Failure]) -> Iterator[_Pending]:
        """Inputs in their order, when the model has seen all of each."""
        size = self._inferencer.batch_size
        waiting: deque[_Pending] = deque()
        batch: list[tuple[_Pending, dict]] = []
        for entry, sample in self._samples(items):
            if sample is not None:
                if batch and _shape(batch[-1][1]) != _shape(sample):
                    self._predict(batch)
                batch.append((entry, sample))
                if len(batch) == size:
                    self._predict(batch)
                continue
            waiting.append(entry)
            if (
                getattr(entry.frame, 'live', False)
                or len(waiting) > size
                or (sum(one.bytes for one in waiting) > _HELD)
            ):
                self._predict(batch)
            while waiting and not waiting[0].missing:
                yield waiting.popleft()
        self._predict(batch)
        yield from waiting

    def _samples(self, items: Iterable[Frame | Failure]) -> Iterator[tuple[_Pending, dict | None]]:
        """What the model gets of each input, and None behind the last."""
        try:
            for frame in items:
                entry = _Pending(frame)
                if isinstance(frame, Frame):
                    for sample in self._prepared(entry, frame):
                        entry.missing += 1
                        yield entry, sample
                yield entry, None
        except Exception as error:  # raised when its turn has come
            yield _Pending(error), None

    def _prepared(self, entry: _Pending, frame: Frame) -> Iterator[dict]:
        """What the model gets of a picture, which may turn out unusable."""
        height, width = frame.image.shape[:2]
        entry.size = width, height
        try:
            # First the people: their boxes may come one image after another.
            people = self._people(entry, frame)
            check_sides(frame.name, width, height)
        except ImageError as error:
            entry.fail(frame, error)
            return
        for person in people:
            try:
                sample = self._inferencer.prepare(frame, *person)
            except Exception as error:  # of any transform of the config
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

    def _people(self, entry: _Pending, frame: Frame) -> list[tuple]:
        """What tells the inferencer's `prepare` where they are."""
        if self._source is None:
            return [()]
        entry.boxes = self._source(frame)
        return list(zip(entry.boxes.corners, entry.boxes.scores.tolist()))

    def _predict(self, batch: list[tuple[_Pending, dict]]) -> None:
        """Predict a batch, and empty it."""
        if not batch:
            return
        found = self._inferencer.predict([sample for _, sample in batch])
        for (entry, _), instances in zip(batch, found, strict=True):
            entry.found.append(instances)
            entry.missing -= 1
        batch.clear()

    def _deliver(self, entry: _Pending) -> tuple[int, PoseResult | Failure]:
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
    """Of a model's input, which may be a pyramid of several sizes."""
    inputs = sample['inputs']
    return [one.shape for one in ([inputs] if isinstance(inputs, torch.Tensor) else inputs)]


def _gather(entry: _Pending, frame: Frame, skeleton: Skeleton) -> PoseResult:
    """One result of all that was found in a picture."""
    boxes = entry.boxes
    count = len(skeleton.names)

    def gather(name: str, *shape: int) -> np.ndarray:
        found = [_array(one[name]) for one in entry.found]
        return np.concatenate(found) if found else np.zeros((0, *shape), np.float32)

    known = {name for one in entry.found for name in one.keys()}
    keypoints = gather('keypoints', count, 2)[..., :2]
    scores = gather('keypoint_scores', count)
    visible = None
    if 'keypoints_visible' in known:
        visible = gather('keypoints_visible', count)
        if np.array_equal(visible, scores):  # MMPose's, if it does not know
            visible = None
    if boxes is None:
        boxes = Boxes(
            gather('bboxes', 4)
            if 'bboxes' in known
            else np.concatenate((keypoints.min(1), keypoints.max(1)), 1),
            gather('bbox_scores') if 'bbox_scores' in known else scores.mean(1),
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
def prefetch(items: Iterable, ahead: int = _AHEAD) -> Iterator[Iterator]:
    """Iterate in a thread of its own, a few items ahead.

    A signal reaches the main thread while the other one waits for a slow
    disk, a camera or a network.

    Args:
        items: Iterated over in the thread, from which no other may take.
        ahead: How many items may wait; 0: each is read when it is asked for.

    Yields:
        The items, in their order. An exception of theirs is raised where
        the item would have come. Behind the block, the thread has ended, or
        is given up if it still waits for an item after two seconds.
    """
    ready: queue.Queue = queue.Queue(max(ahead, 1))
    asked = threading.Semaphore(0)
    stop = threading.Event()

    def put(entry: tuple) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=_POLL)
                return True
            except queue.Full:
                continue
        return False

    def may_read() -> bool:
        while ahead == 0 and not asked.acquire(timeout=_POLL):
            if stop.is_set():
                return False
        return not stop.is_set()

    def work() -> None:
        iterator = iter(items)
        try:
            while may_read():
                item = next(iterator, _END)
                if not put((item, None)) or item is _END:
                    return
        except BaseException as error:  # raised by who takes the items
            put((_END, error))
        finally:
            close = getattr(iterator, 'close', None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        yield _take(ready, asked)
    finally:
        stop.set()
        thread.join(_PATIENCE)


def _take(ready: queue.Queue, asked: threading.Semaphore) -> Iterator:
    while True:
        asked.release()
        item, error = ready.get()
        if error is not None:
            raise error
        if item is _END:
            return
        yield item
