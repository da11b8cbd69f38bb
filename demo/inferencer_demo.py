"""MMPose's own demo of its `MMPoseInferencer`, with this package's models.

    python demo/inferencer_demo.py INPUTS --pose2d CONFIG|NAME \\
        --pose2d-weights CHECKPOINT [--vis-out-dir DIR] [--pred-out-dir DIR]

It is the script that MMPose brings along; `--help` shows all that it takes.
Files that are in DIR already are not overwritten.
"""

from pose_backbones.cli.inferencer_demo import main
from pose_backbones.cli.main import run

if __name__ == '__main__':
    run(main)
