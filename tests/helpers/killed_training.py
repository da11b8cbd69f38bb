"""Train the toy model and kill the process at a given moment of saving.

usage: killed_training.py FOLDER POINT...

For each point, a process trains in FOLDER/POINT and kills itself (SIGKILL) at its third checkpoint.
The processes are forked, so that slow imports happen only once.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from pose_backbones.checkpoints import writing
from pose_backbones.engine import checkpoint_hook
from pose_backbones.engine.checkpoint_hook import SafeCheckpointHook
from tests.helpers.toy_runs import train_toy

COUNT = 3


def kill(*_) -> None:
    """End this process immediately, like a power failure."""
    os.kill(os.getpid(), signal.SIGKILL)


def call_at(
    owner, name: str, count: int, before=None, after=None, where=lambda *args: True
) -> None:
    """Call a function before or after the N-th call of another function."""
    function = getattr(owner, name)
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(where(*args))
        reached = calls[-1] and sum(calls) == count
        if reached and before:
            before(*args)
        result = function(*args, **kwargs)
        if reached and after:
            after(*args)
        return result

    setattr(owner, name, wrapped)


def write_half(writer, content) -> None:
    """Write half of a block, and kill the process."""
    os.write(writer.fileno(), bytes(content)[: len(content) // 2])
    kill()


def is_draft(path: Path, *_) -> bool:
    """Return whether a file is a checkpoint that is being written."""
    return path.name.endswith('.pth.partial')


def is_pointer(path: Path, target: Path) -> bool:
    """Return whether a file will become the pointer to the newest checkpoint."""
    return Path(target).name == 'last_checkpoint'


def prepare(point: str) -> None:
    """Arrange for the process to be killed.

    Args:
        point: Moment of saving, see `POINTS` in tests/engine/test_checkpoint_hook.py.
    """
    if point == 'before_writing':
        call_at(torch, 'save', COUNT, before=kill)
    elif point == 'half_written':

        def fail_in_write(*_):
            call_at(writing._Writer, 'write', 8, before=write_half)

        call_at(torch, 'save', COUNT, before=fail_in_write)
    elif point == 'written':
        call_at(Path, 'replace', COUNT, before=kill, where=is_draft)
    elif point == 'renamed':
        call_at(Path, 'replace', COUNT, after=kill, where=is_draft)
    elif point == 'pointer_written':
        call_at(Path, 'replace', COUNT, before=kill, where=is_pointer)
    elif point == 'pointed':
        call_at(checkpoint_hook, 'write_pointer', COUNT, after=kill)
    elif point == 'before_removal':  # Nothing is removed for the first checkpoint.
        call_at(SafeCheckpointHook, '_remove', COUNT - 1, before=kill)
    elif point == 'removed':
        call_at(SafeCheckpointHook, '_remove', COUNT - 1, after=kill)
    else:
        raise ValueError(point)


def main(folder: str, *points: str) -> None:
    """Train once for each point."""
    torch.set_num_threads(1)
    for point in points:
        child = os.fork()
        if not child:
            prepare(point)
            train_toy(Path(folder, point), default_hooks__checkpoint__max_keep_ckpts=1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        with Path(folder, 'signals').open('a') as file:
            file.write(f'{point} {os.WTERMSIG(status)}\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
