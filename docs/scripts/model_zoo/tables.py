"""Markdown tables of models."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pose_backbones.zoo import Family, Model

#: explanation of the columns
READING = (
    'Params (in millions) and FLOPs (in billions of multiply-adds, for one image) are measured; '
    'values in brackets are those that the source states. FLOPs are those of the layers; a value '
    'after + is that of the matrix products of attention.'
)
_READING_RESULTS = (
    'Results are those of the source and were not measured here: COCO val2017, with flip testing '
    'and the bounding boxes of a person detector of 56.4 AP.'
)
_STATED = (
    'Configs without released weights. Results are those that the source states for its own '
    'training, and were not measured here:'
)
_IMAGENET = 'licence of the ImageNet weights'
_METRICS = {'AP': 'AP', 'AP@0.5': 'AP50', 'AP@0.75': 'AP75', 'AR': 'AR'}
_HEADS = {**_METRICS, 'AR@0.5': 'AR50', 'AR@0.75': 'AR75', 'Mean': 'Mean PCKh'}


def sections(family: Family, folder: Path) -> list[str]:
    """Return the tables of a family: models with and without weights, and demos.

    Args:
        family: The family.
        folder: Directory of the document, relative to the root of the repository. Links are
            relative to it.

    Returns:
        Lines of Markdown; the last one is empty.
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
        lines += ['Configs without released weights and results:', '']
        lines += _without_results(plain, folder)
    if demos:
        lines += ['Configs of the demos, trained from scratch in minutes:', '']
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
    for what, key in (('results', 'Source'), ('values in brackets', 'Complexity')):
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
    """Return one table per dataset, with one row per model and split."""
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
    """Return the table of other releases of the same models."""
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
    """Return the columns model, input, params and FLOPs."""
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
    """Format metrics in percent, as the sources print them."""
    return [f'{100 * metrics[name]:.1f}' for name in _METRICS]


def _downloads(weights: str, log: str | None) -> str:
    return f'[model]({weights})' + (f' \\| [log]({log})' if log else '')


def _owner(url: str) -> str:
    """Return the repository name of a GitHub URL."""
    return url.split('/')[4]


def link(path: str, folder: Path) -> str:
    """Return the relative path of a link in a document.

    Args:
        path: Target of the link, relative to the root of the repository.
        folder: Directory of the document, relative to the root of the repository.

    Returns:
        The target relative to the directory.
    """
    return Path(os.path.relpath(path, folder)).as_posix()


def unique(items: Iterable[str]) -> list[str]:
    """Return the items without duplicates, in the order of their first appearance."""
    return list(dict.fromkeys(items))
