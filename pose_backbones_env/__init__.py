"""Parts of pose_backbones that work before, and without, its import.

- `finder`: finds replacements of packages that are missing or do not import.
- `replacements`: these replacements, under the names of the real packages.

Nothing here imports `pose_backbones` or, at its own import, any other package.
"""
