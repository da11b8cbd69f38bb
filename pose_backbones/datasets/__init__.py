"""Data: transforms and the synthetic data set."""
