"""Models; importing this registers them."""

from . import backbones  # noqa: F401
