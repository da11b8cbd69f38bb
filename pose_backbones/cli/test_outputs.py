"""What a test run writes: tried before the test, written whole after it.

Metrics have been shown by then, so that a disk that is full costs a file and
not the results of the test.
"""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import mmengine
import torch.distributed as dist
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..configs import as_list
from ..errors import WorkDirError
from ..utils.files import (
    atomic_write,
    check_output_file,
    check_writable_dir,
    open_regular,
    os_error_reason,
)

_METRICS_BYTES = 1 << 16  # more than a file of metrics has
#: what metrics are told to write to; all other paths of a config are read
_OUTPUTS = ('out_file_path', 'outfile', 'outfile_prefix')


def check_outputs(
    cfg: Config, out: str | None, dump: str | None, config: str, checkpoint: str
) -> None:
    """Try everything that a test is to write, before any work.

    Args:
        cfg: The config of the test.
        out, dump: Of `--out` and `--dump`.
        config, checkpoint: Files that are read, as is what `cfg` names.

    Raises:
        WorkDirError: For what cannot be written, or would overwrite an input
            or another output.
    """
    inputs = [
        config,
        checkpoint,
        *_files(cfg.model),
        *_files(cfg.test_dataloader),
        *_files(cfg.test_evaluator),
    ]
    files = [(out, '--out'), (dump, '--dump')]
    for metric in as_list(cfg.test_evaluator):
        prefix = metric.get('outfile_prefix')
        files += [
            (metric.get('outfile'), 'outfile of the test_evaluator'),
            (prefix and f'{prefix}.keypoints.json', 'outfile_prefix of the test_evaluator'),
        ]
    seen: dict[str, str] = {}
    for path, option in files:
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise WorkDirError(
                f'{seen[real]} and {option} are the same file, {path}: choose another name for one'
            )
        seen[real] = option
        check_output_file(path, option, inputs, overwrite=True)
        _check_replaced(path, option)
    check_writable_dir(Path(cfg.work_dir), '--work-dir')
    hook = cfg.get('default_hooks', {}).get('visualization') or {}
    if hook.get('enable') and hook.get('out_dir'):
        folder = Path(cfg.work_dir, hook.out_dir)
        for one in inputs:
            if os.path.isdir(one) and folder.is_dir() and (os.path.samefile(one, folder)):
                raise WorkDirError(
                    f'--show-dir {folder} is a directory of the data set: choose another one'
                )
        check_writable_dir(folder, '--show-dir')


def _check_replaced(path: str, option: str) -> None:
    """Refuse to replace a file that no test run has written.

    Args:
        path: Of an output, which may exist.
        option: That names it.

    Raises:
        WorkDirError: If a file is there that is of another kind: metrics are
            a dict of numbers, detections a list, dumps a pickle.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        return
    ending = Path(path).suffix
    with open_regular(path, 'output', WorkDirError) as file:
        begin = file.read(_METRICS_BYTES)
        if ending in ('.pkl', '.pickle'):
            own = begin.startswith(b'\x80')
        elif option.startswith('outfile'):
            own = begin.lstrip().startswith(b'[')
        else:
            own = not file.read(1) and _are_metrics(begin, ending)
    if not own:
        raise WorkDirError(
            f'{option} {path} is a file that no test has written: choose another name, or remove it'
        )


def _are_metrics(content: bytes, ending: str) -> bool:
    try:
        found = mmengine.load(io.StringIO(content.decode()), file_format=ending[1:])
    except Exception:  # of JSON's or YAML's parser
        return False
    return isinstance(found, dict) and all(
        isinstance(value, (int, float)) for value in found.values()
    )


def _files(value, root: str = '') -> Iterator[str]:
    """The paths in a part of a config, which may name what is not there."""
    if isinstance(value, str):
        yield value
        yield os.path.join(root, value)
    elif isinstance(value, dict):
        root = value.get('data_root') or root
        for key, item in value.items():
            if key not in _OUTPUTS:
                yield from _files(item, root)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _files(item, root)


class _KeepMetrics(Hook):
    """Has the metrics before other hooks do something with them."""

    priority = 'VERY_HIGH'
    metrics: dict | None = None

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        self.metrics = metrics


class TestOutputs:
    """Writes what a test leaves, after its metrics have been shown.

    Args:
        runner: Of the test; what its metrics and hooks write is held back.
        out: File for the metrics; its ending says the format.
    """

    __test__ = False  # for pytest

    def __init__(self, runner: Runner, out: str | None):
        self._runner = runner
        self._out = out
        self._errors: list[str] = []
        self._dumps: list[tuple[str, list]] = []
        self._kept = _KeepMetrics()

    def test(self) -> dict[str, float]:
        """Run the test and write the outputs.

        Returns:
            Metric → value.

        Raises:
            WorkDirError: With everything that could not be written, in any
                process; the rest is there.
        """
        with self._held_back() as prefixes:
            self._runner.register_hook(self._kept)
            try:
                self._runner.test()
            except OSError as error:
                if self._kept.metrics is None:
                    raise
                self._note(error.filename or self._runner.work_dir, error)
            if self._runner.rank == 0:
                self._write(prefixes)
        errors = [self._errors]
        if dist.is_initialized():
            errors = [[]] * dist.get_world_size()
            dist.all_gather_object(errors, self._errors)
        if any(errors):
            text = '; '.join(dict.fromkeys(chain(*errors)))
            raise WorkDirError(f'{text}. The metrics were printed above and are not lost')
        return self._kept.metrics

    def _note(self, path, error: OSError) -> None:
        self._errors.append(f'{path} cannot be written: {os_error_reason(error)}')

    @contextmanager
    def _held_back(self) -> Iterator[dict[str, str]]:
        """Keep metrics and hooks from writing to their outputs.

        Yields:
            Prefix of temporary files of a metric → where they belong.
        """
        prefixes = {}
        metrics = self._runner.test_evaluator.metrics
        with TemporaryDirectory() as folder:
            for number, metric in enumerate(metrics):
                if isinstance(metric, DumpResults):
                    self._hold_dump(metric)
                    continue
                prefix = getattr(metric, 'outfile_prefix', None)
                if prefix and not getattr(metric, 'format_only', False):
                    metric.outfile_prefix = str(Path(folder, f'{number}'))
                    prefixes[metric.outfile_prefix] = prefix
            with self._drawn_whole():
                yield prefixes

    def _hold_dump(self, metric: DumpResults) -> None:
        def keep(results: list) -> dict:
            self._dumps.append((metric.out_file_path, results))
            return {}

        metric.compute_metrics = keep

    @contextmanager
    def _drawn_whole(self) -> Iterator[None]:
        """Have drawings written whole, as long as there is room."""
        visualizer = self._runner.visualizer
        draw = visualizer.add_datasample
        full = False

        def add_datasample(*args, out_file: str | None = None, **kwargs):
            nonlocal full
            if out_file is None or full:
                return draw(*args, **kwargs)
            path = Path(out_file)
            draft = path.with_name(f'.{os.getpid()}.part{path.suffix}')
            try:
                with atomic_write(path, durable=False, draft=draft):
                    return draw(*args, out_file=str(draft), **kwargs)
            except OSError as error:
                full = True
                self._note(path, error)
                return None

        visualizer.add_datasample = add_datasample
        try:
            yield
        finally:
            del visualizer.add_datasample

    def _write(self, prefixes: dict[str, str]) -> None:
        for prefix, place in prefixes.items():
            for file in Path(prefix).parent.glob(f'{Path(prefix).name}.*'):
                path = place + file.name.removeprefix(Path(prefix).name)
                with self._whole(path) as draft:
                    shutil.copyfile(file, draft)
        for path, results in self._dumps:
            with self._whole(path) as draft:
                mmengine.dump(results, draft, file_format='pkl')
                print_log(f'Predictions are written to {path}', logger='current')
        if self._out is not None:
            with self._whole(self._out) as draft:
                mmengine.dump(
                    {name: float(value) for name, value in self._kept.metrics.items()},
                    draft,
                    file_format=Path(self._out).suffix[1:],
                )
                print_log(f'Metrics are written to {self._out}', logger='current')

    @contextmanager
    def _whole(self, path: str) -> Iterator[Path]:
        """Write a file as a whole, or note why that is not possible."""
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(Path(path)) as draft:
                yield draft
        except OSError as error:
            self._note(path, error)
