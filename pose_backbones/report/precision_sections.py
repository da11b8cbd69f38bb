"""Tables and charts of the page: average precision, of all and of parts."""

import numpy as np

from . import charts
from .average_precision import RECALLS, THRESHOLDS, Precision
from .coco_table import COCO_ROWS, CROWD_ROWS
from .markup import Html, columns, details, figure, join, plot, share, table, tag
from .measures import Measures
from .results import Run

#: thresholds of OKS whose curves are drawn
_DRAWN = (0, 5, 8)


def tiles(measures: Measures) -> Html:
    """The few figures that are looked for first."""
    people = measures.poses.people
    missed = int((measures.diagnosis.missed >= 0).sum())
    total = int((~people.ignored).sum())
    shown = [(name, figure(measures.table[name])) for name in ('AP', 'AP .5', 'AP .75', 'AR')]
    shown += [
        ('people annotated', f'{total:,}'),
        ('people missed (OKS < .5)', share(missed, total)),
    ]
    return tag(
        'dl',
        *[tag('div', tag('dt', name), tag('dd', value)) for name, value in shown],
        class_='tiles',
    )


def coco_section(run: Run, measures: Measures) -> Html:
    """The evaluator's table, and precision over recall."""
    crowd = run.iou_type == 'keypoints_crowd'
    meaning = CROWD_ROWS if crowd else COCO_ROWS
    return join(
        [
            tag(
                'p',
                f'The {"CrowdPose" if crowd else "COCO"} table, by '
                'xtcocotools. Object key-point similarity (OKS) goes from 0 to '
                '1, where 1 is a detection exactly at the labels; average '
                'precision (AP) is the area under the curve of precision over '
                'recall.',
            ),
            columns(
                tag(
                    'div',
                    table(
                        'Average precision and recall',
                        ('metric', 'value', 'meaning'),
                        [
                            (name, figure(value), meaning[name])
                            for name, value in measures.table.items()
                        ],
                        'coco',
                    ),
                    class_='meaning',
                ),
                _curves(measures.overall.curves),
            ),
        ]
    )


def _curves(curves: np.ndarray) -> Html:
    """(10, 101) precision; three of them are drawn."""
    names = [f'OKS {THRESHOLDS[row]:.2f}' for row in _DRAWN]
    about = (
        'The share of detections that are right (precision) against the '
        'share of people found (recall), as the least score falls: of '
        'detections that are right from an OKS of .50, .75 or .90 on.'
    )
    return join(
        [
            tag('h3', 'Precision over recall'),
            plot(
                charts.curves(
                    'Precision over recall',
                    about,
                    RECALLS,
                    [(name, curves[row]) for name, row in zip(names, _DRAWN)],
                ),
                about,
            ),
            details(
                'Numbers of this chart',
                table(
                    'Precision by recall and threshold',
                    ('recall', *names),
                    [
                        (f'{RECALLS[at]:.1f}', *[figure(curves[row, at]) for row in _DRAWN])
                        for at in range(0, 101, 10)
                    ],
                    'curves',
                ),
            ),
        ]
    )


def subsets_section(measures: Measures) -> Html:
    """AP by size and by number of labelled key points."""
    return join(
        [
            tag(
                'p',
                'AP of a part of the people at a time; the others are '
                'neither counted as found nor as missed. Small parts have '
                'uncertain figures.',
            ),
            columns(
                _subset(
                    'AP by size',
                    'size',
                    measures.by_size,
                    'by-size',
                    'By the side of a square as large as the person, in '
                    'pixels; COCO calls people medium from 32 and large '
                    'from 96 on. '
                    "Detections of another size that match nobody don't "
                    'count.',
                ),
                _subset(
                    'AP by labelled key points',
                    'labels',
                    measures.by_labels,
                    'by-labels',
                    'By how many key points of the person are labelled. '
                    'Detections that match nobody count in every row, '
                    'which makes AP of rare rows low; AR is free of '
                    'that.',
                ),
            ),
        ]
    )


def _subset(title: str, head: str, subsets: dict[str, Precision], name: str, caption: str) -> Html:
    rows = [(key, value.ap, f'{value.people:,} people') for key, value in subsets.items()]
    return join(
        [
            tag('h3', title),
            plot(charts.bars(title, caption, rows), caption),
            table(
                title,
                (head, 'people', 'AP', 'AP .5', 'AP .75', 'AR'),
                [
                    (
                        key,
                        f'{value.people:,}',
                        *map(figure, (value.ap, value.ap50, value.ap75, value.ar)),
                    )
                    for key, value in subsets.items()
                ],
                name,
            ),
        ]
    )
