"""Output files of a test: checked before the test, written atomically after it.

The metrics are printed before the files are written, so that a full disk does not lose the results
of a test.
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

_METRICS_BYTES = 1 << 16  # upper bound of the size of a metrics file
#: keys of metrics that name output paths; all other paths of a config are inputs
_OUTPUTS = ('out_file_path', 'outfile', 'outfile_prefix')


def check_outputs(
    cfg: Config, out: str | None, dump: str | None, config: str, checkpoint: str
) -> None:
    """Check that all output files of a test can be written, before the test.

    Args:
        cfg: Config of the test.
        out: Value of `--out`.
        dump: Value of `--dump`.
        config: Path of the config file, an input.
        checkpoint: Path of the checkpoint, an input.

    Raises:
        WorkDirError: If an output is not writable, or would overwrite an input or another output.
    """
    inputs = [
        config,
        checkpoint,
        *_input_paths(cfg.model),
        *_input_paths(cfg.test_dataloader),
        *_input_paths(cfg.test_evaluator),
    ]
    files = [(out, '--out'), (dump, '--dump')]
    for metric in as_list(cfg.test_evaluator):
        prefix = metric.get('outfile_prefix')
        files += [
            (metric.get('outfile'), 'outfile of the test_evaluator'),
            (prefix and f'{prefix}.keypoints.json', 'outfile_prefix of the test_evaluator'),
        ]
    option_of_path: dict[str, str] = {}
    for path, option in files:
        if path is None:
            continue
        real_path = os.path.realpath(path)
        if real_path in option_of_path:
            raise WorkDirError(
                f'{option_of_path[real_path]} and {option} are the same file, {path}: '
                'choose different names'
            )
        option_of_path[real_path] = option
        check_output_file(path, option, inputs, overwrite=True)
        _check_replaced(path, option)
    check_writable_dir(Path(cfg.work_dir), '--work-dir')
    hook = cfg.get('default_hooks', {}).get('visualization') or {}
    if hook.get('enable') and hook.get('out_dir'):
        folder = Path(cfg.work_dir, hook.out_dir)
        for path in inputs:
            if all(map(os.path.isdir, (path, folder))) and os.path.samefile(path, folder):
                raise WorkDirError(
                    f'--show-dir {folder} is a directory of the dataset: choose another one'
                )
        check_writable_dir(folder, '--show-dir')


def _check_replaced(path: str, option: str) -> None:
    """Check that an existing file at the path of an output is an output of a test.

    Metrics are a dict of numbers, detections a list, and dumps a pickle.

    Args:
        path: Path of the output, which may exist.
        option: Name of the option that sets the path, for the message.

    Raises:
        WorkDirError: If the file has another kind of content.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        return
    ending = Path(path).suffix
    with open_regular(path, 'output', WorkDirError) as file:
        begin = file.read(_METRICS_BYTES)
        if ending in ('.pkl', '.pickle'):
            is_output = begin.startswith(b'\x80')
        elif option.startswith('outfile'):
            is_output = begin.lstrip().startswith(b'[')
        else:
            is_output = not file.read(1) and _are_metrics(begin, ending)
    if not is_output:
        raise WorkDirError(
            f'{option} {path} exists and is not an output of a test: choose another name, or '
            'remove it'
        )


def _are_metrics(content: bytes, ending: str) -> bool:
    try:
        metrics = mmengine.load(io.StringIO(content.decode()), file_format=ending[1:])
    except Exception:  # of the JSON or YAML parser
        return False
    return isinstance(metrics, dict) and all(
        isinstance(value, (int, float)) for value in metrics.values()
    )


def _input_paths(value, root: str = '') -> Iterator[str]:
    """Yield all strings in a part of a config as possible paths of inputs."""
    if isinstance(value, str):
        yield value
        yield os.path.join(root, value)
    elif isinstance(value, dict):
        root = value.get('data_root') or root
        for key, item in value.items():
            if key not in _OUTPUTS:
                yield from _input_paths(item, root)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _input_paths(item, root)


class _KeepMetrics(Hook):
    """Hook that keeps the metrics before other hooks use them."""

    priority = 'VERY_HIGH'
    metrics: dict | None = None

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        self.metrics = metrics


class TestOutputs:
    """Writer of the output files of a test, after the metrics are printed.

    Args:
        runner: Runner of the test. The outputs of its metrics are written after the test.
        out: File for the metrics; its suffix sets the format.
    """

    __test__ = False  # for pytest

    def __init__(self, runner: Runner, out: str | None):
        self._runner = runner
        self._out = out
        self._errors: list[str] = []
        self._dumps: list[tuple[str, list]] = []
        self._metrics_hook = _KeepMetrics()

    def test(self) -> dict[str, float]:
        """Run the test and write the outputs.

        Returns:
            Metric → value.

        Raises:
            WorkDirError: If files could not be written, in any process. The message lists all of
                them; the other files are written.
        """
        with self._deferred_outputs() as prefixes:
            self._runner.register_hook(self._metrics_hook)
            try:
                self._runner.test()
            except OSError as error:
                if self._metrics_hook.metrics is None:
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
        return self._metrics_hook.metrics

    def _note(self, path, error: OSError) -> None:
        self._errors.append(f'{path} cannot be written: {os_error_reason(error)}')

    @contextmanager
    def _deferred_outputs(self) -> Iterator[dict[str, str]]:
        """Redirect the outputs of the metrics to temporary files.

        Yields:
            Prefix of the temporary files of a metric → prefix of its outputs.
        """
        prefixes = {}
        metrics = self._runner.test_evaluator.metrics
        with TemporaryDirectory() as folder:
            for number, metric in enumerate(metrics):
                if isinstance(metric, DumpResults):
                    self._defer_dump(metric)
                    continue
                prefix = getattr(metric, 'outfile_prefix', None)
                if prefix and not getattr(metric, 'format_only', False):
                    metric.outfile_prefix = str(Path(folder, f'{number}'))
                    prefixes[metric.outfile_prefix] = prefix
            with self._atomic_drawings():
                yield prefixes

    def _defer_dump(self, metric: DumpResults) -> None:
        def keep(results: list) -> dict:
            self._dumps.append((metric.out_file_path, results))
            return {}

        metric.compute_metrics = keep

    @contextmanager
    def _atomic_drawings(self) -> Iterator[None]:
        """Write drawn images atomically; stop writing them when the disk is full."""
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
        for prefix, target in prefixes.items():
            for file in Path(prefix).parent.glob(f'{Path(prefix).name}.*'):
                path = target + file.name.removeprefix(Path(prefix).name)
                with self._replacing(path) as draft:
                    shutil.copyfile(file, draft)
        for path, results in self._dumps:
            with self._replacing(path) as draft:
                mmengine.dump(results, draft, file_format='pkl')
                print_log(f'Wrote the predictions to {path}', logger='current')
        if self._out is not None:
            with self._replacing(self._out) as draft:
                mmengine.dump(
                    {name: float(value) for name, value in self._metrics_hook.metrics.items()},
                    draft,
                    file_format=Path(self._out).suffix[1:],
                )
                print_log(f'Wrote the metrics to {self._out}', logger='current')

    @contextmanager
    def _replacing(self, path: str) -> Iterator[Path]:
        """Write a file atomically; on an `OSError`, record the error."""
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(Path(path)) as draft:
                yield draft
        except OSError as error:
            self._note(path, error)
