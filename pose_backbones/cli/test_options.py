"""Command-line options of `tools/test.py`."""

import argparse

from ..utils.option_values import NO_CHECKPOINT
from .options import add_common_options

#: name of a metric in MMPose 0.x → classes in MMPose 1.x
OLD_METRICS = {
    'mAP': ('CocoMetric', 'CocoWholeBodyMetric', 'PoseTrack18Metric'),
    'PCK': ('PCKAccuracy', 'JhmdbPCKAccuracy'),
    'PCKh': ('pose_backbones.MpiiPCKh', 'MpiiPCKAccuracy'),
    'tPCK': ('JhmdbPCKAccuracy',),
    'AUC': ('AUC',),
    'EPE': ('EPE',),
    'NME': ('NME',),
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `tools/test.py`."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint of a pose model.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        'checkpoint',
        help='path or URL of a checkpoint, or directory of an exported model; '
        f'{NO_CHECKPOINT} for an ensemble, whose config contains the checkpoints of its '
        'members',
    )
    parser.add_argument(
        '--out', metavar='FILE', help='write the metrics to this file (.json, .yml or .pkl)'
    )
    parser.add_argument(
        '--dump',
        metavar='FILE',
        help='write the predictions to this file (.pkl), for offline evaluation',
    )
    parser.add_argument(
        '--eval',
        nargs='+',
        metavar='METRIC',
        choices=tuple(OLD_METRICS),
        help="compute only these of the config's metrics, by their names in MMPose 0.x: "
        f'{", ".join(OLD_METRICS)}',
    )
    parser.add_argument(
        '--badcase', action='store_true', help='save the worst samples (BadCaseAnalysisHook)'
    )
    parser.add_argument(
        '--format-only',
        action='store_true',
        help='compute no metrics, and write the predictions to the work dir: for COCO, '
        'person_keypoints_<split>_<name>_results.zip for the evaluation server; for MPII, '
        'pred.mat',
    )
    parser.add_argument(
        '--submission-name',
        metavar='NAME',
        help='with --format-only, the <name> in the file for COCO (default: name of the config)',
    )
    add_common_options(parser)
    return parser.parse_args(argv)
