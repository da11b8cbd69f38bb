"""For tools that need a setup.py; everything is declared in pyproject.toml."""

from setuptools import setup

setup()
