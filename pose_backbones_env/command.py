"""Entry point of the `pose-backbones` command."""

import os
import sys


def main() -> None:
    """Run `doctor`, which works where `pose_backbones` does not import, or any other command."""
    if sys.argv[1:2] == ['doctor']:
        from .doctor import main as doctor

        sys.exit(doctor(sys.argv[2:]))
    try:
        from pose_backbones.cli.__main__ import main as command
    except Exception as error:
        if os.environ.get('POSE_BACKBONES_DEBUG'):
            raise
        lines = str(error).splitlines() or ['']
        print(
            f'error: pose_backbones cannot be imported ({type(error).__name__}: {lines[0]}); '
            'pose-backbones doctor finds the cause',
            file=sys.stderr,
        )
        sys.exit(2)
    command()
