"""Timing, peak memory and Markdown tables of the benchmarks."""

import json
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import torch

from pose_backbones.utils.files import atomic_write

#: names in /proc/cpuinfo of instructions that matter for the speed of models
_INSTRUCTIONS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8')


def device() -> str:
    """Return the device of the benchmarks: a GPU if there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def device_name() -> str:
    """Return a description of the device for tables."""
    if device() == 'cuda':
        return torch.cuda.get_device_name()
    return f'a CPU, threads: {torch.get_num_threads()}'


def machine() -> dict[str, object]:
    """Return what is known about the machine and the packages, for JSON files of measurements."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    flags = next((line.split() for line in lines if line.startswith('flags')), [])
    packages = ('torch', 'openvino', 'onnxruntime', 'mmpose', 'numpy')
    return dict(
        processor=names[0] if names else platform.processor(),
        instructions=[name for name in _INSTRUCTIONS if name in flags],
        cores=os.cpu_count(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        **{name: _version(name) for name in packages},
    )


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def write_json(path: str | Path, content: dict | list) -> None:
    """Write measurements, the value of `--json`, atomically."""
    with atomic_write(Path(path)) as draft:
        draft.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def timed(task: Callable, *args) -> tuple[object, float]:
    """Run a task and measure its time.

    Args:
        task: Function that is called with `args`.

    Returns:
        The result and the time in seconds, including work on the GPU.
    """
    _synchronize()
    start = time.perf_counter()
    result = task(*args)
    _synchronize()
    return result, time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def number_of_threads(count: int) -> Iterator[None]:
    """Let PyTorch use a number of threads on the CPU within a `with` statement."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def median_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of times of the same round."""
    return statistics.median(first / second for first, second in zip(seconds, others, strict=True))


def milliseconds(seconds: Sequence[float], digits: int = 1) -> str:
    """Return the median of times in seconds as text, in milliseconds."""
    return f'{1e3 * statistics.median(seconds):.{digits}f}'


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return f'| {" | ".join(cells)} |'


def markdown_head(titles: Sequence[str]) -> list[str]:
    """Return the first two lines of a Markdown table with right-aligned columns."""
    return [markdown_row(titles), markdown_row(['---:'] * len(titles))]


def in_new_process(task: Callable, *args):
    """Return the result of a function that runs in a new process.

    Args:
        task: A function of a module.
        args: Its arguments; like the result, they must be picklable.
    """
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:
        return pool.submit(task, *args).result()


def peak_memory() -> int:
    """Return the largest number of resident bytes of this process so far, or since a reset."""
    status = Path('/proc/self/status')
    if status.exists():  # getrusage would include the memory of the parent process
        peak = re.search(r'^VmHWM:\s+(\d+) kB$', status.read_text(), re.M)
        return 1024 * int(peak[1])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == 'darwin' else 1024 * used


def current_memory() -> int:
    """Return the resident bytes of this process, or the peak if they are not available."""
    status = Path('/proc/self/statm')
    if not status.is_file():
        return peak_memory()
    return int(status.read_text().split()[1]) * resource.getpagesize()
