"""Set up distributed training: environment variables of launchers, and the number of GPUs."""

import os
import subprocess
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from ..errors import LaunchError

#: launcher → its names for RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE
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
    """Check that this machine has a GPU for each process.

    Args:
        processes: Number of processes on this machine.

    Raises:
        LaunchError: If there are GPUs, but fewer than processes.
    """
    devices = torch.cuda.device_count()
    if torch.cuda.is_available() and processes > devices:
        raise LaunchError(
            f'{processes} processes were requested, but this machine has {devices} '
            f'GPU{"s" if devices > 1 else ""}: request at most {devices}, or set '
            'CUDA_VISIBLE_DEVICES=-1 to run on the CPU'
        )


def is_first_process() -> bool:
    """Return whether this is the process of rank 0, before the process group is initialized."""
    ranks = (os.environ.get(names[0]) for names in (('RANK',), *_VARIABLES.values()))
    return next((rank for rank in ranks if rank is not None), '0') == '0'


def num_restarts() -> int:
    """Return how often torchrun has restarted the processes (`--max-restarts`)."""
    return int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))


def init_process_group(timeout: timedelta) -> None:
    """Initialize the process group, with NCCL on GPUs, otherwise with gloo.

    After a restart, torchrun may pass a store that still has the addresses of the processes that
    were stopped. A prefix separates them, without which the processes may wait for them.

    Args:
        timeout: How long an operation waits for another process.
    """
    backend = 'gloo'
    if torch.cuda.is_available():
        backend = 'nccl'
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    store, rank, world_size = next(rendezvous('env://', timeout=timeout))
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(f'restart-{num_restarts()}', store),
        rank=rank,
        world_size=world_size,
        timeout=timeout,
    )


def translate_launcher(launcher: str) -> None:
    """Set the environment variables of torchrun from those of another launcher.

    Args:
        launcher: `'pytorch'` (nothing to do), `'slurm'` or `'mpi'`.

    Raises:
        LaunchError: If the launcher has not started this process.
    """
    torchrun_names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE')
    for name, launcher_name in zip(torchrun_names, _VARIABLES.get(launcher, torchrun_names)):
        if name == 'LOCAL_WORLD_SIZE':  # Not every launcher sets it.
            os.environ.setdefault(launcher_name, '1')
        if launcher_name not in os.environ:
            raise LaunchError(
                f'--launcher {launcher}: the environment variable {launcher_name} is not set, so '
                'this process was not started by '
                f'{"torchrun" if launcher == "pytorch" else launcher}'
            )
        os.environ[name] = os.environ[launcher_name]
    if launcher != 'pytorch':
        os.environ.setdefault('MASTER_PORT', os.environ.get('PORT', '29500'))
        os.environ.setdefault('MASTER_ADDR', _first_slurm_node())


def _first_slurm_node() -> str:
    """Return the host name of the first process, as reported by Slurm's `scontrol`."""
    nodes = os.environ.get('SLURM_NODELIST')
    if not nodes:
        return '127.0.0.1'
    try:
        hostnames = subprocess.run(
            ['scontrol', 'show', 'hostname', nodes], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(
            f'failed to determine the first node of SLURM_NODELIST={nodes} ({error}): set '
            'MASTER_ADDR'
        ) from error
    return hostnames.stdout.split()[0]
