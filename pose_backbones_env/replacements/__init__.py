"""Packages that are used where the real ones are missing or do not import.

`pose_backbones_env.finder` finds them under the names of the real packages.
"""
