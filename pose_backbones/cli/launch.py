"""Launch a tool in several processes: command line of `tools/dist_*.sh`."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..engine.distributed import check_devices
from ..errors import ConfigError, LaunchError
from .stopping import LAUNCHER
from .workers import Workers


def _integer_variable(name: str, default: int, minimum: int = 0) -> int:
    """Return an integer from an environment variable."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or int(text) < minimum:
        raise LaunchError(f'{name}={text}: expected an integer of at least {minimum}')
    return int(text)


def torchrun_arguments(script: str, processes: int, arguments: list[str]) -> list[str]:
    """Return the command-line arguments of torchrun for this machine.

    The environment variables NNODES (default 1), NODE_RANK (0), MASTER_ADDR (127.0.0.1) and PORT
    (29500) set the remaining options.

    Args:
        script: Path of the tool.
        processes: Number of processes on this machine.
        arguments: Arguments of the tool.

    Returns:
        Arguments of `torch.distributed.run`.

    Raises:
        LaunchError: If an environment variable is invalid.
    """
    nodes = _integer_variable('NNODES', 1, 1)
    rank = _integer_variable('NODE_RANK', 0)
    if rank >= nodes:
        raise LaunchError(
            f'NODE_RANK={rank} with NNODES={nodes}: expected 0 to {nodes - 1} (ranks start at 0)'
        )
    return [
        f'--nnodes={nodes}',
        f'--node_rank={rank}',
        f'--master_addr={os.environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={_integer_variable("PORT", 29500, 1)}',
        f'--nproc_per_node={processes}',
        script,
        *arguments,
        '--launcher',
        'pytorch',
    ]


def launch(script: str, processes: str, arguments: list[str]) -> int:
    """Run a tool in several processes.

    SIGINT, SIGTERM and SIGHUP end all processes. SIGUSR1 and SIGUSR2 are forwarded to each.

    Args:
        script: Path of the tool.
        processes: Number of processes on this machine, as given on the command line.
        arguments: Arguments of the tool.

    Returns:
        The exit status: 0, or that of the process that failed first. If a signal has ended that
        process or the launcher, 128 + the number of the signal.

    Raises:
        LaunchError: If `processes` is not a positive number or exceeds the number of GPUs, or if
            the port is in use.
    """
    if not processes.isdigit() or int(processes) < 1:
        raise LaunchError(
            f'{processes!r} processes: expected the number to start on this machine, one per GPU'
        )
    check_devices(int(processes))
    if not torch.cuda.is_available():
        # Divide the cores among the processes; torchrun's default is one core for each.
        share = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault('OMP_NUM_THREADS', str(share))
    options = torchrun_arguments(script, int(processes), arguments)
    with TemporaryDirectory(prefix='pose_backbones-') as folder:
        os.environ[LAUNCHER] = f'{os.getpid()}:{folder}'
        return Workers(options, Path(folder)).run()


def main(argv: list[str] | None = None) -> int:
    """Launch a tool; the arguments are SCRIPT NUMBER_OF_POSITIONALS ARGUMENT…

    The positional arguments of the tool come first, then the number of processes, then the
    options of the tool, as in `dist_test.sh CONFIG CHECKPOINT 8 --out results.pkl`.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Returns:
        The exit status.

    Raises:
        ConfigError: If an argument is missing.
    """
    script, count, *rest = sys.argv[1:] if argv is None else argv
    count = int(count)
    if len(rest) <= count:
        usage = 'CONFIG GPUS' if count == 1 else 'CONFIG CHECKPOINT GPUS'
        name = Path(script).stem
        raise ConfigError(f'usage: dist_{name}.sh {usage} [OPTION ...]')
    return launch(script, rest[count], rest[:count] + rest[count + 1 :])
