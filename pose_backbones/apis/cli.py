"""What the command-line tools have in common."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from mmengine.config import DictAction
from mmengine.dist import get_dist_info

from ..utils.errors import PoseBackbonesError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
#: exit status for an error of the user's making, as argparse has it
USER_ERROR = 2


def run(main: Callable[[list[str] | None], object]) -> None:
    """Run a tool: a user's error becomes one message and exit status 2.

    Set POSE_BACKBONES_DEBUG=1 to see the traceback as well.

    Args:
        main: Takes the arguments; None stands for those of the command line.
    """
    try:
        main(None)
    except PoseBackbonesError as error:
        if os.environ.get('POSE_BACKBONES_DEBUG'):
            traceback.print_exc()
        # Every process of a distributed run meets the error; one speaks.
        if get_dist_info()[0] == 0 and os.environ.get('RANK', '0') == '0':
            print(f'error: {_message(error)}', file=sys.stderr, flush=True)
        _leave_distributed()
        # Without waiting for data workers and process groups.
        sys.stdout.flush()
        os._exit(USER_ERROR)


def _message(error: Exception) -> str:
    """The message itself; a data worker's arrives behind its traceback."""
    text = str(error).strip()
    if 'in DataLoader worker process' in text:
        text = text.split('\n')[-1].split('Error: ', 1)[-1]
    return text


def _leave_distributed() -> None:
    import torch.distributed as dist
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


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


def keep_local_rank(args: argparse.Namespace) -> None:
    """Put `--local-rank` where MMEngine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
