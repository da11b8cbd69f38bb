"""Packages that are used where the real ones are missing or do not import.

`pose_backbones_finder.py` finds them under the names of the real packages. They import nothing of
`pose_backbones`, since MMPose may import them first.
"""
