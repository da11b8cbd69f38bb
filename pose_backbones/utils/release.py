"""URLs and checksums of published files."""

from dataclasses import dataclass

from ..errors import ConfigError, list_names

HTTP = ('http://', 'https://')
#: prefix of files in repositories of the Hugging Face Hub: `hf://OWNER/REPO/PATH@REVISION`
HUB = 'hf://'
_SCHEMES = (*HTTP, 'file://', HUB)


@dataclass(frozen=True)
class Release:
    """A file that is published at one or more URLs.

    Attributes:
        urls: URLs with `http://`, `https://`, `hf://` or `file://`, which are tried in this order.
        sha256: SHA-256 of the content, 64 hexadecimal digits in lower case, or None.
    """

    urls: tuple[str, ...]
    sha256: str | None = None

    def __post_init__(self) -> None:
        unknown = [url for url in self.urls if not url.startswith(_SCHEMES)]
        if unknown or not self.urls:
            raise ConfigError(
                f'URL {list_names(unknown) or "missing"}: expected one with {", ".join(_SCHEMES)}'
            )
