"""Compare MSPN with the MSPN of MMPose, by number of stages: see `--help`."""

from _moved import run_module

if __name__ == '__main__':
    run_module('benchmarks.mspn')
