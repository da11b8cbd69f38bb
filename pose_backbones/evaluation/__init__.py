"""Metrics, and result files for evaluation servers."""
