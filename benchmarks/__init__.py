"""Benchmarks of speed and memory; run one as `python -m benchmarks.NAME` in the repository."""
