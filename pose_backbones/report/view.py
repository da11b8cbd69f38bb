"""View model of the report: every number of the page formatted as text, every chart drawn.

`measures` computes, this module formats, `templates/report.html.j2` lays out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from markupsafe import Markup

from ..version import __version__
from . import charts
from .average_precision import RECALLS, THRESHOLDS, AveragePrecision
from .calibration import BINS, Calibration
from .coco_table import COCO_ROWS, CROWD_ROWS
from .diagnosis import FALSE_KINDS, KINDS, MISSED_KINDS
from .examples import LOW_SCORE, RINGS, Example, Examples, RankedImage
from .formatting import count, number, percent
from .measures import ErrorCounts, KeypointErrors, Measures
from .results import Run
from .training import Curve, TrainingLog

#: Indices of the OKS thresholds whose precision-recall curves are drawn: .50, .75, .90.
_DRAWN_THRESHOLDS = (0, 5, 8)
_RANKED_IMAGES = 20  # rows of the table of the worst images
_CURVE_ROWS = 30  # at most, of the table of a training curve
_SOFT_HYPHEN = '\u00ad'


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its header.

    Args:
        id: ID of the element, if it has one.
        caption: What the table shows.
        head: Headers of the columns.
        rows: Texts of the cells.
    """

    id: str | None
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A chart with its heading and its caption."""

    title: str
    caption: str
    svg: Markup


def _chart(draw: Callable[..., Markup], title: str, caption: str, *data: Any) -> Chart:
    return Chart(title, caption, draw(title, caption, *data))


def build_view(
    run: Run, measures: Measures, examples: Examples, training: TrainingLog, title: str
) -> dict[str, Any]:
    """Format everything that the report shows.

    Args:
        run: The test run.
        measures: Its measures.
        examples: Its worst and best images.
        training: Log of the training run.
        title: Title of the page.

    Returns:
        The variables of the template.
    """
    return {
        'title': title,
        'size': {
            'predictions': count(len(run.results), 'prediction'),
            'images': count(len(run.truth['images']), 'image'),
            'keypoints': count(len(run.sigmas), 'keypoint'),
        },
        'notes': run.notes,
        'headline': _headline(measures),
        'precision': _precision(run.iou_type == 'keypoints_crowd', measures),
        'subsets': _subsets(measures),
        'keypoints': _keypoints(run.skeleton.names, measures.keypoints),
        'errors': _errors(measures),
        'calibration': _calibration(measures.calibration),
        'examples': _examples(run, examples),
        'training': {'problem': training.problem, 'curves': list(map(_curve, training.curves))},
        'provenance': _provenance(run, measures.errors),
    }


def _headline(measures: Measures) -> list[tuple[str, str]]:
    errors = measures.errors
    metrics = [(name, number(measures.table[name])) for name in ('AP', 'AP .5', 'AP .75', 'AR')]
    return [
        *metrics,
        ('people annotated', f'{errors.people:,}'),
        ('people missed (OKS < .5)', percent(sum(errors.missed.values()), errors.people)),
    ]


def _precision(crowd: bool, measures: Measures) -> dict[str, Any]:
    meaning = CROWD_ROWS if crowd else COCO_ROWS
    curves = {
        f'OKS {THRESHOLDS[row]:.2f}': measures.overall.curves[row] for row in _DRAWN_THRESHOLDS
    }
    return {
        'data_set': 'CrowdPose' if crowd else 'COCO',
        'metrics': Table(
            'coco',
            'Average precision and recall',
            ('metric', 'value', 'meaning'),
            [(name, number(value), meaning[name]) for name, value in measures.table.items()],
        ),
        'chart': _chart(
            charts.precision_recall,
            'Precision-recall curves',
            'Share of detections that are correct (precision) against the share of people found '
            '(recall) as the score threshold decreases, at OKS thresholds of .50, .75 and .90.',
            RECALLS,
            list(curves.items()),
        ),
        'curves': Table(
            'curves',
            'Precision by recall and OKS threshold',
            ('recall', *curves),
            [
                (f'{RECALLS[i]:.1f}', *[number(curve[i]) for curve in curves.values()])
                for i in range(0, len(RECALLS), 10)
            ],
        ),
    }


def _subsets(measures: Measures) -> list[dict[str, Any]]:
    return [
        _subset(
            'by-size',
            'AP by size',
            'size',
            'Size is the side of a square with the area of the person, in pixels. COCO calls '
            'people medium from 32 and large from 96 pixels. Unmatched detections of another '
            'size are ignored.',
            measures.by_size,
        ),
        _subset(
            'by-labels',
            'AP by labelled keypoints',
            'labels',
            'Number of labelled keypoints of the person. Unmatched detections count in every '
            'row, which lowers the AP of rare rows; AR does not depend on them.',
            measures.by_labels,
        ),
    ]


def _subset(
    id: str, title: str, head: str, caption: str, subsets: Mapping[str, AveragePrecision]
) -> dict[str, Any]:
    bars = [
        (name, subset.ap, count(subset.people, 'person', 'people'))
        for name, subset in subsets.items()
    ]
    rows = [
        (name, f'{subset.people:,}', *map(number, (subset.ap, subset.ap50, subset.ap75, subset.ar)))
        for name, subset in subsets.items()
    ]
    head_row = (head, 'people', 'AP', 'AP .5', 'AP .75', 'AR')
    return {
        'chart': _chart(charts.bars, title, caption, bars),
        'table': Table(id, title, head_row, rows),
    }


def _keypoints(names: Sequence[str], errors: KeypointErrors) -> dict[str, Any]:
    names = [name.replace('_', ' ') for name in names]
    labelled = errors.counts.sum(axis=1)
    bars = [
        (name, error, f'{n:,} labelled')
        for name, error, n in zip(names, errors.oks_error, labelled)
    ]
    return {
        'kinds': KINDS,
        'error_chart': _chart(
            charts.bars,
            'OKS error by keypoint',
            '1 minus the similarity of a keypoint to its label, mean over the people that are '
            'matched by a detection (OKS of .10 or more); 0 is exact.',
            bars,
            float(np.nanmax([*errors.oks_error, 1e-9])),
        ),
        'kind_chart': _chart(
            charts.stacked_bars,
            'Kinds of errors by keypoint',
            'Share of each kind of error among the labelled keypoints.',
            list(zip(names, errors.counts.tolist())),
            KINDS,
        ),
        'table': Table(
            'keypoints',
            'Keypoints: number of labels, OKS error, median distance in pixels, and kinds of '
            'errors in percent',
            ('keypoint', 'n', 'error', 'px', 'jitter', f'inver{_SOFT_HYPHEN}sion', 'swap', 'miss'),
            [
                (
                    name,
                    f'{n:,}',
                    number(error),
                    number(distance, 1),
                    *[percent(value, n).rstrip('%') for value in counts[1:]],
                )
                for name, n, error, distance, counts in zip(
                    names, labelled, errors.oks_error, errors.distance, errors.counts
                )
            ],
        ),
    }


def _errors(measures: Measures) -> dict[str, Any]:
    errors, threshold = measures.errors, number(measures.calibration.threshold)
    ap = measures.overall.ap
    repairs = [
        ('uncorrected', ap, ''),
        *[(name, value, number(value - ap, sign='+')) for name, value in measures.repairs.items()],
    ]
    return {
        'kinds': list(dict.fromkeys([*FALSE_KINDS, *MISSED_KINDS])),
        'groups': [
            _error_counts(
                'false',
                'False detections',
                'Detections with an OKS below .50 to every person, or of a person that is already '
                'detected, by their main kind of error. Confident ones have a score of at least '
                f'{threshold}.',
                {'false, all': errors.false, 'false, confident': errors.confident_false},
                count(errors.detections, 'detection'),
            ),
            _error_counts(
                'missed',
                'Missed people',
                'People that no detection matches with an OKS of .50 or more, by the main kind of '
                'error of the best detection that is not matched to another person.',
                {'missed': errors.missed},
                count(errors.people, 'person', 'people'),
            ),
        ],
        'repair_chart': _chart(
            charts.bars,
            'AP after correcting one kind of error',
            'AP if one thing were correct and all else stayed the same: the keypoints of one kind '
            'of error at their labels, no background and no duplicate detections, or scores in '
            'the order of the OKS.',
            repairs,
            1,
            0,
        ),
        'repairs': Table(
            'repairs',
            'AP after one correction',
            ('correction', 'AP', 'gain'),
            [(name, number(value), gain) for name, value, gain in repairs],
        ),
    }


def _error_counts(
    id: str, title: str, caption: str, columns: Mapping[str, Mapping[str, int]], of: str
) -> dict[str, Any]:
    kinds = list(next(iter(columns.values())))
    bars = [(name, list(counts.values())) for name, counts in columns.items()]
    rows = [(kind, *[f'{counts[kind]:,}' for counts in columns.values()]) for kind in kinds]
    total = ('total', *[f'{sum(counts.values()):,}' for counts in columns.values()])
    return {
        'chart': _chart(charts.stacked_bars, title, caption, bars, kinds),
        'table': Table(id, f'{title}, of {of}', ('kind', *columns), [*rows, total]),
    }


def _calibration(found: Calibration) -> dict[str, Any]:
    bins = [f'{i / BINS:.1f}' for i in range(BINS + 1)]
    return {
        'error': number(found.error),
        'threshold': number(found.threshold),
        'precision': number(found.precision),
        'recall': number(found.recall),
        'scale': None if found.scale == 1 else f'{found.scale:.3g}',
        'reliability_chart': _chart(
            charts.reliability,
            'Reliability of scores',
            'Mean OKS of the detections in ten ranges of scores. On the dashed line, the score '
            'equals the OKS; below it, scores are too high.',
            found.score,
            found.oks,
            found.counts,
        ),
        'density_chart': _chart(
            charts.density,
            'Score against OKS',
            'Number of detections by score and OKS; stronger color means more. The OKS of '
            'unmatched detections is 0.',
            found.table,
        ),
        'reliability': Table(
            'reliability',
            'Reliability',
            ('scores', 'detections', 'mean score', 'mean OKS', 'correct'),
            [
                (
                    f'{bins[i]} to {bins[i + 1]}',
                    f'{n:,}',
                    number(found.score[i]),
                    number(found.oks[i]),
                    percent(found.right[i] * n, n),
                )
                for i, n in enumerate(found.counts)
            ],
        ),
        'density': Table(
            'density',
            'Detections by score (rows) and OKS (columns)',
            ('score', *[f'.{i}' for i in range(BINS)]),
            [
                (f'.{i}', *[f'{n:,}' if n else '' for n in counts])
                for i, counts in enumerate(found.table)
            ],
        ),
    }


def _examples(run: Run, examples: Examples) -> dict[str, Any]:
    unreadable = examples.unreadable
    chosen = len(examples.worst) + len(examples.best) + len(unreadable)
    groups = {'The worst images': examples.worst, 'The best images': examples.best}
    ranking = examples.ranking[:_RANKED_IMAGES]
    return {
        'requested': examples.requested,
        'folder': run.sources.images,
        'unreadable': unreadable,
        'unreadable_count': f'{count(len(unreadable), "image")} of {chosen}',
        'low_score': LOW_SCORE,
        'rings': {KINDS[kind]: f'rgb({r}, {g}, {b})' for kind, (b, g, r) in RINGS.items()},
        'groups': {title: list(map(_example, group)) for title, group in groups.items() if group},
        'ranking': Table(
            'worst',
            'The twenty worst images',
            ('image', 'mean OKS', 'people', 'missed', 'false'),
            [
                (
                    image.name,
                    number(image.mean_oks),
                    *[f'{value:,}' for value in (image.people, image.missed, image.false)],
                )
                for image in ranking
            ],
        ),
    }


def _example(example: Example) -> dict[str, Any]:
    image: RankedImage = example.image
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
    rows = list(zip(curve.steps, curve.values))
    step = max(1, -(-len(rows) // _CURVE_ROWS))
    rows = rows[::-1][::step][::-1]  # with the last one
    caption = f'{curve.name} on {curve.data}; last value {curve.values[-1]:.4g}.'
    return {
        'chart': _chart(charts.training_curve, curve.name, caption, curve.steps, curve.values),
        'table': Table(
            None,
            f'{curve.name} on {curve.data}',
            ('step', curve.name),
            [(f'{step:,}', f'{value:.4g}') for step, value in rows],
        ),
    }


def _provenance(run: Run, errors: ErrorCounts) -> Table:
    sources = run.sources
    areas = 'annotated' if run.use_area else '.53 of the area of the bounding box'
    sigmas = ', '.join(f'{name} {sigma:.3f}' for name, sigma in zip(run.skeleton.names, run.sigmas))
    facts = {
        'results': sources.results,
        'annotations': sources.annotations,
        'images': sources.images or 'not known',
        'training logs': sources.logs or 'none',
        'evaluation': f'{run.iou_type}, the 20 best detections of each image; areas: {areas}',
        'sigmas': f'{run.sigma_origin}: {sigmas}',
        'ignored people': f'{errors.ignored:,} (crowds, or no labelled keypoint)',
        'created': f'{datetime.now():%Y-%m-%d %H:%M} with pose_backbones {__version__}, '
        f'xtcocotools {version("xtcocotools")}',
    }
    rows = [(name, str(value)) for name, value in facts.items()]
    return Table('facts', 'Where the numbers come from', ('item', 'value'), rows)
