"""The one place that states the version; pyproject.toml refers to it."""

__version__ = '0.1.0'
