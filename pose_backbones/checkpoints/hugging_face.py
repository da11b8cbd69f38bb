"""Files on Hugging Face: `hf://OWNER/REPO/PATH[@REVISION]`.

They are downloaded by huggingface_hub into its own cache (`HF_HOME`), which it shares with timm and
other packages. It resumes, verifies and locks downloads itself, and uses `HF_ENDPOINT` and
`HF_TOKEN`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError, first_line, shorten, shown
from ..utils.release import HUB

__all__ = ['HubFile', 'fetch', 'find_cached']

_URL = re.compile(r'hf://(?P<repo>[\w.-]+/[\w.-]+)/(?P<path>[^@]+?)(?:@(?P<revision>[^@]+))?')
_MAX_REASON = 300  # characters of a message of huggingface_hub


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of models.

    Attributes:
        repo: `OWNER/REPO`.
        path: Path in the repository.
        revision: Branch, tag or commit.
    """

    repo: str
    path: str
    revision: str = 'main'

    @classmethod
    def parse(cls, url: str) -> 'HubFile':
        """Read a URL `hf://OWNER/REPO/PATH[@REVISION]`.

        Raises:
            ConfigError: If the URL has another form.
        """
        match = _URL.fullmatch(url)
        if match is None or '..' in match['path'].split('/'):
            raise ConfigError(f'{shown(url)}: expected hf://OWNER/REPO/PATH or …/PATH@REVISION')
        return cls(match['repo'], match['path'], match['revision'] or 'main')

    @property
    def web_url(self) -> str:
        """URL of the file on the web site, which determines its place in a mirror."""
        return f'https://huggingface.co/{self.repo}/resolve/{self.revision}/{self.path}'


def find_cached(url: str) -> Path | None:
    """Return the path of a file in the cache of huggingface_hub.

    Args:
        url: See `HubFile.parse`.

    Returns:
        The path; None if the file is not cached, or huggingface_hub is not installed.
    """
    file = HubFile.parse(url)
    try:
        hub = _import()
    except CheckpointError:
        return None
    found = hub.try_to_load_from_cache(file.repo, file.path, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def fetch(url: str) -> Path:
    """Download a file, unless it is cached in its newest version.

    Args:
        url: See `HubFile.parse`.

    Returns:
        The path in the cache of huggingface_hub.

    Raises:
        ConfigError: If the URL has another form.
        CheckpointError: If huggingface_hub is not installed, or the file cannot be downloaded.
    """
    file = HubFile.parse(url)
    hub = _import()
    try:
        return Path(hub.hf_hub_download(file.repo, file.path, revision=file.revision))
    except Exception as error:  # those of huggingface_hub have no common base class
        reason = shorten(first_line(error), _MAX_REASON)
        raise CheckpointError(f'{type(error).__name__}: {reason}') from error


def _import() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(
            f'{HUB} needs huggingface_hub: pip install huggingface_hub ({error})'
        ) from error
    return huggingface_hub
