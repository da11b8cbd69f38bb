"""Read the metafiles of the models, `configs/<family>/metafile.yml`, in OpenMMLab's format.

The files have these keys in addition to that format. `Weights` may be a list of URLs of the same
file, which are tried in this order (OpenMMLab's tools read only a single URL), and `Weights SHA256`
is the SHA-256 of the file. A model has `Log`, `Licence` (of its weights and of the pretrained
backbone), `Upstream` (parameters and FLOPs that the sources state, and their
URLs), `Explanation` (why these differ from the measured values), `Notes` and `Alternatives` (other
releases of the same model). A collection has `Backbone` (the source file), `Description`, `Notes`
and `Upstream Results` (results that the source states for configs without released weights, by name
of the config, split and metric).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..configs import config_folder
from ..errors import ConfigError, list_names, shorten, shown
from ..utils.release import Release

_REQUIRED = ('Name', 'In Collection', 'Config', 'Metadata')
_ALLOWED = (
    *_REQUIRED,
    'Results',
    'Weights',
    'Weights SHA256',
    'Log',
    'Licence',
    'Upstream',
    'Explanation',
    'Notes',
    'Alternatives',
)
_METADATA = ('Architecture', 'Training Data', 'Input Size', 'Parameters', 'FLOPs')
#: key of a collection, of a model, or of its metadata or result → type of its value
_TYPES: dict[str, type] = {
    'Upstream Results': dict,
    'Name': str,
    'In Collection': str,
    'Config': str,
    'Metadata': dict,
    'Results': list,
    'Weights SHA256': str,
    'Log': str,
    'Licence': dict,
    'Upstream': dict,
    'Explanation': str,
    'Notes': list,
    'Alternatives': list,
    'Architecture': list,
    'Training Data': str,
    'Input Size': str,
    'Parameters': int,
    'FLOPs': int,
    'Attention FLOPs': int,
    'Task': str,
    'Metrics': dict,
}
_MAX_REASON = 300  # characters of PyYAML's message
_SCHEMES = ('https://', 'http://', 'hf://')
_SHA256 = re.compile('[0-9a-f]{64}')


@dataclass(frozen=True)
class Model:
    """Entry of a config in a metafile.

    Attributes:
        name: Name of the config.
        family: Directory in `configs/`, for example `moganet`.
        collection: Value of `In Collection`, for example `MogaNet`.
        config: Path of the config in the repository.
        title: Display name of the backbone.
        data: Dataset that the model is trained on.
        size: Height x width of the input, as text.
        params: Number of parameters used in training.
        flops: Multiply-adds of the layers for one image.
        attention_flops: Multiply-adds of the matrix products of attention, which are not part of
            `flops`.
        task: Task, such as `'Body 2D Keypoint'`; None if there are no results.
        metrics: Metric → value, as stated upstream; empty if there are no results.
        release: URLs and SHA-256 of a pose checkpoint, or None.
        log: URL of the training log, or None.
        licence: Licences of `'Weights'` and `'Backbone'` (the pretrained ImageNet weights), if
            there are such weights.
        upstream: `'Source'` (URL of the results), `'Complexity'` (URL of parameters and FLOPs, if
            different), `'Params'`, `'FLOPs'`, `'FLOPs Count'`.
        stated: Split → metric → value: upstream results of a model without released weights.
        explanation: Why parameters or FLOPs stated upstream differ from the measured values.
        notes: Remarks, in sentences.
        alternatives: Other releases of the model, each with `'Source'`, `'Metrics'`, `'Weights'`,
            `'Log'` and `'Licence'`.
    """

    name: str
    family: str
    collection: str
    config: str
    title: str
    data: str
    size: str
    params: int
    flops: int
    attention_flops: int = 0
    task: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    release: Release | None = None
    log: str | None = None
    licence: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    stated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    explanation: str = ''
    notes: tuple[str, ...] = ()
    alternatives: tuple[Mapping, ...] = ()

    @property
    def weights(self) -> str | None:
        """First URL of the pose checkpoint, or None."""
        return self.release.urls[0] if self.release else None

    @property
    def total_flops(self) -> int:
        """Multiply-adds of layers and attention for one image."""
        return self.flops + self.attention_flops

    @property
    def is_demo(self) -> bool:
        """Whether the config is a demo, which the tables list separately."""
        return '-demo_' in self.name


@dataclass(frozen=True)
class Family:
    """Content of a metafile: the models of one family.

    Attributes:
        name: Directory in `configs/`, for example `moganet`.
        path: Path of the metafile.
        collections: Collections, as in the file.
        models: Models, in the order of the file.
    """

    name: str
    path: Path
    collections: tuple[Mapping, ...]
    models: tuple[Model, ...]


class _Loader(yaml.SafeLoader):
    """Loader of plain values; it rejects aliases, since a few can stand for billions of items."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a value, see PyYAML."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f'the alias *{event.anchor}: repeat the value instead', event.start_mark
            )
        return super().compose_node(parent, index)


def _read_yaml(path: Path, **lists: type) -> dict:
    """Return the content of a YAML file.

    Args:
        path: The file.
        **lists: Keys with lists → type of their items.
    """
    try:
        content = yaml.load(path.read_text(encoding='utf-8'), _Loader)
    except Exception as error:  # PyYAML also raises errors of the constructors of values
        reason = shorten(str(error), _MAX_REASON)
        raise ConfigError(f'cannot read {path}: {reason}') from error
    for key, kind in lists.items():
        items = content.get(key) if isinstance(content, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, kind) for item in items):
            raise ConfigError(
                f'{path}: {key} is {shown(items)}: expected a list of {kind.__name__}'
            )
    return content


def _listed(values: Iterable) -> str:
    """Return values for a message, in one line of limited length."""
    return list_names(sorted(values, key=str)) or 'none'


def _check_types(entry: Mapping, place: str) -> None:
    """Check the types of the values of a collection or a model."""
    for key, kind in _TYPES.items():
        value = entry.get(key)
        if value is None:
            continue
        valid = isinstance(value, kind) and not isinstance(value, bool)
        if not valid or (isinstance(value, int) and value < 0):
            raise ConfigError(f'{place}: {key} is {shown(value)}: expected {kind.__name__}')


def _model(entry: Mapping, family: str, path: Path, stated: Mapping[str, Mapping]) -> Model:
    """Create a `Model` from an entry of `Models`, and check its keys."""
    name = entry.get('Name', '(no Name)')
    place = f'{path}: entry {_listed([name])}'
    _check_types(entry, place)
    metadata = entry.get('Metadata') or {}
    _check_types(metadata, place)
    missing = [key for key in _REQUIRED if entry.get(key) is None]
    missing += [f'Metadata: {key}' for key in _METADATA if not metadata.get(key)]
    unknown = set(entry) - set(_ALLOWED)
    unknown |= set(metadata) - {*_METADATA, 'Attention FLOPs'}
    if missing or unknown:
        raise ConfigError(
            f'{place}: missing keys: {_listed(missing)}; unknown keys: {_listed(unknown)}'
        )
    result = (entry.get('Results') or [{}])[0]
    if not isinstance(result, dict):
        raise ConfigError(f'{place}: Results has the entry {shown(result)}: expected dict')
    _check_types(result, place)
    return Model(
        name=name,
        family=family,
        collection=entry['In Collection'],
        config=entry['Config'],
        title=metadata['Architecture'][0],
        data=metadata['Training Data'],
        size=metadata['Input Size'],
        params=metadata['Parameters'],
        flops=metadata['FLOPs'],
        attention_flops=metadata.get('Attention FLOPs') or 0,
        task=result.get('Task'),
        metrics=result.get('Metrics') or {},
        release=_release(entry, place),
        log=entry.get('Log'),
        licence=entry.get('Licence') or {},
        upstream=entry.get('Upstream') or {},
        stated=stated.get(name) or {},
        explanation=entry.get('Explanation') or '',
        notes=tuple(entry.get('Notes') or ()),
        alternatives=tuple(entry.get('Alternatives') or ()),
    )


def _release(entry: Mapping, place: str) -> Release | None:
    """Return the URLs and the SHA-256 of the weights of an entry, and check them."""
    value, digits = entry.get('Weights'), entry.get('Weights SHA256')
    if value is None:
        if digits is not None:
            raise ConfigError(f'{place}: Weights SHA256 without Weights')
        return None
    urls = tuple(value) if isinstance(value, list) else (value,)
    valid = bool(urls) and all(isinstance(url, str) and url.startswith(_SCHEMES) for url in urls)
    if not valid or len(set(urls)) < len(urls):
        raise ConfigError(
            f'{place}: Weights is {shown(value)}: expected a URL with {", ".join(_SCHEMES)}, or a '
            'list of different ones'
        )
    if digits is not None and not _SHA256.fullmatch(digits):
        raise ConfigError(
            f'{place}: Weights SHA256 is {shown(digits)}: expected 64 hexadecimal digits in lower '
            'case'
        )
    return Release(urls, digits)


def read_families(folder: Path | None = None) -> list[Family]:
    """Read the metafiles of all families.

    Args:
        folder: Directory of the configs. Default: that of the package.

    Returns:
        The families, in the order of `model-index.yml`, which is next to the directory.

    Raises:
        ConfigError: If a file cannot be read, an entry has missing or unknown keys or values of
            other types, or upstream results are for a model that is not in the file.
    """
    folder = config_folder() if folder is None else Path(folder)
    index = _read_yaml(folder.parent / 'model-index.yml', Import=str)
    families = []
    for line in index['Import']:
        path = folder.parent / line
        content = _read_yaml(path, Collections=dict, Models=dict)
        for item in content['Collections']:
            _check_types(item, f'{path}: collection {shown(item.get("Name"))}')
        stated = {
            name: splits
            for item in content['Collections']
            for name, splits in (item.get('Upstream Results') or {}).items()
        }
        models = tuple(_model(entry, path.parent.name, path, stated) for entry in content['Models'])
        unmatched = set(stated) - {model.name for model in models}
        if unmatched:
            raise ConfigError(
                f'{path}: Upstream Results of {_listed(unmatched)}: expected names of Models in '
                'the same file'
            )
        families.append(
            Family(
                name=path.parent.name,
                path=path,
                collections=tuple(content['Collections']),
                models=models,
            )
        )
    return families


def read_models(folder: Path | None = None) -> dict[str, Model]:
    """Read the entries of all metafiles.

    Args:
        folder: See `read_families`.

    Returns:
        Name → model.

    Raises:
        ConfigError: See `read_families`.
    """
    return {model.name: model for family in read_families(folder) for model in family.models}
