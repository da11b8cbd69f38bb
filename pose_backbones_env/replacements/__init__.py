"""Packages that are used where the real ones are missing or cannot be imported.

`pose_backbones_env.finder` finds them under the names of the real packages.
"""
