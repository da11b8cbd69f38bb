"""Utilities without dependencies on the rest of the package: files, images, arguments, locks."""
