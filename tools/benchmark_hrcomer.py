"""Measure the prediction, encoding and assigner of HRCoMer: see `--help`."""

from _moved import run_module

if __name__ == '__main__':
    run_module('benchmarks.hrcomer')
