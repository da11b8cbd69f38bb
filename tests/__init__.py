"""Tests; `tests.helpers` is shared by them."""
