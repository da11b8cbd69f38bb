"""Reading `configs/<family>/metafile.yml`, in OpenMMLab's format.

Beyond that format, a model has `Log`, `Licence` (of its weights and of the
backbone's that training starts from), `Upstream` (what the sources say of its
size, and where), `Explanation` (why that differs from what is measured),
`Notes` and `Alternatives` (other releases of the same model); a collection
has `Backbone` (the file), `Description`, `Notes` and `Upstream Results` (what
the source states of configs without released weights: name of the config,
split, metric).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..configs import config_folder
from ..errors import ConfigError

_REQUIRED = ('Name', 'In Collection', 'Config', 'Metadata')
_KNOWN = (
    *_REQUIRED,
    'Results',
    'Weights',
    'Log',
    'Licence',
    'Upstream',
    'Explanation',
    'Notes',
    'Alternatives',
)
_METADATA = ('Architecture', 'Training Data', 'Input Size', 'Parameters', 'FLOPs')


@dataclass(frozen=True)
class Model:
    """What a metafile says of one config.

    Attributes:
        name: The config's name.
        family: Folder of the config.
        collection: Which of the family's.
        config: Path of the config in the repository.
        title: Name of the backbone, for readers.
        data: Data set it is trained on.
        size: Height x width of the input, as text.
        params: Number of parameters that are trained.
        flops: Multiply-adds of the layers, for one image.
        attention_flops: Multiply-adds of attention's matrix products, which
            `flops` does not contain.
        task: Such as `'Body 2D Keypoint'`; None without results.
        metrics: Name → value, upstream's; empty without results.
        weights: URL of a pose checkpoint, or None.
        log: URL of its training log, or None.
        licence: Of `'Weights'` and `'Backbone'` (the ImageNet weights that
            training starts from), as far as there are such weights.
        upstream: `'Source'` of the results, `'Complexity'` of the figures
            (where another), `'Params'`, `'FLOPs'`, `'FLOPs Count'`.
        stated: Split → metric → value: upstream's results of a model without
            weights.
        explanation: Why upstream's figures differ from the measured ones.
        notes: Sentences.
        alternatives: Other releases: `'Source'`, `'Metrics'`, `'Weights'`,
            `'Log'`, `'Licence'`.
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
    weights: str | None = None
    log: str | None = None
    licence: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    stated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    explanation: str = ''
    notes: tuple[str, ...] = ()
    alternatives: tuple[Mapping, ...] = ()

    @property
    def total_flops(self) -> int:
        """Multiply-adds of layers and attention."""
        return self.flops + self.attention_flops

    @property
    def is_demo(self) -> bool:
        """Whether it is a demo, which has no place beside the others."""
        return '-demo_' in self.name


@dataclass(frozen=True)
class Family:
    """One metafile.

    Attributes:
        name: Folder under `configs`.
        path: Of the metafile.
        collections: As in the file.
        models: In the order of the file.
    """

    name: str
    path: Path
    collections: tuple[Mapping, ...]
    models: tuple[Model, ...]


def _model(entry: Mapping, family: str, path: Path, stated: Mapping[str, Mapping]) -> Model:
    """An entry of `Models`, checked for the keys it should have."""
    name = entry.get('Name', '(without Name)')
    metadata = entry.get('Metadata') or {}
    missing = [key for key in _REQUIRED if key not in entry]
    missing += [f'Metadata: {key}' for key in _METADATA if key not in metadata]
    unknown = set(entry) - set(_KNOWN)
    unknown |= set(metadata) - {*_METADATA, 'Attention FLOPs'}
    if missing or unknown:
        raise ConfigError(
            f'{path}: {name} lacks {", ".join(missing) or "nothing"} and has '
            f'the unknown keys {", ".join(sorted(unknown)) or "(none)"}'
        )
    result = (entry.get('Results') or [{}])[0]
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
        attention_flops=metadata.get('Attention FLOPs', 0),
        task=result.get('Task'),
        metrics=result.get('Metrics', {}),
        weights=entry.get('Weights'),
        log=entry.get('Log'),
        licence=entry.get('Licence', {}),
        upstream=entry.get('Upstream', {}),
        stated=stated.get(name, {}),
        explanation=entry.get('Explanation', ''),
        notes=tuple(entry.get('Notes', ())),
        alternatives=tuple(entry.get('Alternatives', ())),
    )


def read_families(folder: Path | None = None) -> list[Family]:
    """Read the metafiles of all families.

    Args:
        folder: The configs; None: those of the package.

    Returns:
        The families in the order of `model-index.yml`, beside the folder.

    Raises:
        ConfigError: If a model's entry lacks a key or has an unknown one, or
            results are of a model that is not in the file.
    """
    folder = config_folder() if folder is None else Path(folder)
    index = yaml.safe_load((folder.parent / 'model-index.yml').read_text(encoding='utf-8'))
    families = []
    for line in index['Import']:
        path = folder.parent / line
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        stated = {
            name: splits
            for item in content['Collections']
            for name, splits in item.get('Upstream Results', {}).items()
        }
        models = tuple(_model(entry, path.parent.name, path, stated) for entry in content['Models'])
        lost = set(stated) - {model.name for model in models}
        if lost:
            raise ConfigError(
                f'{path}: Upstream Results are of {", ".join(sorted(lost))}: '
                'expected names of Models in the same file'
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
