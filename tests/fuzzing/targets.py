"""Readers of files that a user may get from somebody else, as functions of their content."""

import json
import math
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from mmengine.logging import MMLogger

from pose_backbones.checkpoints.loading import get_weights, read_checkpoint
from pose_backbones.datasets import coco_style
from pose_backbones.errors import PoseBackbonesError
from pose_backbones.inference.box_file import BoxFile
from pose_backbones.inference.export import write_predictions, write_table
from pose_backbones.inference.journal import JOURNAL, Journal
from pose_backbones.structures.coco import CocoFile
from pose_backbones.structures.coco_checker import (
    check_annotations,
    check_detections,
    check_results,
    raise_errors,
)
from pose_backbones.structures.coco_index import read_index
from pose_backbones.utils.literals import read_assignments
from pose_backbones.zoo.metafile import read_families
from tests.helpers import damaged_coco
from tests.helpers.journal_cases import SKELETON, VIDEO

coco_style.patch()
CORPUS = Path(__file__).parent / 'corpus'
#: limits of a message, and of the time in seconds for a file
MAX_MESSAGE, MAX_SECONDS = 1000, 5.0
#: names and sizes of a dataset's keypoints in MMPose's format
_METAINFO = dict(
    dataset_name='five',
    keypoint_info={
        n: dict(name=name, id=n, color=[0, 0, 0], type='upper', swap='')
        for n, name in enumerate('abcde')
    },
    skeleton_info={},
    joint_weights=[1.0] * 5,
    sigmas=[0.05] * 5,
)


class TimeLimitError(BaseException):
    """A file took too much time. It does not derive from Exception, which readers may catch."""


@dataclass(frozen=True)
class Target:
    """A reader.

    Args:
        name: Name of the target and of its folder in the corpus.
        file: Name of the file that the content is written to.
        kind: Format of the content, for mutations: `json`, `lines` of JSON, `yaml`, `python`, or
            `binary`.
        read: Reads the file in a folder, and uses what it returns as the tools do.
    """

    name: str
    file: str
    kind: str
    read: Callable[[Path], None]

    @property
    def corpus(self) -> Path:
        """Directory of the seeds and of inputs that had failed."""
        return CORPUS / self.name

    @property
    def files(self) -> list[Path]:
        """Files of the corpus."""
        return sorted(self.corpus.iterdir())

    def run(self, content: bytes, folder: Path) -> str:
        """Read content.

        Args:
            content: Content of the file.
            folder: An empty directory.

        Returns:
            The message of the error, or an empty string if the content was read.

        Raises:
            AssertionError: If the message of an error is unusable, or files were created.
            TimeLimitError: If reading took too long.
            Exception: Anything but a `PoseBackbonesError` is a fault of the reader.
        """
        (folder / self.file).write_bytes(content)
        message = ''
        try:
            with time_limit(MAX_SECONDS):
                self.read(folder)
        except PoseBackbonesError as error:
            message = str(error)
            assert message.strip(), 'an empty message'
            assert '\n' not in message, f'several lines: {message[:MAX_MESSAGE]!r}'
            assert len(message) <= MAX_MESSAGE, f'{len(message)} characters: {message[:200]!r}'
        return message


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` after some seconds; only in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeLimitError(f'more than {seconds:g} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _truth(folder: Path) -> CocoFile:
    path = folder / 'truth.json'
    if not path.exists():
        path.write_text(json.dumps(damaged_coco.annotations()))
    return CocoFile(path)


def _read_checkpoint(folder: Path) -> None:
    weights = get_weights(read_checkpoint(folder / 'model.pth'))
    for name, value in weights.items():
        assert isinstance(name, str)
        assert torch.is_tensor(value)
        value.sum() if value.is_floating_point() else value.clone()  # reads the memory


def _read_annotations(folder: Path) -> None:
    """Read annotations as MMPose's dataset, the evaluation and the report do after the check."""
    from mmpose.datasets.datasets import CocoDataset

    path = folder / 'annotations.json'
    file = CocoFile(path)
    raise_errors(file, check_annotations(file, count=5))
    index = read_index(str(path))
    for entry in index.anns.values():
        assert all(map(math.isfinite, entry['keypoints']))
        assert math.isfinite(entry['area'])
        assert entry['image_id'] in index.imgs
    dataset = CocoDataset(ann_file=str(path), metainfo=dict(_METAINFO), lazy_init=True)
    for sample in dataset.load_data_list():
        assert torch.isfinite(torch.as_tensor(sample['bbox'])).all()
        assert torch.isfinite(torch.as_tensor(sample['keypoints'])).all()


def _read_results(folder: Path) -> None:
    """Read keypoint results as the report and the submission do."""
    truth = _truth(folder)
    file = CocoFile(folder / 'results.json', 'results')
    raise_errors(file, check_results(file, truth))
    if file.entries():
        index = read_index(truth.path).loadRes(file.entries())
        assert all(math.isfinite(entry['area']) for entry in index.anns.values())


def _read_detections(folder: Path) -> None:
    """Read detections as MMPose's `bbox_file`."""
    truth = _truth(folder)
    file = CocoFile(folder / 'detections.json', 'detections')
    raise_errors(file, check_detections(file, truth))
    from mmpose.datasets.datasets import CocoDataset

    dataset = CocoDataset(
        ann_file=truth.path,
        bbox_file=file.path,
        metainfo=dict(_METAINFO),
        test_mode=True,
        lazy_init=True,
    )
    for sample in dataset.load_data_list():
        assert torch.isfinite(torch.as_tensor(sample['bbox'])).all()


def _read_boxes(folder: Path) -> None:
    boxes = BoxFile(str(folder / 'boxes.json'))
    for number in range(1, 7):
        values = boxes.boxes(boxes.find(f'{number}.jpg', number, True), 320, 240)
        assert torch.isfinite(torch.as_tensor(values)).all()


def _read_metafile(folder: Path) -> None:
    (folder / 'configs').mkdir(exist_ok=True)
    (folder / 'model-index.yml').write_text('Import:\n- metafile.yml\n')
    for family in read_families(folder / 'configs'):
        assert all(model.total_flops >= 0 for model in family.models)


def _read_journal(folder: Path) -> None:
    """Resume a run, and write its results."""
    path = folder / JOURNAL
    path.write_bytes(json.dumps(VIDEO).encode() + b'\n' + path.read_bytes())
    journal = Journal(folder, VIDEO, 50, resume=True)
    try:
        write_predictions(folder / 'predictions.json', journal.entries())
        write_table(folder / 'predictions.csv', journal.entries(), SKELETON.names)
    finally:
        journal.close()
    json.loads((folder / 'predictions.json').read_text())


def _read_variables(folder: Path) -> None:
    """Read the variables of a config that MMEngine has saved, without running it."""
    repr(read_assignments(folder / 'config.py'))


TARGETS = {
    target.name: target
    for target in (
        Target('checkpoint', 'model.pth', 'binary', _read_checkpoint),
        Target('annotations', 'annotations.json', 'json', _read_annotations),
        Target('results', 'results.json', 'json', _read_results),
        Target('detections', 'detections.json', 'json', _read_detections),
        Target('boxes', 'boxes.json', 'json', _read_boxes),
        Target('metafile', 'metafile.yml', 'yaml', _read_metafile),
        Target('journal', JOURNAL, 'lines', _read_journal),
        Target('variables', 'config.py', 'python', _read_variables),
    )
}


@contextmanager
def workspace() -> Iterator[Path]:
    """Provide a directory for the files, in memory where that exists."""
    MMLogger.get_instance('fuzzing', log_level='ERROR')
    shared = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def clear(folder: Path) -> None:
    """Remove the files in a directory."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
