"""PoseInferencer beside MMPose's: see `--help`."""

from pose_backbones.apis.benchmark_inference import main
from pose_backbones.apis.cli import run

if __name__ == '__main__':
    run(main)
