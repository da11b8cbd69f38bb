"""Replace missing packages, but do not import `pose_backbones` when MMEngine is imported."""

from pose_backbones_env import finder

finder.install()
finder.PATCHED = ()
