"""Export a model to OpenVINO, ONNX or torch.export: see `--help`."""

import _start  # noqa: F401  (first, to handle signals while the tool loads)

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.export import main

if __name__ == '__main__':
    run(main)
