"""Compare the speed of PoseInferencer and MMPoseInferencer: see `--help`."""

from _moved import run_module

if __name__ == '__main__':
    run_module('benchmarks.inference')
