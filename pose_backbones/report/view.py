"""Variables of the report's template: the measures of a test run as texts and as data for charts.

`measures` computes the numbers, this module formats them, and `templates/report.html.j2` lays them
out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from ..version import __version__
from .average_precision import RECALLS, THRESHOLDS, AveragePrecision
from .calibration import BINS, Calibration
from .coco_table import COCO_ROWS, CROWD_ROWS, evaluator_version
from .diagnosis import FALSE_KINDS, KINDS, MISSED_KINDS
from .examples import LOW_SCORE, RINGS, Example, Examples
from .formatting import count, number, percent
from .measures import ErrorCounts, KeypointErrors, Measures
from .results import Run
from .training import Curve, TrainingLog

#: Indices of the OKS thresholds whose precision-recall curves are drawn: .50, .75, .90.
_DRAWN_THRESHOLDS = (0, 5, 8)
_RANKED_IMAGES = 20  # rows of the table of the worst images
_CURVE_ROWS = 30  # maximum number of rows of the table of a training curve

#: Rows of a table: texts of the cells.
Rows = list[tuple[str, ...]]


def build_view(
    run: Run, measures: Measures, examples: Examples, training: TrainingLog, title: str
) -> dict[str, Any]:
    """Format everything that the report shows.

    Args:
        run: The test run.
        measures: The measures of the test run.
        examples: The worst and best images of the test run.
        training: Log of the training run.
        title: Title of the page.

    Returns:
        Name → value, for the template. In the values, `rows` are for tables; `bars`, `lines` and
        other numbers are for the functions of `charts`.
    """
    return {
        'title': title,
        'predictions': count(len(run.results), 'prediction'),
        'images': count(len(run.truth['images']), 'image'),
        'keypoints': count(len(run.sigmas), 'keypoint'),
        'notes': run.notes,
        'headline': _headline(measures),
        'metrics': _metrics(run.iou_type == 'keypoints_crowd', measures.table),
        'precision_recall': _precision_recall(measures.overall.curves),
        'by_size': _subsets(measures.by_size),
        'by_labels': _subsets(measures.by_labels),
        'keypoint_errors': _keypoint_errors(run.skeleton.names, measures.keypoints),
        'errors': _errors(measures.errors),
        'repairs': _repairs(measures.overall.ap, measures.repairs),
        'calibration': _calibration(measures.calibration),
        'examples': _examples(run, examples),
        'training': {'problem': training.problem, 'curves': list(map(_curve, training.curves))},
        'provenance': _provenance(run, measures.errors),
    }


def _headline(measures: Measures) -> Rows:
    errors = measures.errors
    metrics = [(name, number(measures.table[name])) for name in ('AP', 'AP .5', 'AP .75', 'AR')]
    return [
        *metrics,
        ('people annotated', f'{errors.people:,}'),
        ('people missed (OKS < .5)', percent(sum(errors.missed.values()), errors.people)),
    ]


def _metrics(crowd: bool, table: Mapping[str, float]) -> dict[str, Any]:
    meaning = CROWD_ROWS if crowd else COCO_ROWS
    return {
        'origin': 'CrowdPose' if crowd else 'COCO',
        'rows': [(name, number(value), meaning[name]) for name, value in table.items()],
    }


def _precision_recall(curves: np.ndarray) -> dict[str, Any]:
    lines = [(f'OKS {THRESHOLDS[index]:.2f}', curves[index]) for index in _DRAWN_THRESHOLDS]
    return {
        'recalls': RECALLS,
        'lines': lines,
        'rows': [
            (f'{RECALLS[i]:.1f}', *[number(precisions[i]) for _, precisions in lines])
            for i in range(0, len(RECALLS), 10)
        ],
    }


def _subsets(subsets: Mapping[str, AveragePrecision]) -> dict[str, Any]:
    return {
        'bars': [
            (name, subset.ap, count(subset.people, 'person', 'people'))
            for name, subset in subsets.items()
        ],
        'rows': [
            (
                name,
                f'{subset.people:,}',
                *map(number, (subset.ap, subset.ap50, subset.ap75, subset.ar)),
            )
            for name, subset in subsets.items()
        ],
    }


def _keypoint_errors(names: Sequence[str], errors: KeypointErrors) -> dict[str, Any]:
    names = [name.replace('_', ' ') for name in names]
    labelled = errors.counts.sum(axis=1)
    return {
        'kinds': KINDS,
        'maximum': float(np.nanmax([*errors.oks_error, 1e-9])),
        'error_bars': [
            (name, error, f'{num_labelled:,} labelled')
            for name, error, num_labelled in zip(names, errors.oks_error, labelled)
        ],
        'kind_bars': list(zip(names, errors.counts.tolist())),
        'rows': [
            (
                name,
                f'{num_labelled:,}',
                number(error),
                number(distance, 1),
                *[percent(value, num_labelled).rstrip('%') for value in counts[1:]],
            )
            for name, num_labelled, error, distance, counts in zip(
                names, labelled, errors.oks_error, errors.distance, errors.counts
            )
        ],
    }


def _errors(errors: ErrorCounts) -> dict[str, Any]:
    return {
        'kinds': list({**FALSE_KINDS, **MISSED_KINDS}),
        'detections': count(errors.detections, 'detection'),
        'people': count(errors.people, 'person', 'people'),
        'false': _counts({'false, all': errors.false, 'false, confident': errors.confident_false}),
        'missed': _counts({'missed': errors.missed}),
    }


def _counts(columns: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Format counts: heading of a column → kind of error → count."""
    kinds = list(next(iter(columns.values())))
    total = ('total', *[f'{sum(counts.values()):,}' for counts in columns.values()])
    return {
        'kinds': kinds,
        'bars': [(name, list(counts.values())) for name, counts in columns.items()],
        'rows': [
            *[(kind, *[f'{counts[kind]:,}' for counts in columns.values()]) for kind in kinds],
            total,
        ],
    }


def _repairs(ap: float, repairs: Mapping[str, float]) -> dict[str, Any]:
    """Format the AP after each correction of the predictions; `ap` is the AP without one."""
    gains = {name: number(value - ap, sign='+') for name, value in repairs.items()}
    bars = [('uncorrected', ap, ''), *[(name, repairs[name], gains[name]) for name in repairs]]
    return {'bars': bars, 'rows': [(name, number(value), gain) for name, value, gain in bars]}


def _calibration(calibration: Calibration) -> dict[str, Any]:
    edges = [f'{i / BINS:.1f}' for i in range(BINS + 1)]
    return {
        'error': number(calibration.error),
        'threshold': number(calibration.threshold),
        'precision': number(calibration.precision),
        'recall': number(calibration.recall),
        'scale': None if calibration.scale == 1 else f'{calibration.scale:.3g}',
        'bins': (calibration.score, calibration.oks, calibration.counts),
        'counts': calibration.table,
        'reliability_rows': [
            (
                f'{edges[i]} to {edges[i + 1]}',
                f'{num_detections:,}',
                number(calibration.score[i]),
                number(calibration.oks[i]),
                percent(calibration.correct[i] * num_detections, num_detections),
            )
            for i, num_detections in enumerate(calibration.counts)
        ],
        'density_head': ['score', *[f'.{i}' for i in range(BINS)]],
        'density_rows': [
            (f'.{i}', *[f'{value:,}' if value else '' for value in counts])
            for i, counts in enumerate(calibration.table)
        ],
    }


def _examples(run: Run, examples: Examples) -> dict[str, Any]:
    unreadable = examples.unreadable
    num_chosen = len(examples.worst) + len(examples.best) + len(unreadable)
    groups = {'The worst images': examples.worst, 'The best images': examples.best}
    return {
        'requested': examples.requested,
        'folder': run.sources.images,
        'unreadable': unreadable,
        'unreadable_count': f'{count(len(unreadable), "image")} of {num_chosen}',
        'low_score': LOW_SCORE,
        'rings': {KINDS[kind]: f'rgb({r}, {g}, {b})' for kind, (b, g, r) in RINGS.items()},
        'groups': {heading: list(map(_example, group)) for heading, group in groups.items()},
        'rows': [
            (
                image.name,
                number(image.mean_oks),
                *[f'{value:,}' for value in (image.people, image.missed, image.false)],
            )
            for image in examples.ranking[:_RANKED_IMAGES]
        ],
    }


def _example(example: Example) -> dict[str, Any]:
    image = example.image
    return {
        'name': image.name,
        'facts': f'mean OKS {number(image.mean_oks)}; {count(image.people, "person", "people")}, '
        f'{image.missed} missed; {image.false} false',
        'annotated': example.annotated,
        'predicted': example.predicted,
        'width': example.width,
        'height': example.height,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    """Format a training curve, with a table of at most `_CURVE_ROWS` rows."""
    rows = [(f'{step:,}', f'{value:.4g}') for step, value in zip(curve.steps, curve.values)]
    step_size = max(1, -(-len(rows) // _CURVE_ROWS))
    return {
        'name': curve.name,
        'subject': f'{curve.name} on {curve.data}',
        'last': f'{curve.values[-1]:.4g}',
        'points': (curve.steps, curve.values),
        'rows': rows[::-1][::step_size][::-1],  # every step_size-th row, the last one included
    }


def _provenance(run: Run, errors: ErrorCounts) -> Rows:
    """Return the files, settings and versions from which the report was made."""
    sources = run.sources
    areas = 'annotated' if run.use_area else '.53 of the area of the bounding box'
    sigmas = ', '.join(f'{name} {sigma:.3f}' for name, sigma in zip(run.skeleton.names, run.sigmas))
    return [
        ('results', str(sources.results)),
        ('annotations', str(sources.annotations)),
        ('images', str(sources.images or 'not known')),
        ('training logs', str(sources.logs or 'none')),
        ('evaluation', f'{run.iou_type}, the 20 best detections of each image; areas: {areas}'),
        ('sigmas', f'{run.sigma_origin}: {sigmas}'),
        ('ignored people', f'{errors.ignored:,} (crowds, or no labelled keypoint)'),
        (
            'created',
            f'{datetime.now():%Y-%m-%d %H:%M} with pose_backbones {__version__}, '
            + evaluator_version(),
        ),
    ]
