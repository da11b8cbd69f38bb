"""Timings; run one as `python -m benchmarks.NAME` in the repository."""
