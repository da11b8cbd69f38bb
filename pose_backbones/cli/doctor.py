"""Find out what is wrong with an installation: `pose-backbones doctor`.

The code is in `pose_backbones_env`, since it has to run where this package does not import.
"""

from pose_backbones_env.doctor import main

__all__ = ['main']
