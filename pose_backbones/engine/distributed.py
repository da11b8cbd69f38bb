"""The environment variables of launchers, and the devices of a machine."""

import os
import subprocess

import torch

from ..errors import LaunchError

#: launcher → its names of RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE
_VARIABLES = {
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NTASKS_PER_NODE'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_LOCAL_SIZE',
    ),
}


def check_devices(processes: int) -> None:
    """Refuse more processes on this machine than it has GPUs.

    Args:
        processes: On this machine.

    Raises:
        LaunchError: If there are GPUs, but fewer.
    """
    devices = torch.cuda.device_count()
    if torch.cuda.is_available() and processes > devices:
        raise LaunchError(
            f'{processes} processes were asked for, but this machine has '
            f'{devices} GPU{"s" if devices > 1 else ""}: ask for at most '
            f'{devices}, or set CUDA_VISIBLE_DEVICES=-1 to run on the CPU'
        )


def translate_launcher(launcher: str) -> None:
    """Set the variables of torchrun from those of another launcher.

    Args:
        launcher: `'pytorch'` (nothing to do), `'slurm'` or `'mpi'`.

    Raises:
        LaunchError: If the launcher has not started this process.
    """
    ours = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE')
    for name, theirs in zip(ours, _VARIABLES.get(launcher, ours)):
        if name == 'LOCAL_WORLD_SIZE':  # not every launcher tells
            os.environ.setdefault(theirs, '1')
        if theirs not in os.environ:
            raise LaunchError(
                f'--launcher {launcher}: the variable {theirs} is not set, '
                f'so this process was not started by '
                f'{"torchrun" if launcher == "pytorch" else launcher}'
            )
        os.environ[name] = os.environ[theirs]
    if launcher != 'pytorch':
        os.environ.setdefault('MASTER_PORT', os.environ.get('PORT', '29500'))
        os.environ.setdefault('MASTER_ADDR', _first_slurm_node())


def _first_slurm_node() -> str:
    """The machine of the first process, as Slurm's own tool names it."""
    nodes = os.environ.get('SLURM_NODELIST')
    if not nodes:
        return '127.0.0.1'
    try:
        listed = subprocess.run(
            ['scontrol', 'show', 'hostname', nodes], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(
            f'the first node of SLURM_NODELIST={nodes} could not be found '
            f'({error}): set MASTER_ADDR'
        ) from error
    return listed.stdout.split()[0]
