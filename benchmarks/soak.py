"""Soak test: train and predict for hours, and record memory, file handles and threads."""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import torch

import pose_backbones
from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.errors import PoseBackbonesError, WorkDirError
from pose_backbones.inference.video_writer import VideoWriter
from pose_backbones.synthetic import make_synthetic_coco

from ._measure import markdown_head, markdown_row

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
_ROOT = Path(__file__).parents[1]
#: part of the samples, at the start, in which caches fill up
WARM_UP = 0.25
#: growth after the warm-up that is accepted: relative, and the least amount (memory in MB)
_RATIO, _LEAST = 0.05, dict(memory=20, handles=3, threads=3, processes=0)
_GROUP_SIZE = 100  # links in a directory


@dataclass(frozen=True)
class Sample:
    """Resources of a process and its descendants.

    Args:
        seconds: Time since the start.
        memory: Proportional set size in MB; memory that processes share is counted once.
        handles: Number of open file descriptors, without those of batches of data workers.
        threads: Number of threads.
        processes: Number of processes.
    """

    seconds: float
    memory: float
    handles: int
    threads: int
    processes: int


@dataclass(frozen=True)
class Growth:
    """Difference between the end of a run and its part after the warm-up.

    Both have the median of the memory, the lower quartile of the handles, and the least number of
    threads and processes. A video needs more threads and handles for a while, so that only the low
    numbers are comparable; a leak increases them, too.

    Args:
        start: Of the first third of the samples after the warm-up.
        end: Of the last third.
    """

    start: Sample
    end: Sample

    def problems(self) -> list[str]:
        """Describe the resources that grew by more than the accepted amount."""
        problems = []
        for name, least in _LEAST.items():
            start, end = getattr(self.start, name), getattr(self.end, name)
            if end - start > max(least, int(_RATIO * start)):
                problems.append(f'{name}{" in MB" * (name == "memory")}: {start:.0f} → {end:.0f}')
        return problems


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.soak`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.soak',
        description='Run training and inference for a long time on synthetic people, and record '
        'their memory, file handles and threads. Writes OUT/TASK.csv and OUT/soak.png. The exit '
        'status is 1 if one of them grows.',
        epilog='Tasks: training (tools/train.py with two data workers, validation and '
        'checkpoints), inference (tools/infer.py on one long video with tracking and a very large '
        'directory of images), service (one process that calls PoseInferencer and tools/infer.py '
        'again and again). Linux only.',
    )
    parser.add_argument('tasks', nargs='+', choices=TASKS, metavar='TASK', help=', '.join(TASKS))
    parser.add_argument('--minutes', type=float, default=120, metavar='N', help='default: 120')
    parser.add_argument(
        '--interval', type=float, default=10, metavar='S', help='seconds between samples'
    )
    parser.add_argument(
        '--frames', type=int, default=20_000, metavar='N', help='of the video (default: 20000)'
    )
    parser.add_argument(
        '--links',
        type=int,
        default=300_000,
        metavar='N',
        help='size of the directory of images (default: 300000 hard links)',
    )
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='output directory')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m benchmarks.soak`.

    Args:
        argv: Arguments; None means those of the command line.

    Returns:
        1 if the resources of a task grow, otherwise 0.
    """
    args = parse_args(argv)
    check_counts(args, 'frames', 'links')
    out = args.out.resolve()
    if any((out / task).exists() for task in args.tasks):
        raise WorkDirError(f'--out {args.out} has results of an earlier run: remove them')
    inputs = make_inputs(out / 'inputs', args.frames, args.links, 'inference' in args.tasks)
    processes = {task: start_task(task, inputs, out / task) for task in args.tasks}
    try:
        wait_for_work(processes, out)
        samples = sample_processes(processes, args.minutes * 60, args.interval)
    finally:
        stop(processes.values())
    print('\n'.join(markdown_head(['task', 'minutes', *_titles()])))
    problems, notes = [], []
    for task, values in samples.items():
        write_samples(out / f'{task}.csv', values)
        growth = measure_growth(values)
        problems += (f'{task}: {problem}' for problem in growth.problems())
        print(_row(task, values[-1].seconds / 60, growth))
        if unread := len(values) - len(readable(values)):
            notes.append(
                f'{task}: left out {unread} of {len(values)} samples, in which the process could '
                'not be read'
            )
    plot_samples(out / 'soak.png', samples)
    print('\n'.join([*notes, *(problems or ['no growth'])]))
    return int(bool(problems))


def _titles() -> list[str]:
    return ['memory in MB', *(field.name for field in fields(Sample)[2:])]


def _row(task: str, minutes: float, growth: Growth) -> str:
    pairs = zip(astuple(growth.start)[1:], astuple(growth.end)[1:], strict=True)
    return markdown_row(
        [task, f'{minutes:.0f}', *(f'{start:.0f} → {end:.0f}' for start, end in pairs)]
    )


@dataclass(frozen=True)
class Inputs:
    """Files of the tasks.

    Args:
        data: Synthetic dataset in COCO's format.
        weights: Checkpoint of `MODEL` with random weights.
        video: Long video.
        clip: Short video.
        links: Directory of many images.
    """

    data: Path
    weights: Path
    video: Path
    clip: Path
    links: Path


def make_inputs(folder: Path, frames: int, links: int, long: bool = True) -> Inputs:
    """Generate the files of the tasks.

    Args:
        folder: Output directory.
        frames: Number of frames of the long video.
        links: Number of images in the large directory, which are links to a few files.
        long: Whether the long video and the large directory are needed.
    """
    inputs = Inputs(
        folder / 'data',
        folder / 'weights.pth',
        folder / 'video.mp4',
        folder / 'clip.mp4',
        folder / 'links',
    )
    make_synthetic_coco(inputs.data, 48, 16, seed=7)
    torch.manual_seed(0)
    torch.save(dict(state_dict=pose_backbones.build(MODEL).state_dict()), inputs.weights)
    images = sorted((inputs.data / 'train').iterdir())
    _write_video(inputs.clip, images, 40)
    if long:
        _write_video(inputs.video, images, frames)
        for index in range(links):
            group = inputs.links / f'{index // _GROUP_SIZE:05d}'
            group.mkdir(parents=True, exist_ok=True)
            (group / f'{index:08d}.jpg').hardlink_to(images[index % len(images)])
    return inputs


def _write_video(path: Path, images: Sequence[Path], frames: int) -> None:
    """Write a video that shows each image for ten frames."""
    scaled = [cv2.resize(cv2.imread(str(image)), (160, 120)) for image in images]
    with VideoWriter(path, (160, 120), 25) as writer:
        for index in range(frames):
            writer.write(scaled[index // 10 % len(scaled)])


def start_task(task: str, inputs: Inputs, out: Path) -> subprocess.Popen:
    """Start a task in its own process group, with its output in OUT.log."""
    command = [*map(str, TASKS[task](inputs, out))]
    # glibc creates an arena for each new thread, up to 8 per core, and each keeps freed memory.
    # With few arenas, the memory is constant after a minute instead of several.
    variables = {'MALLOC_ARENA_MAX': '2', **os.environ}
    with out.with_name(f'{out.name}.log').open('w') as log:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=_ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )


def _training(inputs: Inputs, out: Path) -> Iterable[str | Path]:
    return (
        'tools/train.py',
        f'configs/moganet/{MODEL}.py',
        '--data-root',
        inputs.data,
        '--work-dir',
        out,
        '--cfg-options',
        'train_cfg.max_iters=100000000',
        'train_cfg.val_interval=20',
        'default_hooks.checkpoint.interval=20',
        'train_dataloader.num_workers=2',
        'train_dataloader.persistent_workers=True',
        'val_dataloader.num_workers=1',
        'val_dataloader.persistent_workers=True',
    )


def _inference(inputs: Inputs, out: Path) -> Iterable[str | Path]:
    return (
        'tools/infer.py',
        inputs.video,
        inputs.links / '**/*.jpg',
        *('--model', MODEL, '--weights', inputs.weights, '--out', out),
        *('--track', '--smooth', '--draw', 'videos'),
    )


def _service(inputs: Inputs, out: Path) -> Iterable[str | Path]:
    return ('-m', 'benchmarks.soak_service', inputs.weights, inputs.data, inputs.clip, out)


#: name → function that returns the arguments of the interpreter
TASKS: dict[str, Callable[[Inputs, Path], Iterable[str | Path]]] = {
    'training': _training,
    'inference': _inference,
    'service': _service,
}


#: task → file and text that it contains as soon as models and data workers have been used, by the
#: service several times
_READY_TEXTS = {
    'training': ('training.log', 'Iter(val)'),
    'inference': ('inference/journal.jsonl', '"keypoints"'),
    'service': ('service.log', 'round 5:'),
}


def wait_for_work(processes: dict[str, subprocess.Popen], out: Path, timeout: float = 600) -> None:
    """Wait until each task has loaded its model and data, and uses them.

    Args:
        processes: Task → process.
        out: Output directory of the tasks.
        timeout: Seconds after which an error is raised.

    Raises:
        PoseBackbonesError: If a task ends or does not start to work.
    """
    deadline = time.monotonic() + timeout
    for task, (name, text) in _READY_TEXTS.items():
        while task in processes and not ((out / name).is_file() and _has(out / name, text)):
            _check_runs(task, processes[task])
            if time.monotonic() > deadline:
                raise PoseBackbonesError(f'{task} did nothing for {timeout:g} s, see {task}.log')
            time.sleep(0.5)


def _has(path: Path, text: str) -> bool:
    return text in path.read_text(errors='replace')


def _check_runs(task: str, process: subprocess.Popen) -> None:
    if process.poll() is not None:
        raise PoseBackbonesError(
            f'{task} ended with exit status {process.returncode}, see {task}.log'
        )


def sample_processes(
    processes: dict[str, subprocess.Popen], seconds: float, interval: float
) -> dict[str, list[Sample]]:
    """Record the resources of running tasks.

    Args:
        processes: Task → process.
        seconds: Duration.
        interval: Seconds between samples.

    Raises:
        PoseBackbonesError: If a task ends before.
    """
    start = time.monotonic()
    samples = {task: [] for task in processes}
    while time.monotonic() - start < seconds:
        time.sleep(interval)
        for task, process in processes.items():
            _check_runs(task, process)
            samples[task].append(measure(process.pid, time.monotonic() - start))
    return samples


def stop(processes: Iterable[subprocess.Popen], timeout: float = 60) -> None:
    """Stop processes with SIGTERM, and their groups with SIGKILL after a time in seconds."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def measure(pid: int, seconds: float = 0.0) -> Sample:
    """Return the resources of a process and its descendants.

    Args:
        pid: ID of the process.
        seconds: Time of the sample.

    Returns:
        A sample without processes if the process cannot be read.
    """
    totals = [0.0, 0, 0, 0]
    pids = [pid]
    for pid in pids:  # grows in the loop
        proc = Path(f'/proc/{pid}')
        try:
            memory = _kilobytes(proc / 'smaps_rollup', 'Pss') / 1024
            threads = list((proc / 'task').iterdir())
            handles = sum(not _is_batch(file) for file in (proc / 'fd').iterdir())
        except OSError:  # the process has ended
            continue
        for thread in threads:
            with suppress(OSError):  # the thread has ended
                pids += map(int, (thread / 'children').read_text().split())
        totals = [a + b for a, b in zip(totals, (memory, handles, len(threads), 1), strict=True)]
    return Sample(round(seconds, 1), *totals)


def _is_batch(handle: Path) -> bool:
    """Return whether a handle is the shared memory of a tensor that a data worker passes on.

    Their number depends on how many batches are waiting. Batches that are never released increase
    the memory.
    """
    try:
        return os.readlink(handle).startswith('/dev/shm/torch_')
    except OSError:  # it has been closed
        return True


def _kilobytes(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1])
    raise OSError(f'{path} has no line {name}')


def readable(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples in which the process could be read."""
    return [sample for sample in samples if sample.processes]


def measure_growth(samples: Sequence[Sample]) -> Growth:
    """Compare the samples at the end with those after the warm-up.

    Args:
        samples: Samples in the order of time; those without processes are left out.

    Raises:
        PoseBackbonesError: If the process could not be read in any sample.
    """
    samples = readable(samples)
    if not samples:
        raise PoseBackbonesError(
            'the process could not be read in any sample: read /proc with the permissions of its '
            'user, and choose a shorter --interval'
        )
    samples = samples[round(WARM_UP * len(samples)) :]
    third = max(1, len(samples) // 3)
    return Growth(_summarize(samples[:third]), _summarize(samples[-third:]))


def _summarize(samples: Sequence[Sample]) -> Sample:
    seconds, memory, handles, threads, processes = zip(*map(astuple, samples), strict=True)
    quartile = sorted(handles)[len(handles) // 4]
    return Sample(seconds[-1], statistics.median(memory), quartile, min(threads), min(processes))


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as a CSV file."""
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Sample))
        writer.writerows(map(astuple, samples))


def plot_samples(path: Path, samples: dict[str, Sequence[Sample]]) -> None:
    """Plot memory, handles and threads over time as a PNG file, one row for each task."""
    from matplotlib.figure import Figure

    figure = Figure((9, 0.6 + 2 * len(samples)), layout='constrained')
    rows = figure.subplots(len(samples), 3, squeeze=False)
    for (task, values), row in zip(samples.items(), rows, strict=True):
        values = readable(values)
        minutes = [sample.seconds / 60 for sample in values]
        for axes, field, title in zip(row, fields(Sample)[1:4], _titles(), strict=False):
            axes.plot(minutes, [getattr(sample, field.name) for sample in values], linewidth=0.8)
            axes.set(title=f'{task}: {title}', xlim=(0, None), ylim=(0, None))
            axes.grid(alpha=0.3)
    for axes in rows[-1]:
        axes.set_xlabel('minutes')
    figure.savefig(path, dpi=90)


if __name__ == '__main__':
    run(main)
