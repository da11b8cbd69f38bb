"""Tables and charts of the page: errors and scores."""

import numpy as np

from . import charts
from .diagnosis import KINDS
from .markup import SOFT, Html, columns, details, figure, join, plot, share, table, tag
from .measures import Measures
from .results import Run

_FAULTS = (*KINDS[1:], 'duplicate', 'background')
_REASONS = (*KINDS[1:], 'not found')
_MEANING = {
    'good': 'key-point similarity to its label of .85 or better',
    'jitter': 'near its label, similarity .50 to .85, yet not within the '
    'error of a person who labels',
    'inversion': "at the same person's mirrored joint: left for right",
    'swap': "at another person's joint of the kind",
    'miss': 'near none of these: all similarities below .50',
    'duplicate': 'another detection has found that person already',
    'background': 'OKS below .10 to everyone',
    'not found': 'no free detection with OKS of .10 or better',
}


def joints_section(run: Run, measures: Measures) -> Html:
    """Errors of each joint."""
    joints = measures.diagnosis.joints
    names = [name.replace('_', ' ') for name in run.skeleton.names]
    counts = np.stack([(joints.kinds == kind).sum(axis=0) for kind in range(len(KINDS))], axis=1)
    errors, pixels = _joint_errors(joints)
    about = (
        '1 minus the similarity of a joint to its label, mean over the '
        'people that a detection stands for (OKS from .10 on): 0 is '
        'exact.'
    )
    rows = [
        (name, error, f'{n:,} labelled')
        for name, error, n in zip(names, errors, counts.sum(axis=1))
    ]
    kinds = 'What becomes of the labelled joints, in percent.'
    return join(
        [
            tag(
                'p',
                'Which joints are hard. Joints are measured in units of '
                'their own labelling error, so that a hip may be further off '
                'than an eye.',
            ),
            charts.legend([(kind, _MEANING[kind]) for kind in KINDS]),
            columns(
                join(
                    [
                        tag('h3', 'OKS error of each joint'),
                        plot(
                            charts.bars(
                                'OKS error of each joint',
                                about,
                                rows,
                                float(np.nanmax([*errors, 1e-9])),
                            ),
                            about,
                        ),
                    ]
                ),
                join(
                    [
                        tag('h3', 'Kinds of errors of each joint'),
                        plot(
                            charts.stacks(
                                'Kinds of errors of each joint',
                                kinds,
                                list(zip(names, counts.tolist())),
                                KINDS,
                            ),
                            kinds,
                        ),
                    ]
                ),
            ),
            tag(
                'div',
                table(
                    'Joints: how many, OKS error, median distance in pixels, and '
                    'kinds of errors in percent',
                    ('joint', 'n', 'error', 'px', 'jitter', f'inver{SOFT}sion', 'swap', 'miss'),
                    [
                        (
                            name,
                            f'{row.sum():,}',
                            figure(error),
                            figure(px, 1),
                            *[share(value, row.sum()).rstrip('%') for value in row[1:]],
                        )
                        for name, error, px, row in zip(names, errors, pixels, counts)
                    ],
                    'joints',
                ),
                class_='wide',
            ),
        ]
    )


def _joint_errors(joints) -> tuple[np.ndarray, np.ndarray]:
    """(K,) mean of 1 − similarity and (K,) median distance; NaN if none."""
    count = joints.kinds.shape[1]
    errors, pixels = np.full((2, count), np.nan)
    for joint in range(count):
        known = joints.kinds[:, joint] >= 0
        if known.any():
            errors[joint] = 1 - joints.similarity[known, joint].mean()
            pixels[joint] = np.median(joints.distance[known, joint])
    return errors, pixels


def errors_section(measures: Measures) -> Html:
    """False detections, missed people, and what repairs would bring."""
    diagnosis, threshold = measures.diagnosis, measures.calibration.threshold
    sure = measures.poses.detections.scores >= threshold
    faults = [(diagnosis.fault == kind).sum() for kind in range(1, 7)]
    confident = [((diagnosis.fault == kind) & sure).sum() for kind in range(1, 7)]
    reasons = [(diagnosis.missed == kind).sum() for kind in (1, 2, 3, 4, 7)]
    total = int((~measures.poses.people.ignored).sum())
    about = (
        'Detections with OKS below .50 to everyone, or of a person '
        'already found, by their main error; confident ones have a '
        f'score of {figure(threshold)} or better.'
    )
    rows = [('false, all', faults), ('false, confident', confident)]
    return join(
        [
            tag(
                'p',
                'A detection is right if it finds a person with OKS of .50 '
                'or better. What is wrong with the others, and with the people '
                'who are missed, is the kind of joint error that costs them the '
                'most similarity.',
            ),
            charts.legend([(kind, _MEANING[kind]) for kind in (*_FAULTS, 'not found')]),
            columns(
                _errors(
                    'False detections', about, rows, _FAULTS, 'false', int(diagnosis.counted.sum())
                ),
                _errors(
                    'Missed people',
                    'People whom no detection finds with '
                    'OKS of .50 or better, by the main error of the best '
                    'detection that is left.',
                    [('missed', reasons)],
                    _REASONS,
                    'missed',
                    total,
                ),
            ),
            _repairs(measures),
        ]
    )


def _errors(title: str, about: str, rows: list, kinds: tuple, name: str, total: int) -> Html:
    rows = [(row, [int(value) for value in values]) for row, values in rows]
    of = 'detections' if name == 'false' else 'people'
    return join(
        [
            tag('h3', title),
            plot(charts.stacks(title, about, rows, kinds), about),
            table(
                f'{title}, of {total:,} {of}',
                ('kind', *[row for row, _ in rows]),
                [
                    *[
                        (kind, *[f'{values[place]:,}' for _, values in rows])
                        for place, kind in enumerate(kinds)
                    ],
                    ('together', *[f'{sum(values):,}' for _, values in rows]),
                ],
                name,
            ),
        ]
    )


def _repairs(measures: Measures) -> Html:
    ap = measures.overall.ap
    rows = [('as it is', ap, '')] + [
        (name, value, f'{value - ap:+.3f}') for name, value in measures.repairs.items()
    ]
    about = (
        'AP if one thing were right and all else as it is: joints of '
        'one kind of error at their labels, no detections of the '
        'background or of people already found, or scores in the order '
        'of the OKS.'
    )
    return join(
        [
            tag('h3', 'What a repair would bring'),
            columns(
                plot(charts.bars('What a repair would bring', about, rows, mark=0), about),
                table(
                    'AP after one repair',
                    ('repair', 'AP', 'gain'),
                    [(name, figure(value), more) for name, value, more in rows],
                    'repairs',
                ),
            ),
        ]
    )


def calibration_section(measures: Measures) -> Html:
    """Scores against OKS."""
    found = measures.calibration
    scaled = (
        ''
        if found.scale == 1
        else (f' Scores were divided by {found.scale:.3g}, the greatest, to be at most 1.')
    )
    about = (
        'Mean OKS of the detections in ten ranges of scores. On the '
        'dashed line, the score is the OKS; below it, scores promise '
        'too much.'
    )
    dense = (
        'Detections by score and OKS, stronger where there are '
        'more. OKS is 0 for detections that stand for nobody.'
    )
    return join(
        [
            tag(
                'p',
                'AP asks only that better detections have higher scores; '
                'who sets a threshold wants to know what a score says. The '
                'expected calibration error, the mean difference between score '
                'and OKS over the ranges of scores, is ',
                tag('strong', figure(found.error), id='ece'),
                '. ',
                f'F1 at OKS .50 is best with a score of {figure(found.threshold)}'
                f' or better: precision {figure(found.precision)}, recall '
                f'{figure(found.recall)}.{scaled}',
            ),
            columns(
                plot(
                    charts.reliability(
                        'Reliability of scores', about, found.score, found.oks, found.counts
                    ),
                    about,
                ),
                plot(charts.density('Score against OKS', dense, found.table), dense),
            ),
            details(
                'Numbers of these charts',
                join(
                    [
                        table(
                            'Reliability',
                            ('scores', 'detections', 'mean score', 'mean OKS', 'right'),
                            [
                                (
                                    f'{b / 10:.1f} to {b / 10 + 0.1:.1f}',
                                    f'{n:,}',
                                    figure(score),
                                    figure(oks),
                                    share(right * n, n),
                                )
                                for b, (n, score, oks, right) in enumerate(
                                    zip(found.counts, found.score, found.oks, found.right)
                                )
                            ],
                            'reliability',
                        ),
                        tag(
                            'div',
                            table(
                                'Detections by score (rows) and OKS (columns)',
                                ('score', *[f'.{b}' for b in range(10)]),
                                [
                                    (f'.{b}', *[f'{n:,}' if n else '' for n in row])
                                    for b, row in enumerate(found.table)
                                ],
                                'density',
                            ),
                            class_='wide',
                        ),
                    ]
                ),
            ),
        ]
    )
