"""The part of pkg_resources that MMEngine uses; setuptools removed the module in version 82.

MMEngine asks whether a package is installed, and where. The fixture `monkeypatch` of pytest calls
`fixup_namespace_packages`.
"""

import importlib.metadata

__all__ = ['Distribution', 'DistributionNotFound', 'fixup_namespace_packages', 'get_distribution']


class DistributionNotFound(importlib.metadata.PackageNotFoundError):
    """No distribution of this name is installed."""


class Distribution:
    """An installed distribution.

    Args:
        name: Name of the distribution, such as `'mmcv-lite'`.

    Attributes:
        location: Directory that contains the package.
        version: Version of the distribution.

    Raises:
        DistributionNotFound: If it is not installed.
    """

    def __init__(self, name: str):
        try:
            self._distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise DistributionNotFound(name) from error
        self.project_name = self._distribution.metadata['Name']
        self.version = self._distribution.version
        self.location = str(self._distribution.locate_file(''))

    def has_metadata(self, name: str) -> bool:
        """Return whether a file of the metadata exists, such as `'top_level.txt'`."""
        return self._distribution.read_text(name) is not None

    def get_metadata(self, name: str) -> str:
        """Return the text of a file of the metadata.

        Raises:
            FileNotFoundError: If the file does not exist.
        """
        text = self._distribution.read_text(name)
        if text is None:
            raise FileNotFoundError(f'{self.project_name} has no {name}')
        return text


def get_distribution(name: str) -> Distribution:
    """Return an installed distribution, see `Distribution`."""
    return Distribution(name)


def fixup_namespace_packages(path_item: str, parent: object = None) -> None:
    """Do nothing: there are no namespace packages that pkg_resources has declared."""
