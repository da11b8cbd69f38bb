"""Evaluation of a checkpoint: what `tools/test.py` runs."""

import argparse
from pathlib import Path

import mmengine
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpose.registry import METRICS

from ..utils.checkpoint import read_checkpoint
from ..utils.errors import ConfigError
from . import checks
from .cli import add_common_options, keep_local_rank
from .config import as_list, load_config, merge_options
from .train import build_runner, load_dataset, require_gpu

#: names of metrics in MMPose 0.x → today's classes
OLD_METRICS = {
    'mAP': ('CocoMetric', 'CocoWholeBodyMetric', 'PoseTrack18Metric'),
    'PCK': ('PCKAccuracy', 'JhmdbPCKAccuracy'),
    'PCKh': ('MpiiPCKAccuracy', ),
    'tPCK': ('JhmdbPCKAccuracy', ),
    'AUC': ('AUC', ),
    'EPE': ('EPE', ),
    'NME': ('NME', ),
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/test.py`."""
    parser = argparse.ArgumentParser(
        description='Evaluate a checkpoint of a pose model.', prog='test.py')
    parser.add_argument('config', help='a config file')
    parser.add_argument('checkpoint', help='a checkpoint, file or URL')
    parser.add_argument(
        '--out', metavar='FILE',
        help='write the metrics here (.json, .yml or .pkl)')
    parser.add_argument(
        '--dump', metavar='FILE',
        help='write the predictions here (.pkl), for offline evaluation')
    parser.add_argument(
        '--eval', nargs='+', metavar='METRIC', choices=tuple(OLD_METRICS),
        help="compute only these of the config's metrics, by their names "
        f'in MMPose 0.x: {", ".join(OLD_METRICS)}')
    parser.add_argument(
        '--badcase', action='store_true',
        help='collect the worst samples (BadCaseAnalysisHook)')
    add_common_options(parser)
    return parser.parse_args(argv)


def merge_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of `tools/test.py` to a config, in place.

    Args:
        cfg: A config.
        args: From `parse_args`.

    Raises:
        ConfigError: If an option does not go with the config.
    """
    if args.amp:
        require_gpu()
        cfg.test_cfg.fp16 = True
    if args.work_dir is None and cfg.get('work_dir') is None:
        # Beside, not among, the files of a training run.
        args.work_dir = str(Path('work_dirs', Path(args.config).stem, 'test'))
    merge_options(cfg, args)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    checks.check_types(cfg)
    if args.eval:
        cfg.test_evaluator = select_metrics(cfg.test_evaluator, args.eval)
    if args.badcase:
        _enable_badcase(cfg, args)
    if args.dump is not None:
        cfg.test_evaluator = as_list(cfg.test_evaluator) + [
            dict(type='DumpResults', out_file_path=args.dump)
        ]


def select_metrics(evaluator, names: list[str]) -> list[dict]:
    """Keep the metrics of the old names.

    Args:
        evaluator: `test_evaluator` of a config: one metric or a list.
        names: Keys of `OLD_METRICS`.

    Returns:
        The metrics asked for.

    Raises:
        ConfigError: If the config has none of a name.
    """
    kept = []
    for name in names:
        known = [METRICS.get(kind) for kind in OLD_METRICS[name]]
        known = tuple(kind for kind in known if kind is not None)
        found = [metric for metric in as_list(evaluator)
                 if issubclass(METRICS.get(metric['type']), known)]
        if not found:
            has = ', '.join(str(m['type']) for m in as_list(evaluator))
            raise ConfigError(
                f'--eval {name}: the config has no such metric, only '
                f'{has or "none"} (test_evaluator)')
        kept += [metric for metric in found if metric not in kept]
    return kept


def _enable_badcase(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('badcase')
    if hook is None:
        raise ConfigError(
            '--badcase needs the hook BadCaseAnalysisHook in default_hooks: '
            "badcase=dict(type='BadCaseAnalysisHook', out_dir='badcase')")
    hook.update(enable=True, show=args.show, interval=args.interval)
    if args.show:
        hook.wait_time = args.wait_time
    if not hook.get('metric'):
        by_loss = hook.get('metric_type', 'loss') == 'loss'
        hook.metric = cfg.model.head.loss if by_loss else cfg.test_evaluator


class SaveMetrics(Hook):
    """Writes the metrics of a test run to a file.

    Args:
        path: Of the file; its ending says the format.
    """

    priority = 'LOWEST'

    def __init__(self, path: str):
        self.path = path

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Write them, in one process."""
        if metrics is not None and runner.rank == 0:
            mmengine.dump({name: float(value)
                           for name, value in metrics.items()}, self.path)
            print_log(f'Metrics written to {self.path}', logger='current')


def evaluate(cfg: Config, out: str | None = None) -> dict[str, float]:
    """Check a config and evaluate its `load_from` checkpoint.

    Args:
        cfg: A config as `merge_test_options` leaves it.
        out: File for the metrics.

    Returns:
        Metric → value.

    Raises:
        PoseBackbonesError: If something is wrong that shows before the test.
    """
    checks.check_datasets(cfg, ['test'])
    read_checkpoint(cfg.load_from)
    runner = build_runner(cfg)
    checks.check_input_size(cfg, runner.model)
    checks.check_keypoints(cfg, load_dataset(runner, 'test'), 'test')
    if out is not None:
        runner.register_hook(SaveMetrics(out))
    return runner.test()


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/test.py`."""
    args = parse_args(argv)
    keep_local_rank(args)
    checks.check_output(args.out, '--out', ('.json', '.yml', '.yaml', '.pkl'))
    checks.check_output(args.dump, '--dump', ('.pkl', '.pickle'))
    cfg = load_config(args.config)
    merge_test_options(cfg, args)
    evaluate(cfg, out=args.out)
