"""MMEngine's runner, strict about weights and at home on a CPU."""

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn

from ..utils.checkpoint import get_weights, load_weights, read_checkpoint
from ..utils.errors import CheckpointError, ConfigError, LaunchError
from ..utils.files import is_url

#: seconds; that of NCCL, where gloo by itself waits for half an hour
_TIMEOUT = 600


class PoseRunner(Runner):
    """The runner behind the tools.

    It differs from MMEngine's in four places: weights load strictly unless
    the config says `strict_load=False`; a checkpoint appears under its name
    only when it is complete; distributed runs work without GPUs, over gloo;
    and more processes than GPUs are refused.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Join the other processes, over gloo where there is no GPU."""
        if self.distributed and not dist.is_initialized():
            translate_launcher(self.launcher)
            if torch.cuda.is_available():
                check_devices(int(os.environ['LOCAL_WORLD_SIZE']))
            else:
                dist.init_process_group('gloo', timeout=_timeout(env_cfg))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None,
                   model: nn.Module) -> nn.Module:
        """Make the model distributed; on a CPU there are no device ids."""
        if (not self.distributed or model_wrapper_cfg is not None
                or get_device() != 'cpu'):
            return super().wrap_model(model_wrapper_cfg, model)
        return MMDistributedDataParallel(
            module=revert_sync_batchnorm(model),
            broadcast_buffers=False,
            find_unused_parameters=self.cfg.get('find_unused_parameters',
                                                False))

    def _init_model_weights(self) -> None:
        """Initialize, unless a checkpoint will fill every weight anyway."""
        if self._resume or (self._load_from
                            and self.cfg.get('strict_load', True)):
            return
        super()._init_model_weights()

    def load_checkpoint(self,
                        filename: str,
                        map_location='cpu',
                        strict: bool | None = None,
                        revise_keys: list | None = None) -> dict:
        """Load weights; what does not fit is an error, or listed.

        Args:
            filename: A file or a URL.
            map_location: As in `torch.load`.
            strict: Whether everything has to fit; None: as the config's
                `strict_load` says, by default True.
            revise_keys: Of MMEngine; not supported here.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: If it cannot be read or does not fit.
        """
        if revise_keys:
            raise CheckpointError(
                f'revise_keys={revise_keys} is not supported: rename the '
                'weights in the file')
        if strict is None:
            strict = self.cfg.get('strict_load', True)
        checkpoint = read_checkpoint(filename, map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = getattr(self.model, 'module', self.model)
        load_weights(
            model,
            get_weights(checkpoint),
            filename,
            strict=strict,
            hint='To load what fits all the same, add --non-strict')
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def resume(self,
               filename: str,
               resume_optimizer: bool = True,
               resume_param_scheduler: bool = True,
               map_location='default') -> None:
        """Continue a run; needs a training checkpoint, not mere weights."""
        meta = read_checkpoint(filename).get('meta', {})
        if 'iter' not in meta or 'epoch' not in meta:
            raise CheckpointError(
                f'{filename} holds weights but no state of training, so it '
                'cannot be resumed. To start from its weights: '
                f'--cfg-options load_from={filename}')
        super().resume(filename, resume_optimizer, resume_param_scheduler,
                       map_location)

    def save_checkpoint(self,
                        out_dir: str,
                        filename: str,
                        file_client_args: dict | None = None,
                        save_optimizer: bool = True,
                        save_param_scheduler: bool = True,
                        meta: dict | None = None,
                        by_epoch: bool = True,
                        backend_args: dict | None = None) -> None:
        """Save under another name first, then rename, so that a run killed
        in the middle leaves no half file. Arguments: see MMEngine's."""
        local = not (file_client_args or backend_args or is_url(out_dir))
        written = f'{filename}.partial' if local else filename
        super().save_checkpoint(
            out_dir, written, file_client_args, save_optimizer,
            save_param_scheduler, meta, by_epoch, backend_args)
        if local and self.rank == 0:
            Path(out_dir, written).replace(Path(out_dir, filename))


def _timeout(env_cfg: dict) -> timedelta:
    """How long a process waits for another one that does not answer."""
    value = (env_cfg.get('dist_cfg') or {}).get('timeout', _TIMEOUT)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (
            0 < value < 1e9):
        raise ConfigError(f'env_cfg.dist_cfg.timeout={value!r}: expected a '
                          'number of seconds')
    return timedelta(seconds=value)


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
            f'{devices}, or set CUDA_VISIBLE_DEVICES=-1 to run on the CPU')


#: launcher → its names of RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE
_VARIABLES = {
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID',
              'SLURM_NTASKS_PER_NODE'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE',
            'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_SIZE'),
}


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
                f'{"torchrun" if launcher == "pytorch" else launcher}')
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
            ['scontrol', 'show', 'hostname', nodes],
            check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(
            f'the first node of SLURM_NODELIST={nodes} could not be found '
            f'({error}): set MASTER_ADDR') from error
    return listed.stdout.split()[0]
