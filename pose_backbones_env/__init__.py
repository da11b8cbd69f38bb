"""Parts of pose_backbones that work before, and without, its import.

- `finder`: finds replacements of packages that are missing or cannot be imported.
- `replacements`: these replacements, under the names of the real packages.

- `doctor`: the command `pose-backbones doctor`.

The finder and the command import no other package when they are imported.
"""
