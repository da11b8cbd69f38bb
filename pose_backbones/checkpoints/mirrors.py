"""Settings of downloads in the environment: the user's mirror, and the offline mode.

- `POSE_BACKBONES_MIRROR`: a directory, or the first part of an `http://` or `https://` URL, which
  is tried before the URL of a file. The file in it is named by the host and the path of the URL:
  MIRROR/download.openmmlab.com/mmpose/v1/projects/x.pth. In a directory, MIRROR/x.pth is found,
  too.
- `POSE_BACKBONES_OFFLINE`: nothing is downloaded if it is set to `1`, `true`, `yes` or `on`.
- `HF_HUB_OFFLINE`: the same for `hf://`, as in huggingface_hub.
"""

import os
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ..errors import ConfigError, shown
from ..utils.release import HTTP

__all__ = ['MIRROR', 'OFFLINE', 'is_offline', 'mirrored', 'path_in_mirror']

MIRROR = 'POSE_BACKBONES_MIRROR'
OFFLINE = 'POSE_BACKBONES_OFFLINE'
HUB_OFFLINE = 'HF_HUB_OFFLINE'
_TRUE = ('1', 'true', 'yes', 'on')
_FALSE = ('', '0', 'false', 'no', 'off')


def is_offline(is_hub: bool = False) -> bool:
    """Return whether downloads are switched off.

    Args:
        is_hub: Whether the file is on Hugging Face (`hf://`).

    Raises:
        ConfigError: If `POSE_BACKBONES_OFFLINE` has another value than those above.
    """
    value = os.environ.get(OFFLINE, '').strip().lower()
    if value not in (*_TRUE, *_FALSE):
        raise ConfigError(f'{OFFLINE} is {shown(value)}: expected 1 or 0')
    return value in _TRUE or (is_hub and os.environ.get(HUB_OFFLINE, '').strip().lower() in _TRUE)


def path_in_mirror(url: str) -> str:
    """Return the path of a file below a mirror: the host and the decoded path of its URL.

    User names, queries and fragments of the URL are left out, and so are `.`, `..` and empty parts
    of the path.

    Args:
        url: URL with `http://` or `https://`.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition('@')[2].lower()
    names = [name for name in unquote(parts.path).split('/') if name not in ('', '.', '..')]
    return '/'.join((host, *names))


def mirrored(url: str) -> list[Path | str]:
    """Return where a file can be in the user's mirror.

    Args:
        url: URL with `http://` or `https://`.

    Returns:
        The paths of existing files in a directory, or one URL. Empty if there is no mirror.

    Raises:
        ConfigError: If the mirror is neither a directory nor a URL.
    """
    mirror = os.environ.get(MIRROR, '').strip()
    if not mirror:
        return []
    path = path_in_mirror(url)
    if mirror.startswith(HTTP):
        return [f'{mirror.rstrip("/")}/{quote(path, safe="/:+")}']
    if mirror.startswith('file://'):
        mirror = unquote(urlsplit(mirror).path)
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f'{MIRROR} is {shown(mirror)}: expected a directory, or a URL with http:// or https://'
        )
    candidates = (folder / path, folder / path.rpartition('/')[2])
    return [file for file in dict.fromkeys(candidates) if file.is_file()]
