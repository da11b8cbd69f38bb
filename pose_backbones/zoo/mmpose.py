"""Read MMPose's models: its configs, and the metafiles that describe them.

MMPose installs its configs and metafiles in `mmpose/.mim`. They are read without importing MMPose.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from ..configs import as_list
from ..errors import ConfigError, shorten
from ..utils.release import Release

#: measured by docs/scripts/measure_mmpose.py: name → height and width of the input, number of
#: parameters, and multiply-adds for one image; not of 3D models
SIZES = Path(__file__).with_name('mmpose_sizes.json')
#: short name → name of a config, where several configs of a model differ in data or input size.
#: MMPose has aliases for some models; these are chosen like them.
PREFERRED = {
    'rtmpose-t': 'rtmpose-t_8xb256-420e_body8-256x192',
    'rtmpose-s': 'rtmpose-s_8xb256-420e_body8-256x192',
    'rtmpose-m': 'rtmpose-m_8xb256-420e_body8-256x192',
    'rtmo-s': 'rtmo-s_8xb32-600e_body7-640x640',
    'rtmo-m': 'rtmo-m_16xb16-600e_body7-640x640',
    'rtmo-l': 'rtmo-l_16xb16-600e_body7-640x640',
    'rtmw-m': 'rtmw-m_8xb1024-270e_cocktail14-256x192',
    'rtmw-l': 'rtmw-l_8xb1024-270e_cocktail14-256x192',
    'hrnet-w32': 'td-hm_hrnet-w32_8xb64-210e_coco-256x192',
    'hrnet-w48': 'td-hm_hrnet-w48_8xb32-210e_coco-256x192',
    'resnet-50': 'td-hm_res50_8xb64-210e_coco-256x192',
    'litehrnet-18': 'td-hm_litehrnet-18_8xb64-210e_coco-256x192',
}


@dataclass(frozen=True)
class MMPoseModel:
    """A model of MMPose.

    Attributes:
        name: Name of the config, without `.py`.
        config: Path of the config.
        task: Task, such as `'body_2d_keypoint'`: a directory of MMPose's configs.
        data: Dataset that the model is trained on, as the metafile states it; None if there is no
            entry.
        metrics: Dataset → metric → value, as stated by MMPose.
        weights: URL of a checkpoint; None if there is none.
        aliases: Other names, in lower case.
    """

    name: str
    config: Path
    task: str
    data: str | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def release(self) -> Release | None:
        """The released weights, or None."""
        return Release((self.weights,)) if self.weights else None


def mmpose_folder() -> Path:
    """Return the directory with MMPose's configs and metafiles.

    Raises:
        ConfigError: If MMPose is not installed, or without its configs.
    """
    spec = find_spec('mmpose')
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location, '.mim')
        if (folder / 'model-index.yml').is_file():
            return folder
    reason = 'is installed without its configs (mmpose/.mim)' if spec else 'is not installed'
    raise ConfigError(f'MMPose {reason}: install it with pip install mmpose')


def find_config(path: str) -> Path | None:
    """Find a config that may be given by its path in MMPose's repository, `configs/…`.

    DWPose's configs name those of the teacher and the student in this way.

    Returns:
        The path as it is, or in the installed MMPose if it does not exist; None if neither exists.

    Raises:
        ConfigError: If MMPose is not installed.
    """
    found = (file for file in (Path(path), mmpose_folder() / path) if file.is_file())
    return next(found, None)


@cache
def read_mmpose_models() -> dict[str, MMPoseModel]:
    """Return the models of the installed MMPose.

    Returns:
        Name → model, for each config. Entries of metafiles without a config are left out.

    Raises:
        ConfigError: If MMPose is not installed, or a metafile cannot be read.
    """
    folder = mmpose_folder()
    files = {
        path.stem: path
        for path in sorted((folder / 'configs').rglob('*.py'))
        if '_base_' not in path.parts
    }
    entries: dict[str, list[Mapping]] = {name: [] for name in files}
    taken: set[str] = set()
    aliases: dict[str, list[str]] = {}
    for entry in _entries(folder):
        name = Path(entry['Config']).stem.replace('--', '-')  # a misspelled name in MMPose
        if name not in entries:
            continue
        entries[name].append(entry)
        for alias in as_list(entry.get('Alias')):
            if alias not in taken:  # MMPose uses the first model of an alias
                taken.add(alias)
                aliases.setdefault(name, []).append(alias.lower())
    return {
        name: _model(path, path.relative_to(folder / 'configs').parts[0], entries[name], aliases)
        for name, path in files.items()
    }


@cache
def read_sizes() -> dict[str, dict]:
    """Return the entries of `SIZES`."""
    return json.loads(SIZES.read_text(encoding='utf-8'))


def _entries(folder: Path) -> Iterator[Mapping]:
    """Iterate over the entries of all metafiles, in the order of MMPose's index."""
    for line in _read_yaml(folder / 'model-index.yml')['Import']:
        yield from _read_yaml(folder / line).get('Models') or ()


def _read_yaml(path: Path) -> dict:
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # the loader in C is 10 times as fast
    try:
        return yaml.load(path.read_text(encoding='utf-8'), loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f'cannot read {path}: {shorten(str(error), 300)}') from error


def _model(
    path: Path, task: str, entries: list[Mapping], aliases: Mapping[str, list[str]]
) -> MMPoseModel:
    metrics: dict[str, dict[str, float]] = {}
    for entry in entries:
        for result in entry.get('Results') or ():
            values = {
                key: float(value)
                for key, value in (result.get('Metrics') or {}).items()
                if isinstance(value, (int, float))
            }
            metrics.setdefault(str(result.get('Dataset')), values)
    data = [entry['Metadata'].get('Training Data') for entry in entries]
    weights = [entry['Weights'].strip('()') for entry in entries if entry.get('Weights')]
    return MMPoseModel(
        name=path.stem,
        config=path,
        task=task,
        data=', '.join(map(str, as_list(data[0]))) if data else None,
        metrics=metrics,
        weights=weights[0] if weights else None,
        aliases=tuple(aliases.get(path.stem, ())),
    )
