"""Run the demo of MMPose's `MMPoseInferencer` with the models of this package.

    python demo/inferencer_demo.py INPUTS --pose2d CONFIG|NAME \\
        --pose2d-weights CHECKPOINT [--vis-out-dir DIR] [--pred-out-dir DIR]

It runs the script that MMPose installs; `--help` shows all of its options. Existing files in DIR
are not overwritten.
"""

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.inferencer_demo import main

if __name__ == '__main__':
    run(main)
