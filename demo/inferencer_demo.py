"""MMPose's own demo of its `MMPoseInferencer`, with this package's models.

    python demo/inferencer_demo.py INPUTS --pose2d CONFIG|NAME \\
        --pose2d-weights CHECKPOINT [--vis-out-dir DIR] [--pred-out-dir DIR]

It is the script that MMPose brings along; `--help` shows all that it takes.
"""

import runpy
from pathlib import Path

import pose_backbones  # noqa: F401, its models and their names

import mmpose  # isort: skip

DEMO = Path(mmpose.__file__).parent / '.mim/demo/inferencer_demo.py'

if __name__ == '__main__':
    runpy.run_path(str(DEMO), run_name='__main__')
