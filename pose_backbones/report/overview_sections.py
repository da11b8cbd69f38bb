"""The rest of the page: pictures, training curves, where all is from."""

from datetime import datetime
from importlib.metadata import version

import numpy as np

from ..errors import DatasetError
from ..version import __version__
from . import charts
from .examples import UNSURE, Pair, Ranking, draw_pairs, rank_images, ring_colours
from .markup import Html, count, details, figure, join, table, tag
from .measures import Measures
from .results import Run
from .training import read_scalars

_ROWS = 30  # of a table of training
_POINTS = 300  # of a curve


def pictures_section(run: Run, measures: Measures, number: int) -> Html:
    """The worst and the best images, annotations beside predictions.

    Args:
        run, measures: Of the test run.
        number: How many of each.
    """
    if number == 0:
        return tag('p', 'No pictures were asked for.')
    if run.sources.images is None:
        return tag('p', 'No pictures: the folder of the images is not known (--images DIR).')
    ranking = rank_images(measures.poses, measures.diagnosis, measures.calibration)
    order = ranking.order()
    worst = order[:number]
    best = order[::-1][: min(number, len(order) - len(worst))]
    names = {image['id']: image['file_name'] for image in run.truth['images']}
    parts, absent = [_explanation()], []
    for title, chosen in (('The worst images', worst), ('The best images', best)):
        pairs, missing = draw_pairs(
            run.sources.images,
            names,
            measures.poses,
            measures.diagnosis,
            measures.calibration,
            run.skeleton,
            ranking,
            chosen,
        )
        absent += missing
        if pairs:
            parts += [tag('h3', title), tag('div', *map(_pair, pairs), class_='pairs')]
    if absent:
        parts.insert(
            0,
            tag(
                'p',
                f'{count(len(absent), "image")} of {len(worst) + len(best)} '
                f'cannot be read in {run.sources.images} and are left out, such '
                f'as {absent[0]}.',
                class_='note path',
            ),
        )
    return join([*parts, _ranked(ranking, order, names)])


def _explanation() -> Html:
    rings = [
        tag('div', tag('dt', tag('span', class_=f'key r-{kind}'), kind)) for kind in ring_colours()
    ]
    return join(
        [
            tag(
                'p',
                'Annotated first, predicted beside or below it. Blue is the '
                "person's right, orange the left; hollow joints are hidden "
                f'(annotated) or have a score below {UNSURE} (predicted). '
                'Images are in the order of the mean OKS of their people, where '
                'someone missed, and a confident detection of no one, has an OKS '
                'of 0. Rings are around joints with an error:',
            ),
            tag('dl', *rings, class_='legend'),
        ]
    )


def _facts(quality: float, people: int, missed: int, false: int) -> str:
    return (
        f'mean OKS {quality:.3f}; {count(people, "person", "people")}, '
        f'{missed} missed; {false} false'
    )


def _pair(pair: Pair) -> Html:
    facts = _facts(pair.quality, pair.people, pair.missed, pair.false)
    size = dict(width=pair.width, height=pair.height)
    return tag(
        'figure',
        tag(
            'div',
            *[
                Html(
                    str(tag('img', src=uri, alt=f'{pair.name}, {what}', **size)).removesuffix(
                        '</img>'
                    )
                )
                for uri, what in (
                    (pair.truth, 'annotated'),
                    (pair.predicted, f'predicted: {facts}'),
                )
            ],
        ),
        tag('figcaption', tag('strong', pair.name, class_='path'), f': {facts}'),
        class_='pair',
    )


def _ranked(ranking: Ranking, order: np.ndarray, names: dict) -> Html:
    return details(
        'Numbers of the twenty worst images',
        table(
            'The twenty worst images',
            ('image', 'mean OKS', 'people', 'missed', 'false'),
            [
                (
                    names[ranking.images[place]],
                    figure(ranking.quality[place]),
                    *[
                        f'{values[place]:,}'
                        for values in (ranking.people, ranking.missed, ranking.false)
                    ],
                )
                for place in order[:20]
            ],
            'worst',
        ),
    )


def training_section(run: Run) -> Html:
    """Curves of what a training run has logged."""
    none = tag('p', 'No logs of a training run are beside the results (--logs DIR).')
    if run.sources.logs is None:
        return none
    try:
        training, evaluation = read_scalars(str(run.sources.logs))
    except (DatasetError, ValueError, KeyError) as error:
        return tag('p', f'The logs of the training cannot be read: {error}', class_='note path')
    curves = [
        ('Loss', 'of the training images', training, 'loss'),
        ('Accuracy', 'of joints in training images', training, 'acc_pose'),
        *[(name, 'on the validation images', evaluation, name) for name in _scores(evaluation)],
    ]
    shown = [(title, about, *_points(entries, key)) for title, about, entries, key in curves]
    shown = [curve for curve in shown if len(curve[2]) > 1]
    if not shown:
        return none
    return join(
        [
            tag(
                'p',
                'What the training run has logged: the loss has to fall, '
                'and the figures on the validation images to rise.',
            ),
            tag('div', *[_curve(*curve) for curve in shown], class_='two'),
        ]
    )


def _scores(evaluation: list[dict]) -> list[str]:
    """Names of the main figures that were logged."""
    names = dict.fromkeys(name for entry in evaluation for name in entry)
    return [name for name in names if name.rpartition('/')[2] in ('AP', 'AR', 'PCK', 'Mean')]


def _points(entries: list[dict], key: str) -> tuple[list, list]:
    """Steps and values of a curve, those that are finite."""
    found = [
        (entry['step'], entry[key])
        for entry in entries
        if isinstance(entry.get(key), (int, float)) and np.isfinite(entry[key])
    ]
    kept = sorted(set(np.linspace(0, len(found) - 1, min(len(found), _POINTS)).round().astype(int)))
    return [found[i][0] for i in kept], [found[i][1] for i in kept]


def _curve(title: str, about: str, steps: list, values: list) -> Html:
    every = max(1, -(-len(steps) // _ROWS))
    rows = list(zip(steps, values))
    rows = rows[::-1][::every][::-1]
    about = f'{title} {about}'
    return tag(
        'div',
        tag('h3', title),
        tag(
            'figure',
            charts.curve(title, about, steps, values),
            tag('figcaption', f'{about}, at the end {values[-1]:.4g}.'),
            class_='plot',
        ),
        details(
            f'Numbers of {title}',
            table(about, ('step', title), [(f'{step:,}', f'{value:.4g}') for step, value in rows]),
        ),
    )


def about_section(run: Run, measures: Measures) -> Html:
    """Files, versions, and how was measured."""
    sources = run.sources
    area = 'of the annotations' if run.use_area else '.53 of the area of the box'
    facts = [
        ('results', sources.results),
        ('annotations', sources.annotations),
        ('images', sources.images or 'not known'),
        ('training logs', sources.logs or 'none'),
        ('evaluation', f'{run.iou_type}, the 20 best detections of an image; areas: {area}'),
        (
            'sigmas',
            f'{run.sigma_origin}: '
            + ', '.join(
                f'{name} {sigma:.3f}' for name, sigma in zip(run.skeleton.names, run.sigmas)
            ),
        ),
        (
            'people not counted',
            f'{measures.poses.people.ignored.sum():,} (crowds, or no key point labelled)',
        ),
        (
            'made',
            f'{datetime.now():%Y-%m-%d %H:%M} by pose_backbones '
            f'{__version__}, xtcocotools {version("xtcocotools")}',
        ),
    ]
    return join(
        [
            tag(
                'p',
                'Kinds of errors are those of M. R. Ronchi and P. Perona, ',
                tag('cite', 'Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation'),
                ', ICCV 2017 (arXiv 1707.05388): a '
                'detection stands for a person from OKS .10 on; of its labelled '
                'joints, the nearest label says the kind.',
            ),
            tag(
                'div',
                table(
                    'Where the figures are from',
                    ('what', 'value'),
                    [(name, str(value)) for name, value in facts],
                    'facts',
                ),
                class_='meaning facts',
            ),
        ]
    )
