"""Command `weights`: download, list and verify the released weights of models."""

import argparse
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import CheckpointError, ConfigError, PoseBackbonesError, closest, shown
from ..utils.files import is_url
from ..utils.option_values import DETECTORS, TORCHVISION

if TYPE_CHECKING:
    from ..checkpoints import Release

_NO_WEIGHTS = 'no weights'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `pose-backbones weights`."""
    parser = argparse.ArgumentParser(
        description='Download, list and verify the released weights of models and detectors. '
        'POSE_BACKBONES_MIRROR names a directory or URL that is tried first; '
        'POSE_BACKBONES_OFFLINE=1 switches downloads off. See docs/weights.md.'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    fetch = commands.add_parser('fetch', help='download weights, unless they are cached')
    fetch.add_argument(
        'names',
        nargs='+',
        metavar='NAME|URL',
        help='model, detector, or URL with https://, http:// or hf://OWNER/REPO/PATH[@REVISION]',
    )
    listing = commands.add_parser(
        'list', help='list names, sizes, states (cached, not cached, no weights) and URLs'
    )
    listing.add_argument(
        'pattern',
        nargs='?',
        metavar='PATTERN',
        help="pattern such as '*uniformer*256x192', or a part of the names, in any case "
        '(default: all)',
    )
    verify = commands.add_parser(
        'verify', help='check cached files: SHA-256, or whether they are complete'
    )
    verify.add_argument(
        'names', nargs='*', metavar='NAME', help='as for fetch (default: all cached files)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Download, list or verify weights.

    Args:
        argv: Arguments. Default: those of the command line.

    Returns:
        Exit status: 1 if a file could not be downloaded, is damaged or, if it is named, not cached.

    Raises:
        ConfigError: If no name matches the pattern of `list`, or `verify` gets an unknown name.
    """
    args = parse_args(argv)
    if args.command == 'fetch':
        return _fetch(args.names)
    if args.command == 'list':
        return _list(args.pattern)
    return _verify(args.names)


def _fetch(names: Iterable[str]) -> int:
    from ..checkpoints import local_file

    status = 0
    for name in dict.fromkeys(names):
        try:
            file = local_file(_find(name), progress=sys.stderr.isatty())
        except PoseBackbonesError as error:
            print(f'error: {name}: {error}', file=sys.stderr)
            status = 1
        else:
            print(f'{name}: {file} ({_size(file.stat().st_size)})')
    return status


def _list(pattern: str | None) -> int:
    from ..checkpoints.downloads import find_cached

    releases = _all(pattern)
    if pattern is not None and not releases:
        raise ConfigError(
            f'no name of a model or detector matches {shown(pattern)}: expected a part of a name, '
            f"or a pattern such as '*uniformer*256x192'{_suggest(pattern)}"
        )
    rows = []
    for name, release in releases.items():
        if release is None:
            rows.append((name, '', _NO_WEIGHTS, ''))
            continue
        file = find_cached(release)
        size = _size(file.stat().st_size) if file else ''
        rows.append((name, size, 'cached' if file else 'not cached', ' '.join(release.urls)))
    width = max((len(name) for name, *_ in rows), default=0)
    for name, size, state, urls in rows:
        print(f'{name:{width}}  {size:>9}  {state:10}  {urls}'.rstrip())
    return 0


def _verify(names: list[str]) -> int:
    from ..checkpoints.downloads import verify_cached

    status = 0
    found = {name: _find(name) for name in names} if names else _all(None)
    for name, release in found.items():
        try:
            result = verify_cached(release) if release else None
        except PoseBackbonesError as error:
            print(f'error: {name}: {error}', file=sys.stderr)
            status = 1
            continue
        if result is not None:
            file, what = result
            print(f'{name}: ok ({what}) {file}')
        elif names:
            print(f'error: {name}: not cached', file=sys.stderr)
            status = 1
    return status


def _find(name: str) -> 'Release':
    """Return the weights of a model or a detector, or the file of a URL."""
    from ..checkpoints import Release
    from ..zoo import find_model, find_release

    if is_url(name):
        return find_release(name)
    if name in DETECTORS or name.startswith(TORCHVISION):
        return Release((_detector_url(name),))
    if _is_like_detector(name):
        raise ConfigError(
            f'unknown detector {shown(name)}: expected {", ".join(DETECTORS)} or {TORCHVISION}NAME'
            f'{_suggest(name)}'
        )
    entry = find_model(name)
    if entry.release is None:
        raise CheckpointError(f'{entry.name} has no released weights')
    return entry.release


def _is_like_detector(name: str) -> bool:
    families = tuple({detector.partition('-')[0] for detector in DETECTORS})
    return name.lower().startswith(families)


def _suggest(text: str) -> str:
    """Return the closest names of detectors or models, for the end of a message."""
    from ..zoo.names import SOURCES, suggest

    name = text.strip('*?')
    return closest(name, list(DETECTORS)) if _is_like_detector(name) else suggest(name, SOURCES)


def _all(pattern: str | None) -> 'dict[str, Release | None]':
    """Return name → weights of all models and detectors."""
    from ..checkpoints import Release
    from ..zoo import list_releases

    detectors: list[str] = []
    if find_spec('mmdet') is not None:
        detectors += DETECTORS
    if find_spec('torchvision') is not None:
        from ..inference.torchvision_detector import list_torchvision_detectors

        detectors += list_torchvision_detectors()
    releases = list_releases(pattern, detectors)
    for name in releases.keys() & set(detectors):
        releases[name] = Release((_detector_url(name),))
    return releases


def _detector_url(name: str) -> str:
    from ..inference.detector import released_detector
    from ..inference.torchvision_detector import released_torchvision_detector

    if name.startswith(TORCHVISION):
        return released_torchvision_detector(name).url
    return released_detector(name)[1]


def _size(size: int) -> str:
    """Return a size in bytes as text."""
    return f'{size / 1e6:.1f} MB' if size >= 100_000 else f'{size:,} B'
