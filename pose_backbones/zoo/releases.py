"""Released weights by name and by URL."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache

from ..utils.release import Release
from .metafile import Model, read_models
from .mmpose import MMPoseModel, read_mmpose_models
from .names import MMPOSE, OWN, PREFIX, short_names


def list_releases(
    pattern: str | None = None, more: Iterable[str] = ()
) -> dict[str, Release | None]:
    """Return the released weights of the models of this package and of MMPose.

    Args:
        pattern: Shell-style pattern such as `'*uniformer*256x192'`, or a part of a name or short
            name, in any case; only of one package after `mmpose::` or `pose_backbones::`. Default:
            all models.
        more: Further names, which are listed without weights.

    Returns:
        Name of the model → its weights, or None; sorted by name. If both packages have a model of
        the same name, it is that of this package.

    Raises:
        ConfigError: If MMPose is not installed.
    """
    found: dict[str, Release | None] = dict.fromkeys(more)
    packages: dict[str, Mapping[str, Model | MMPoseModel]] = {
        MMPOSE: read_mmpose_models(),
        OWN: read_models(),
    }
    for models in packages.values():
        found.update((name, model.release) for name, model in models.items())

    source, _, rest = (pattern or '').lower().rpartition(PREFIX)
    if source in packages:
        found = {name: found[name] for name in packages[source]}
        pattern = rest
    pattern = (pattern or '*').lower()
    pattern = pattern if set(pattern) & set('*?[') else f'*{pattern}*'
    return {
        name: release
        for name, release in sorted(found.items())
        if any(
            fnmatchcase(each.lower(), pattern)
            for each in (name, *(short_names(name) if name in packages[MMPOSE] else ()))
        )
    }


def find_release(url: str) -> Release:
    """Return the other URLs and the SHA-256 of a file.

    Args:
        url: One of its URLs.

    Returns:
        The entry of a metafile of this package; if there is none, the URL alone.
    """
    return _by_url().get(url) or Release((url,))


@cache
def _by_url() -> dict[str, Release]:
    releases = [model.release for model in read_models().values() if model.release]
    return {url: release for release in releases for url in release.urls}
