"""Command line of `tools/test.py`: evaluate a checkpoint."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmpose.registry import METRICS

from .. import preflight
from ..checkpoints.loading import read_checkpoint
from ..configs import as_list, find_class, load_config, type_name
from ..deploy.estimator import use_exported
from ..deploy.exported import is_exported
from ..engine.runner import build_runner, load_dataset
from ..errors import ConfigError
from ..inference.fused_test import FusedTestHook
from ..utils.option_values import NO_CHECKPOINT
from ..zoo.names import config_path
from .cores import limit_threads
from .format_only import CocoSubmission, check_image_list, enable_format_only
from .options import keep_local_rank, merge_options
from .stopping import when_stopped
from .test_options import OLD_METRICS, parse_args
from .test_outputs import TestOutputs, check_outputs


def merge_test_options(cfg: Config, args: argparse.Namespace) -> CocoSubmission | None:
    """Apply the options of `tools/test.py` to a config, in place.

    Args:
        cfg: The config.
        args: The parsed command line, from `parse_args`.

    Returns:
        The submission to write after the test, for `--format-only` and COCO; otherwise None.

    Raises:
        ConfigError: If an option is not valid for the config or excludes another option.
    """
    _check_format_options(args)
    if args.amp:
        preflight.require_gpu('--amp')
        cfg.test_cfg.fp16 = True
    if args.work_dir is None and cfg.get('work_dir') is None:
        # A subdirectory keeps these files apart from those of a training run.
        args.work_dir = str(Path('work_dirs', Path(args.config).stem, 'test'))
    merge_options(cfg, args)
    cfg.load_from = args.checkpoint
    if args.checkpoint == NO_CHECKPOINT:
        cfg.load_from = None
    cfg.resume = False
    preflight.check_values(cfg, trains=False)
    preflight.check_types(cfg, trains=False)
    preflight.check_checkpoint_argument(cfg)
    if cfg.load_from is not None and is_exported(cfg.load_from):
        use_exported(cfg, cfg.load_from)
    submission = None
    if args.format_only:
        submission = enable_format_only(cfg, args.submission_name)
    if args.eval:
        cfg.test_evaluator = select_metrics(cfg.test_evaluator, args.eval)
    if args.badcase:
        _enable_badcase(cfg, args)
    if args.dump is not None:
        cfg.test_evaluator = as_list(cfg.test_evaluator) + [
            dict(type='DumpResults', out_file_path=args.dump)
        ]
    return submission


def _check_format_options(args: argparse.Namespace) -> None:
    if not args.format_only:
        if args.submission_name is not None:
            raise ConfigError('--submission-name requires --format-only')
        return
    for option in ('out', 'eval', 'badcase'):
        if getattr(args, option):
            raise ConfigError(
                f'--{option} and --format-only exclude each other: no metrics are computed'
            )


def select_metrics(evaluator, names: list[str]) -> list[dict]:
    """Select metrics by their names in MMPose 0.x.

    Args:
        evaluator: `test_evaluator` of a config: one metric or a list.
        names: Keys of `OLD_METRICS`.

    Returns:
        The configs of the selected metrics.

    Raises:
        ConfigError: If the config has no metric of a name.
    """
    selected = []
    for name in names:
        classes = [METRICS.get(kind) for kind in OLD_METRICS[name]]
        classes = tuple(cls for cls in classes if cls is not None)
        matches = [
            metric
            for metric in as_list(evaluator)
            if issubclass(find_class(metric, METRICS), classes)
        ]
        if not matches:
            available = ', '.join(str(m['type']) for m in as_list(evaluator))
            raise ConfigError(
                f'--eval {name}: the config has no such metric, only '
                f'{available or "none"} (test_evaluator)'
            )
        selected += [metric for metric in matches if metric not in selected]
    return selected


def _enable_badcase(cfg: Config, args: argparse.Namespace) -> None:
    """Enable the hook that draws the instances with the worst keypoints.

    If the hook has no metric, set one: a loss on the keypoint coordinates, in squared pixels, or
    the metric of the config.
    """
    hook = cfg.get('default_hooks', {}).get('badcase')
    if hook is None:
        raise ConfigError(
            '--badcase needs the hook BadCaseAnalysisHook in default_hooks: '
            "badcase=dict(type='BadCaseAnalysisHook', out_dir='badcase')"
        )
    hook.update(enable=True, show=args.show, interval=args.interval)
    if args.show:
        hook.wait_time = args.wait_time
    if not hook.get('metric'):
        by_loss = hook.get('metric_type', 'loss') == 'loss'
        hook.metric = _keypoint_loss(cfg) if by_loss else _instance_accuracy(cfg)


def _instance_accuracy(cfg: Config) -> dict:
    """Return the metric of the config, which the hook computes for each instance."""
    metrics = as_list(cfg.test_evaluator)
    if len(metrics) != 1 or not issubclass(
        find_class(metrics[0], METRICS) or object, METRICS.get('PCKAccuracy')
    ):
        types = ', '.join(str(metric['type']) for metric in metrics)
        raise ConfigError(
            "--badcase with metric_type='accuracy' needs a metric that can be computed for a "
            f'single person, but test_evaluator is {types}: set '
            "default_hooks.badcase.metric=dict(type='PCKAccuracy'), and badcase_thr to the "
            'highest accuracy of a bad case'
        )
    return metrics[0]


def _keypoint_loss(cfg: Config) -> dict:
    """Return the loss of the head if it also accepts coordinates, else a `KeypointMSELoss`.

    Not every heatmap loss accepts coordinates, and an ensemble or an MSPN may have no loss.
    """
    loss = (cfg.model.get('head') or {}).get('loss')
    if isinstance(loss, dict) and type_name(loss) == 'KeypointMSELoss':
        return dict(loss, type='KeypointMSELoss')  # the hook needs a name, not a class
    return dict(type='KeypointMSELoss', use_target_weight=True)


def evaluate(
    cfg: Config, out: str | None = None, submission: CocoSubmission | None = None
) -> dict[str, float]:
    """Check a config and evaluate its `load_from` checkpoint.

    Args:
        cfg: A config that `merge_test_options` has changed.
        out: File for the metrics.
        submission: The submission that `merge_test_options` has returned, written after the test.

    Returns:
        Metric → value.

    Raises:
        PoseBackbonesError: If a check before the test fails, or an output cannot be written.
    """
    preflight.check_config(cfg, ['test'])
    if submission is not None:
        check_image_list(cfg, submission)
    if cfg.load_from is not None:
        read_checkpoint(cfg.load_from)
    runner = build_runner(cfg)
    runner.register_hook(FusedTestHook())
    dataset = load_dataset(runner, 'test')
    preflight.check_model(cfg, runner.model, {'test': dataset})
    if submission is not None:
        submission.check_dataset(dataset)
    outputs = TestOutputs(runner, out)
    if submission is None or runner.rank != 0:
        return outputs.test()
    with submission.cleaned_up():  # only in the process that reads the results
        metrics = outputs.test()
        submission.write()
    return metrics


def main(argv: list[str] | None = None) -> None:
    """Evaluate a checkpoint; `argv` defaults to `sys.argv[1:]`."""
    args = parse_args(argv)
    keep_local_rank(args)
    preflight.prepare_output(args.out, '--out', ('.json', '.yml', '.yaml', '.pkl'))
    preflight.prepare_output(args.dump, '--dump', ('.pkl', '.pickle'))
    args.config = config_path(args.config)
    cfg = load_config(args.config)
    submission = merge_test_options(cfg, args)
    check_outputs(cfg, args.out, args.dump, args.config, args.checkpoint)
    if submission is not None:
        submission.check_writable()
    when_stopped(lambda: 'the results are not complete; run the command again')
    limit_threads()
    evaluate(cfg, out=args.out, submission=submission)
