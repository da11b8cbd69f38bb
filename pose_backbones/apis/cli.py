"""What the command-line tools have in common."""

import argparse
import atexit
import hashlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable

import torch.distributed as dist
from mmengine.config import DictAction

from ..utils.errors import ConfigError, PoseBackbonesError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
#: set in a process that a launcher has started
_STARTED_BY = ('LOCAL_WORLD_SIZE', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
#: exit status for an error of the user's making, as argparse has it
USER_ERROR = 2


def run(main: Callable[[list[str] | None], object]) -> None:
    """Run a tool: a user's error becomes one message and exit status 2.

    A number that `main` returns is the exit status. Set
    POSE_BACKBONES_DEBUG=1 to see the traceback as well.

    Args:
        main: Takes the arguments; None stands for those of the command line.
    """
    try:
        status = main(None)
    except PoseBackbonesError as error:
        if os.environ.get('POSE_BACKBONES_DEBUG'):
            traceback.print_exc()
        message = _message(error)
        if _first_to_say(message):
            print(f'error: {message}', file=sys.stderr, flush=True)
        # Without waiting for data workers and process groups.
        sys.stdout.flush()
        os._exit(USER_ERROR)
    status = status if isinstance(status, int) else 0
    _leave_processes(status)
    if status:
        sys.exit(status)


def _leave_processes(status: int) -> None:
    """End this process's part in a distributed run, with an exit status.

    Threads of gloo that are left to the end of the interpreter abort it now
    and then (https://github.com/pytorch/pytorch/pull/179291); so where they
    run, what is registered for the exit is done and the rest is skipped.
    """
    if not dist.is_initialized():
        return
    if dist.get_backend() != 'gloo':
        dist.destroy_process_group()
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _message(error: Exception) -> str:
    """The message itself; a data worker's arrives behind its traceback."""
    text = str(error).strip()
    if 'in DataLoader worker process' in text:
        text = text.split('\n')[-1].split('Error: ', 1)[-1]
    return text


def _first_to_say(message: str) -> bool:
    """Whether no other process of this run on this machine has said it.

    The processes that a launcher has started share a parent; the first one
    leaves a mark that the others see.
    """
    if not any(name in os.environ for name in _STARTED_BY):
        return True
    digest = hashlib.sha256(message.encode()).hexdigest()[:16]
    mark = os.path.join(tempfile.gettempdir(),
                        f'pose_backbones-{os.getppid()}-{digest}')
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        # Of an earlier run whose parent had the same number, long ago?
        if time.time() - os.path.getmtime(mark) < 600:
            return False
        os.utime(mark)
    return True


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing share, named as MMPose names them."""
    parser.add_argument(
        '--work-dir', help='folder of logs and results (default: '
        'work_dirs/<name of the config>)')
    parser.add_argument(
        '--data-root', metavar='DIR',
        help="take the data set from this folder in place of the config's "
        '`data_root`')
    parser.add_argument(
        '--non-strict', action='store_true',
        help='load a checkpoint that fits in part, and list what was left '
        'out; without it, every tensor has to fit')
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--show-dir', metavar='DIR',
        help='draw predictions into pictures in this folder')
    parser.add_argument(
        '--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--interval', type=int, default=1, metavar='N',
        help='draw every Nth sample (default: 1)')
    parser.add_argument(
        '--wait-time', type=float, default=1, metavar='S',
        help='seconds that a window stays (default: 1)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='set values of the config, such as model.backbone.with_cp=True '
        'or out_indices="[0,3]"')
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none',
        help='how the processes were started (default: none, a single one)')
    # torchrun hands it over in the environment, older launchers as this.
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0,
        help=argparse.SUPPRESS)


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Refuse numbers of things that are below one.

    Args:
        args: A command line.
        names: Of options, with underscores; None is left alone.

    Raises:
        ConfigError: With the option and its value.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f'--{name.replace("_", "-")} {value}: expected '
                              'at least 1')


def keep_local_rank(args: argparse.Namespace) -> None:
    """Put `--local-rank` where MMEngine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
