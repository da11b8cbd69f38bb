"""Readers of files of unknown origin, as functions of the content of a file."""

import ast
import json
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import MultiStepLR, OptimWrapper
from mmpose.datasets.datasets import CocoDataset

from pose_backbones.checkpoints.loading import (
    get_metainfo,
    get_weights,
    load_weights,
    read_checkpoint,
)
from pose_backbones.datasets import coco_style
from pose_backbones.engine.optimizer_states import (
    check_optimizer,
    check_schedules,
    copy_tensors,
    load_schedules,
)
from pose_backbones.engine.resuming import (
    check_limits,
    check_training_state,
    dataset_differences,
    load_hub,
)
from pose_backbones.errors import PoseBackbonesError
from pose_backbones.inference.box_file import BoxFile
from pose_backbones.inference.export import write_predictions, write_table
from pose_backbones.inference.journal import JOURNAL, Journal
from pose_backbones.report import charts
from pose_backbones.report.page import make_report
from pose_backbones.report.results import read_run
from pose_backbones.report.run_files import Sources, find_sources
from pose_backbones.report.training import read_log, read_scalars
from pose_backbones.structures.coco import CocoFile
from pose_backbones.structures.coco_checker import (
    check_annotations,
    check_detections,
    check_results,
    raise_errors,
)
from pose_backbones.structures.coco_index import read_index
from pose_backbones.structures.coco_keypoints import read_keypoint_file
from pose_backbones.structures.metainfo import default_sigmas, write_metainfo
from pose_backbones.utils.images import image_size, is_truncated, read_image
from pose_backbones.utils.literals import read_assignments
from pose_backbones.zoo.metafile import read_families
from tests.helpers import damaged_coco
from tests.helpers.journal_cases import SKELETON, VIDEO

coco_style.patch()
CORPUS = Path(__file__).parent / 'corpus'
#: limits of the characters of a message, and of the processor time in seconds for a file
MAX_MESSAGE, MAX_SECONDS = 1000, 5.0
#: limit of the memory in bytes for a file
MAX_MEMORY = 1 << 30
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
    """A file took too much processor time.

    It does not derive from Exception, which readers may catch.
    """


@dataclass(frozen=True)
class Target:
    """A reader.

    Args:
        name: Name of the target and of its folder in the corpus.
        file: Name of the file that the content is written to.
        kind: Format of the content, for mutations: `json`, `lines` of JSON, `yaml`, `python`,
            `checkpoint` (its values), `binary` (the bytes of a checkpoint) or `image`.
        read: Reads the file in a folder, and uses what it returns as the tools do.
        count: Number of mutated files that the test suite reads.
    """

    name: str
    file: str
    kind: str
    read: Callable[[Path], None]
    count: int = 1500

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
            AssertionError: If the message of an error is unusable, a process or a connection was
                started, a class was imported from a pickle, or a file outside `folder` was changed.
            MemoryError: If reading took too much memory.
            TimeLimitError: If reading took too much processor time.
            Exception: Anything but a `PoseBackbonesError` is a fault of the reader.
        """
        (folder / self.file).write_bytes(content)
        message = ''
        try:
            with time_limit(MAX_SECONDS), memory_limit(MAX_MEMORY), only_inside(folder):
                self.read(folder)
        except PoseBackbonesError as error:
            message = str(error)
            assert message.strip(), 'an empty message'
            assert '\n' not in message, f'several lines: {message[:MAX_MESSAGE]!r}'
            assert len(message) <= MAX_MESSAGE, f'{len(message)} characters: {message[:200]!r}'
        return message


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` after some seconds of processor time; only in the main thread.

    The time in which the process waits does not count: the limit would depend on other programs.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeLimitError(f'more than {seconds:g} CPU seconds')

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """Limit the memory in bytes that is allocated in addition; only on Linux."""
    statistics = Path('/proc/self/statm')
    if not statistics.exists():
        yield
        return
    import resource

    used = int(statistics.read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


class _Watch:
    """Audit hook that records what a reader must not do. Python cannot remove such a hook."""

    def __init__(self) -> None:
        self.folder = ''  # empty: the hook does nothing
        self.events: list[str] = []
        self._added = False

    def start(self, folder: Path) -> None:
        """Record the events from now on."""
        if not self._added:
            sys.addaudithook(self._record)
            self._added = True
        self.events, self.folder = [], os.path.realpath(folder)

    def _record(self, event: str, arguments: tuple) -> None:
        if not self.folder:
            return
        if event in _FORBIDDEN:
            is_fault = True
        elif event == 'open':
            path, mode, flags = arguments
            is_written = (
                flags & _WRITING if isinstance(flags, int) else set(mode or '') & set('wax+')
            )
            is_fault = bool(is_written) and self._is_outside(path)
        elif event in _CHANGES:
            count, has_directory = _CHANGES[event]
            # relative to an open directory, which was made in the folder or was not changed
            is_relative = has_directory and arguments[-1] not in (-1, None)
            is_fault = not is_relative and any(map(self._is_outside, arguments[:count]))
        else:
            is_fault = False
        if is_fault:
            self.events.append(f'{event} {arguments!r:.200}')

    def _is_outside(self, path: object) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False  # an open file
        path = os.path.realpath(os.fsdecode(path))
        if path == os.devnull or _is_in(path, self.folder):
            return False
        # A reader may import modules of installed packages, which Python compiles.
        return '__pycache__' not in Path(path).parts or not any(
            _is_in(path, root) for root in _CODE
        )


def _is_in(path: str, folder: str) -> bool:
    """Return whether a path is a folder or in it, both without links."""
    return path == folder or path.startswith(os.path.join(folder, ''))


#: events of programs, connections and pickles that run code
_FORBIDDEN = {
    *('pickle.find_class', 'os.system', 'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn'),
    *('os.spawn', 'subprocess.Popen', 'socket.connect', 'socket.bind'),
}
#: events of changes of files → number of the paths at the start of their arguments, and whether the
#: last argument is the descriptor of a directory
_CHANGES = {
    **dict.fromkeys(
        ('os.remove', 'os.rmdir', 'os.mkdir', 'os.chmod', 'os.chown', 'os.utime'), (1, True)
    ),
    **dict.fromkeys(('os.truncate', 'os.setxattr', 'os.removexattr'), (1, False)),
    **dict.fromkeys(('os.rename', 'os.link', 'os.symlink'), (2, True)),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
#: folders with Python code, in whose `__pycache__` files may be written
_CODE = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, CORPUS.parents[2])}
_WATCH = _Watch()


@contextmanager
def only_inside(folder: Path) -> Iterator[None]:
    """Check that nothing outside a directory is changed, and that no foreign code is run."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    _WATCH.start(folder)
    try:
        yield
    finally:
        _WATCH.folder, tempfile.tempdir = '', before
        assert not _WATCH.events, _WATCH.events


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


def _read_keypoints(folder: Path) -> None:
    """Write the metainfo of annotated keypoints: a Python file, which contains only values."""
    file = read_keypoint_file(str(folder / 'annotations.json'))
    out = folder / 'metainfo.py'
    write_metainfo(str(out), 'five', file, default_sigmas(file.names))
    statements = ast.parse(out.read_bytes()).body
    assert len(statements) == 1, statements
    written = read_assignments(out)['dataset_info']
    assert tuple(info['name'] for info in written['keypoint_info'].values()) == file.names
    assert len(written['sigmas']) == len(file.names)


def _read_training_state(folder: Path) -> None:
    """Resume a run in the order of `PoseRunner.resume`, and continue it."""
    path = str(folder / 'iter_3.pth')
    checkpoint = read_checkpoint(path)
    get_metainfo(checkpoint, path)
    meta = check_training_state(checkpoint, path)
    check_limits(meta, dict(max_iters=8), path)
    model = toy_model()
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    schedules = [MultiStepLR(wrapper, milestones=[3, 6], by_epoch=False)]
    check_optimizer(wrapper, checkpoint['optimizer'], path, meta['iter'])
    check_schedules(schedules, checkpoint.get('param_schedulers'), path)
    load_weights(model, get_weights(checkpoint), path)
    load_hub(MessageHub('fuzzing'), checkpoint['message_hub'])
    wrapper.load_state_dict(copy_tensors(checkpoint['optimizer']))
    load_schedules(schedules, checkpoint.get('param_schedulers'))
    dataset_differences(meta.get('dataset_meta'), dict(_METAINFO))
    model(torch.ones(2, 3)).sum().backward()
    wrapper.step()
    schedules[0].step()


def toy_model() -> torch.nn.Module:
    """Return a model with buffers and few weights."""
    return torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))


def _read_run_config(folder: Path) -> None:
    """Find the files of a test run by its config, which is parsed and not executed."""
    _truth(folder)
    (folder / 'test.keypoints.json').write_text(json.dumps(damaged_coco.results()))
    before = Path.cwd()
    os.chdir(folder)  # the paths in the config are relative
    try:
        sources = find_sources('.')
        read_run(sources)
    finally:
        os.chdir(before)


def _read_report(folder: Path) -> None:
    """Write a report about results."""
    truth = folder / 'truth.json'
    truth.write_text(json.dumps(damaged_coco.annotations(2)))
    sources = Sources(folder / 'results.json', truth, None, None)
    make_report(sources, str(folder / 'report.html'))


def _read_log(folder: Path) -> None:
    """Read the log of a training run, and draw its curves as in a report."""
    place = folder / 'time' / 'vis_data'
    place.mkdir(parents=True)
    (folder / 'scalars.json').rename(place / 'scalars.json')
    log = read_log(folder)
    for curve in log.curves:
        assert all(map(math.isfinite, curve.values)), curve
        charts.training_curve(curve.name, curve.data, curve.steps, curve.values)
    read_scalars(str(folder))


def _read_image(folder: Path) -> None:
    path = folder / 'image'
    is_truncated(path)
    width, height = image_size(path)
    image = read_image(path)
    assert image.shape == (height, width, 3)


TARGETS = {
    target.name: target
    for target in (
        Target('checkpoint', 'model.pth', 'binary', _read_checkpoint),
        Target('annotations', 'annotations.json', 'json', _read_annotations),
        Target('results', 'results.json', 'json', _read_results),
        Target('detections', 'detections.json', 'json', _read_detections),
        Target('boxes', 'boxes.json', 'json', _read_boxes),
        Target('metafile', 'metafile.yml', 'yaml', _read_metafile, 250),
        Target('journal', JOURNAL, 'lines', _read_journal),
        Target('variables', 'config.py', 'python', _read_variables),
        Target('keypoints', 'annotations.json', 'json', _read_keypoints),
        Target('training_state', 'iter_3.pth', 'checkpoint', _read_training_state, 600),
        Target('run_config', 'config.py', 'python', _read_run_config, 300),
        Target('report', 'results.json', 'json', _read_report, 50),
        Target('log', 'scalars.json', 'lines', _read_log),
        Target('image', 'image', 'image', _read_image),
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
