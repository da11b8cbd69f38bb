"""Select a few inputs that execute the same lines as all: `python -m tests.fuzzing.select_inputs`.

Requires Python 3.12 or newer (`sys.monitoring`).
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType

from .targets import TARGETS, clear, workspace

_TOOL = sys.monitoring.COVERAGE_ID if sys.version_info >= (3, 12) else None
_PACKAGE = 'pose_backbones'

Lines = set[tuple[str, int]]


def executed_lines(function: Callable[[], object]) -> Lines:
    """Return the lines of the package that a function executes, as file and number.

    Exceptions of the function are ignored.
    """
    monitoring = sys.monitoring
    lines: Lines = set()

    def add(code: CodeType, number: int) -> object:
        if f'/{_PACKAGE}/' in code.co_filename:
            lines.add((code.co_filename, number))
        return monitoring.DISABLE

    monitoring.use_tool_id(_TOOL, 'select_inputs')
    try:
        monitoring.register_callback(_TOOL, monitoring.events.LINE, add)
        monitoring.set_events(_TOOL, monitoring.events.LINE)
        monitoring.restart_events()
        with suppress(Exception):
            function()
    finally:
        monitoring.set_events(_TOOL, 0)
        monitoring.free_tool_id(_TOOL)
    return lines


def select(inputs: dict[str, Lines], covered: Lines) -> list[str]:
    """Select inputs one at a time, each with the most lines that are not covered yet.

    Args:
        inputs: Name of an input → lines that it executes. Of inputs with equally many new lines,
            the first is selected.
        covered: Lines that are already covered.

    Returns:
        Names.
    """
    covered, remaining, selected = set(covered), dict(inputs), []
    while remaining:
        best = max(remaining, key=lambda name: len(remaining[name] - covered))
        new = remaining.pop(best) - covered
        if not new:
            break
        covered |= new
        selected.append(best)
    return selected


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m tests.fuzzing.select_inputs`."""
    parser = argparse.ArgumentParser(prog='python -m tests.fuzzing.select_inputs')
    parser.add_argument('target', choices=TARGETS)
    parser.add_argument('folder', type=Path, help='directory of inputs, DIR/corpus of a search')
    parser.add_argument(
        '--max-bytes',
        type=int,
        default=8192,
        metavar='N',
        help='ignore larger inputs (default: 8192)',
    )
    args = parser.parse_args(argv)
    target = TARGETS[args.target]
    paths = [path for path in args.folder.iterdir() if path.stat().st_size <= args.max_bytes]
    paths.sort(key=lambda path: (path.stat().st_size, path.name))
    with workspace() as folder:

        def lines(content: bytes) -> Lines:
            clear(folder)
            return executed_lines(lambda: target.run(content, folder))

        known: Lines = set()
        for path in target.files:
            known |= lines(path.read_bytes())
        inputs = {path.name: lines(path.read_bytes()) for path in paths}
    selected = select(inputs, known)
    for name in selected:
        (target.corpus / name[:12]).write_bytes((args.folder / name).read_bytes())
    print(f'{args.target}: {len(selected)} of {len(paths)} inputs added to {target.corpus}')


if __name__ == '__main__':
    main()
