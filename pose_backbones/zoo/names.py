"""Find models by name: those of this package and those of MMPose."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from os import PathLike, fspath
from pathlib import Path

from mmengine.config import Config

from ..configs import config_folder, load_config
from ..errors import ConfigError, shown, similar
from ..utils.release import Release
from .metafile import read_models
from .mmpose import PREFERRED, mmpose_folder, read_mmpose_models

#: packages with configs; the first one has priority
SOURCES = OWN, MMPOSE = 'pose_backbones', 'mmpose'
PREFIX = '::'  # between the package and the name, as in MMEngine
_MAX_CHOICES = 20  # names in a message
_CONFIG_SUFFIXES = ('.py', '.json', '.yml', '.yaml')


@dataclass(frozen=True)
class Entry:
    """A config with a name.

    Attributes:
        name: Name of the config, without `.py`.
        source: One of `SOURCES`.
        config: Path of the config.
    """

    name: str
    source: str
    config: Path

    @property
    def release(self) -> Release | None:
        """URLs and SHA-256 of the released weights, or None."""
        models = read_mmpose_models() if self.source == MMPOSE else read_models()
        model = models.get(self.name)
        return model.release if model else None

    @property
    def weights(self) -> str | None:
        """First URL of the released weights, or None."""
        release = self.release
        return release.urls[0] if release else None


def list_models(pattern: str | None = None, source: str = OWN) -> list[str]:
    """Return the names of models.

    Args:
        pattern: Shell-style pattern such as `'*uniformer*256x192'`. Default: all models.
        source: `'pose_backbones'`, the models that this package has configs for; `'mmpose'`, those
            of the installed MMPose; or `'all'`. If both have a config of the same name, the name
            stands for that of this package, and `'mmpose::NAME'` for that of MMPose.

    Returns:
        The sorted names. The name of a model is that of its config without `.py`.

    Raises:
        ConfigError: If MMPose is not installed.
        ValueError: If there is no such source.
    """
    if source not in (*SOURCES, 'all'):
        raise ValueError(f"source is {source!r}: expected 'pose_backbones', 'mmpose' or 'all'")
    names: set[str] = set()
    for each in SOURCES if source == 'all' else (source,):
        names.update(_files(each))
    return sorted(name for name in names if pattern is None or fnmatchcase(name, pattern))


def find_model(text: str) -> Entry:
    """Find a model by its name, or a part of it.

    The models of this package have priority over those of MMPose.

    Args:
        text: The name; or some of its parts in the same order, such as `moganet-s_coco-256x192` for
            `td-hm_moganet-s_8xb32-210e_coco-256x192`; or for a model of MMPose, one of its aliases,
            such as `human`, or of `PREFERRED`, such as `rtmpose-m`. A family of models of several
            sizes, such as `rtmpose`, is ambiguous unless it is an alias. With the prefix
            `pose_backbones::` or `mmpose::`, only the models of this package are found; then, the
            path of a config in its directory of configs is a name, too.

    Returns:
        The model.

    Raises:
        ConfigError: If no model or several models match. The message lists similar names.
        TypeError: If the name is not a str.
    """
    return _find(text)


def _find(text: str, other: str = '') -> Entry:
    """See `find_model`; `other` is what else the caller takes, for the message."""
    if not isinstance(text, str):
        raise TypeError(f'{shown(text)} is not the name of a model: expected a str')
    if text.endswith(_CONFIG_SUFFIXES) and PREFIX not in text:
        name = Path(text).stem
        is_name = any(name in _files(source) for source in SOURCES)
        raise ConfigError(
            f'{shown(text)} is the path of a config: expected the name of a model'
            f'{f", {name}" if is_name else ""}. From Python, PoseInferencer takes the path of a '
            'config'
        )
    source, _, name = text.rpartition(PREFIX)
    if source and source not in SOURCES:
        raise ConfigError(f'{shown(text)}: expected a name with {" or ".join(SOURCES)} before ::')
    if source and name.endswith('.py'):
        name = _name_of_path(name, source)
    sources = (source,) if source else SOURCES
    for find in (_exact, _by_alias, _by_parts):
        for each in sources:
            matches = find(name, each)
            if len(matches) == 1:
                return Entry(matches[0], each, _files(each)[matches[0]])
            if matches:
                raise _ambiguous(text, name, matches, each)
    for each in sources:
        matches = _by_prefixes(name, each)
        if len(matches) > 1:  # a single one may be another model than the one that is meant
            raise _ambiguous(text, name, matches, each)
    raise ConfigError(_unknown(text, name, sources, other))


def find_name(text: str) -> str:
    """Return the full name with which a model is found, see `find_model`.

    It has the prefix `mmpose::` if this package has a model of the same name.
    """
    model = find_model(text)
    return full_name(model.name, model.source)


def full_name(name: str, source: str) -> str:
    """Return the name with which the config of a package is found.

    Args:
        name: Name of the config.
        source: One of `SOURCES`.

    Returns:
        The name; with the prefix `mmpose::` if this package has a config of the same name.
    """
    return f'{source}{PREFIX}{name}' if source != OWN and name in _files(OWN) else name


def get_config(name: str) -> Config:
    """Load the config of a model.

    Args:
        name: See `find_model`.

    Returns:
        A new config, which the caller may change.

    Raises:
        ConfigError: If no model or several models match. The message lists similar names.
    """
    return load_config(str(find_model(name).config))


def config_path(text: str | PathLike) -> str:
    """Return the path of a config that is given as a path or as the name of a model.

    Args:
        text: The path of a config file, which may not exist; or the name of a model, see
            `find_model`.

    Returns:
        The path.

    Raises:
        ConfigError: If there is no model of the name.
    """
    text = fspath(text)
    return text if is_config_path(text) else str(_find(text, 'the path of a config, or ').config)


def is_config_path(text: str) -> bool:
    """Return whether a text is a path of a config, which may not exist, and not a name."""
    is_path = text.endswith(_CONFIG_SUFFIXES) or len(Path(text).parts) > 1
    return Path(text).is_file() or (is_path and PREFIX not in text)


def is_model_name(text: str) -> bool:
    """Return whether a text is the name of a model, see `find_model`."""
    try:
        find_model(text)
    except ConfigError:
        return False
    return True


@cache
def _files(source: str) -> dict[str, Path]:
    """Return name → path of the configs of a package, except for base configs."""
    if source == MMPOSE:
        return {model.name: model.config for model in read_mmpose_models().values()}
    return {
        path.stem: path for path in config_folder().glob('*/*.py') if path.parent.name != '_base_'
    }


def _exact(name: str, source: str) -> list[str]:
    return [name] if name in _files(source) else []


def _by_alias(name: str, source: str) -> list[str]:
    if source != MMPOSE:
        return []
    alias = name.lower()
    models = read_mmpose_models()
    if PREFERRED.get(alias) in models:
        return [PREFERRED[alias]]
    if found := [model.name for model in models.values() if alias in model.aliases]:
        return found
    # Without the size of a model, `rtmpose` would be the only config of which it is a part.
    family = [full for full in _files(source) if _family_part(full, alias)]
    return family if len(family) > 1 else []


def _family_part(name: str, family: str) -> str | None:
    """Return the part of the name of a config that has a family and a size, such as `rtmpose-m`.

    Args:
        name: Name of a config of MMPose.
        family: Such as `rtmpose`; a part of short names, without the size.

    Returns:
        The part, in lower case; None if the config is not of the family.
    """
    if not _is_family(family):
        return None
    parts = name.lower().split('_')
    return next((part for part in parts if _begins_with(part, family)), None)


@cache
def _all_short_names() -> frozenset[str]:
    aliases = (alias for model in read_mmpose_models().values() for alias in model.aliases)
    return frozenset((*PREFERRED, *aliases))


def _is_family(name: str) -> bool:
    """Return whether a name is the part of short names that precedes their sizes."""
    return any(short.startswith(f'{name}-') for short in _all_short_names())


def _choices(name: str, matches: list[str], source: str) -> str:
    """Return what is expected instead of an ambiguous name, for the end of a message.

    Args:
        name: The name.
        matches: Full names of the configs for which it can stand.
        source: Their package.
    """
    labels = {_label(full, name.lower()) if source == MMPOSE else full for full in matches}
    shorts = labels - {full_name(full, source) for full in matches}
    ordered = [*sorted(shorts), *sorted(labels - shorts)][:_MAX_CHOICES]
    return (
        f'expected {"a short name or " if shorts else ""}the full name, '
        f'{", ".join(ordered[:-1])} or {ordered[-1]}'
        + f'; pose-backbones models {name.replace("_", " ")} lists all'
        * (len(ordered) < len(matches))
    )


def _label(full: str, family: str) -> str:
    """Return the short name of a config of a family of MMPose, or of its size; or its full name."""
    part = _family_part(full, family)
    if part is None or part in _all_short_names():
        return part or full_name(full, MMPOSE)
    return next(iter(short_names(full)), full_name(full, MMPOSE))


def _name_of_path(path: str, source: str) -> str:
    """Return the name of a config that is given by its path in the directory of configs.

    Args:
        path: The path, or the name with `.py` alone.
        source: The package.

    Raises:
        ConfigError: If the config is in another directory.
    """
    folder = mmpose_folder() / 'configs' if source == MMPOSE else config_folder()
    name = Path(path).stem
    file = _files(source).get(name)
    if file is not None and path not in (f'{name}.py', str(file.relative_to(folder))):
        raise ConfigError(
            f'config not found: {source}{PREFIX}{path}; did you mean '
            f'{source}{PREFIX}{file.relative_to(folder)}?'
        )
    return name


def _by_parts(name: str, source: str) -> list[str]:
    return _select(name, source, str.__eq__)


def _by_prefixes(name: str, source: str) -> list[str]:
    """Return the models of a family, such as `moganet` or `rtmpose-m_coco`.

    A part may lack what follows a hyphen, such as the size of the model or of its input.
    """
    return _select(name, source, _begins_with)


def _select(name: str, source: str, matches: Callable[[str, str], bool]) -> list[str]:
    """Return the models whose names contain the parts of a name in this order."""

    def contains(full: str) -> bool:
        rest = iter(full.lower().split('_'))
        return all(any(matches(each, part) for each in rest) for part in parts)

    parts = name.lower().split('_')
    return sorted(filter(contains, _files(source)))


def _begins_with(part: str, family: str) -> bool:
    """Return whether a part of a name is a family, or one with a hyphen and more behind it."""
    return f'{part}-'.startswith(f'{family}-')


def _ambiguous(text: str, name: str, matches: list[str], source: str) -> ConfigError:
    return ConfigError(f'model {text!r} is ambiguous: {_choices(name, matches, source)}')


def _unknown(text: str, name: str, sources: Iterable[str], other: str) -> str:
    """Return the message about an unknown name."""
    lists = []
    for source in sources:
        argument = '' if source == OWN else f'source={source!r}'
        count = len(_files(source))
        lists.append(f'the {count} names of pose_backbones.list_models({argument})')
    return (
        f'unknown model {shown(text)}: expected {other}one of {" or ".join(lists)}'
        f'{suggest(name, sources)}'
    )


def suggest(text: str, sources: Iterable[str]) -> str:
    """Suggest the closest names of each package, for the end of an error message.

    Args:
        text: The name that was not found.
        sources: Packages.

    Returns:
        `"; did you mean A or B, or C?"`, or an empty string if no name is similar.
    """
    hints = []
    for source in sources:
        near = [full_name(name, source) for name in similar(text, sorted(_files(source)))]
        near = near or similar(text, _first_parts(source))
        if near:
            hints.append(' or '.join(near))
    return f'; did you mean {", or ".join(hints)}?' if hints else ''


def short_names(name: str) -> list[str]:
    """Return the aliases and other short names of a model of MMPose."""
    preferred = [short for short, full in PREFERRED.items() if full == name]
    return [*preferred, *read_mmpose_models()[name].aliases]


def _first_parts(source: str) -> list[str]:
    """Return the first parts of the names of a package, and its short names."""
    parts = {part for name in _files(source) for part in name.split('_')[:2]}
    if source == MMPOSE:
        parts.update(short for name in _files(source) for short in short_names(name))
    return sorted(parts)
