"""Tables of models in Markdown."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pose_backbones.zoo import Family, Model

#: how the tables are to be read
READING = (
    'Params (in millions) and FLOPs (in billions, for one image; a '
    'multiply-add is one) are measured, in brackets is what the source says. '
    'FLOPs are those of the layers; after a + come the matrix products of '
    'attention.'
)
_READING_RESULTS = (
    'Results are not measured here, they are those of the source: on COCO '
    'val2017, with flip test and the boxes of a person detector of 56.4 AP.'
)
_STATED = (
    'Configs without weights here. The results are those that the source '
    'states of its own training; none of them is measured here:'
)
_IMAGENET = 'licence of the ImageNet weights'
_METRICS = {'AP': 'AP', 'AP@0.5': 'AP50', 'AP@0.75': 'AP75', 'AR': 'AR'}
_HEADS = {**_METRICS, 'AR@0.5': 'AR50', 'AR@0.75': 'AR75', 'Mean': 'Mean PCKh'}


def sections(family: Family, folder: Path) -> list[str]:
    """Tables of a family's models: with weights, without, and the demos.

    Args:
        family: The family.
        folder: Of the document, from the root; links start there.

    Returns:
        Lines of Markdown, the last one empty.
    """
    models = [model for model in family.models if not model.is_demo]
    rated = [model for model in models if model.metrics]
    stated = [model for model in models if model.stated]
    plain = [model for model in models if not model.metrics and not model.stated]
    demos = [model for model in family.models if model.is_demo]
    lines = [*_with_results(rated, folder), *_alternatives(rated)]
    if stated:
        lines += [_STATED, '', *_with_stated(stated, folder)]
    if plain:
        lines += ['Configs without released weights, and so without AP:', '']
        lines += _without_results(plain, folder)
    if demos:
        lines += ["The demos' configs, trained in minutes from nothing:", '']
        lines += _without_results(demos, folder)
    return lines


def _with_results(models: list[Model], folder: Path) -> list[str]:
    if not models:
        return []
    heads = ['model', 'input', 'params', 'FLOPs', *_METRICS.values(), 'weights', 'licence']
    lines = [_READING_RESULTS, '']
    lines += _table(
        heads,
        [
            [
                *_columns(model, folder),
                *_scores(model.metrics),
                _downloads(model.weights, model.log),
                model.licence['Weights'],
            ]
            for model in models
        ],
    )
    for what, key in (('results', 'Source'), ('figures in brackets', 'Complexity')):
        urls = unique(model.upstream[key] for model in models if key in model.upstream)
        if urls:
            lines += [f'Source of the {what}: {", ".join(f"<{url}>" for url in urls)}.', '']
    remarks = [
        f'- {model.title} at {model.size}: {text}'
        for model in models
        for text in (model.explanation, *model.notes)
        if text
    ]
    return [*lines, *remarks, ''] if remarks else lines


def _with_stated(models: Iterable[Model], folder: Path) -> list[str]:
    """A table for each data set, a line for each model and split."""
    tables = {}
    for model in models:
        for split, metrics in model.stated.items():
            tables.setdefault((model.data, *metrics), []).append(
                [
                    *_columns(model, folder),
                    split,
                    *(f'{100 * value:.1f}' for value in metrics.values()),
                    model.licence.get('Backbone', 'none'),
                ]
            )
    lines = []
    for (data, *names), rows in tables.items():
        heads = [
            'model',
            'input',
            'params',
            'FLOPs',
            f'split of {data}',
            *(_HEADS.get(name, name) for name in names),
            _IMAGENET,
        ]
        lines += _table(heads, rows)
    return lines


def _without_results(models: Iterable[Model], folder: Path) -> list[str]:
    heads = ['model', 'data', 'input', 'params', 'FLOPs', _IMAGENET]
    rows = []
    for model in models:
        first, *others = _columns(model, folder)
        rows.append([first, model.data, *others, model.licence.get('Backbone', 'none')])
    return _table(heads, rows)


def _alternatives(models: Iterable[Model]) -> list[str]:
    """Other releases of the same models."""
    rows = [
        [
            model.title,
            model.size,
            f'[{_owner(other["Source"])}]({other["Source"]})',
            *_scores(other['Metrics']),
            _downloads(other['Weights'], other['Log']),
            other['Licence'],
        ]
        for model in models
        for other in model.alternatives
    ]
    if not rows:
        return []
    heads = ['model', 'input', 'released by', *_METRICS.values(), 'weights', 'licence']
    return ['Other releases of the same models:', '', *_table(heads, rows)]


def _columns(model: Model, folder: Path) -> list[str]:
    """Model, input, params and FLOPs."""
    source = model.upstream
    params, flops = f'{model.params / 1e6:.2f}', f'{model.flops / 1e9:.2f}'
    if model.attention_flops:
        flops += f' + {model.attention_flops / 1e9:.2f}'
    if 'Params' in source:
        params += f' ({source["Params"].rstrip("M")})'
    if 'FLOPs' in source:
        flops += f' ({source["FLOPs"].rstrip("G")})'
    return [f'[{model.title}]({link(model.config, folder)})', model.size, params, flops]


def _table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    marks = ['---' if head in ('model', 'data') else ':-:' for head in heads]
    return [*(f'| {" | ".join(row)} |' for row in (heads, marks, *rows)), '']


def _scores(metrics: Mapping[str, float]) -> list[str]:
    """In percent, as the sources print them."""
    return [f'{100 * metrics[name]:.1f}' for name in _METRICS]


def _downloads(weights: str, log: str | None) -> str:
    return f'[model]({weights})' + (f' \\| [log]({log})' if log else '')


def _owner(url: str) -> str:
    """The name of a repository on GitHub."""
    return url.split('/')[4]


def link(path: str, folder: Path) -> str:
    """A path as a document in `folder` names it.

    Args:
        path: From the root.
        folder: From the root.

    Returns:
        The relative path.
    """
    return Path(os.path.relpath(path, folder)).as_posix()


def unique(items: Iterable[str]) -> list[str]:
    """Each item once, in the order of its first appearance."""
    return list(dict.fromkeys(items))
