"""Starting a tool in several processes: what `tools/dist_*.sh` run."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..engine.distributed import check_devices
from ..errors import ConfigError, LaunchError
from .stopping import LAUNCHER
from .workers import Workers


def _number(name: str, default: int, smallest: int = 0) -> int:
    """A number from the environment."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or int(text) < smallest:
        raise LaunchError(f'{name}={text}: expected a whole number of at least {smallest}')
    return int(text)


def torchrun_arguments(script: str, processes: int, arguments: list[str]) -> list[str]:
    """The command line of torchrun for this machine's part of a run.

    The environment says the rest: NNODES (1), NODE_RANK (0), MASTER_ADDR
    (127.0.0.1), PORT (29500).

    Args:
        script: The tool.
        processes: On this machine.
        arguments: Of the tool.

    Returns:
        The arguments of `torch.distributed.run`.

    Raises:
        LaunchError: If a number makes no sense.
    """
    nodes = _number('NNODES', 1, 1)
    rank = _number('NODE_RANK', 0)
    if rank >= nodes:
        raise LaunchError(
            f'NODE_RANK={rank} of NNODES={nodes}: nodes count from 0, so expected 0 to {nodes - 1}'
        )
    return [
        f'--nnodes={nodes}',
        f'--node_rank={rank}',
        f'--master_addr={os.environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={_number("PORT", 29500, 1)}',
        f'--nproc_per_node={processes}',
        script,
        *arguments,
        '--launcher',
        'pytorch',
    ]


def launch(script: str, processes: str, arguments: list[str]) -> int:
    """Run a tool in several processes.

    SIGINT, SIGTERM and SIGHUP end them all; SIGUSR1 and SIGUSR2 are passed
    on to each.

    Args:
        script: The tool.
        processes: How many on this machine, as given.
        arguments: Of the tool.

    Returns:
        The exit status: of the process that failed first or, if a signal
        has ended that or this one, 128 and its number.

    Raises:
        LaunchError: If the number is none, or over that of the GPUs, or the
            port is taken.
    """
    if not processes.isdigit() or int(processes) < 1:
        raise LaunchError(
            f'{processes!r} processes: expected how many to start on this machine, one for each GPU'
        )
    check_devices(int(processes))
    if not torch.cuda.is_available():
        # Share the cores; torchrun by itself gives each process one.
        share = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault('OMP_NUM_THREADS', str(share))
    options = torchrun_arguments(script, int(processes), arguments)
    with TemporaryDirectory(prefix='pose_backbones-') as folder:
        os.environ[LAUNCHER] = f'{os.getpid()}:{folder}'
        return Workers(options, Path(folder)).run()


def main(argv: list[str] | None = None) -> int:
    """Entry point: SCRIPT NUMBER_OF_POSITIONALS ARGUMENT…

    The positional arguments of the tool come first, then the number of
    processes, then the tool's options, as in
    `dist_test.sh CONFIG CHECKPOINT 8 --out results.pkl`.
    """
    script, count, *rest = sys.argv[1:] if argv is None else argv
    count = int(count)
    if len(rest) <= count:
        usage = 'CONFIG GPUS' if count == 1 else 'CONFIG CHECKPOINT GPUS'
        name = Path(script).stem
        raise ConfigError(f'usage: dist_{name}.sh {usage} [OPTION ...]')
    return launch(script, rest[count], rest[:count] + rest[count + 1 :])
