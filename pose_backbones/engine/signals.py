"""Saving a checkpoint when a scheduler warns that it will end the run."""

import signal
import threading

import torch
import torch.distributed as dist
from mmengine.dist import get_comm_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import ConfigError
from ..registry import HOOKS
from .checkpoint_hook import SafeCheckpointHook

#: exit status of a run that was stopped by a signal, after it was saved
SAVED_STATUS = 143
#: no process can handle these
_NOT_HANDLED = ('SIGKILL', 'SIGSTOP')


class RunStopped(Exception):
    """A run has been saved and ends, since a signal asked for it.

    Args:
        message: What was saved, in one line.
    """


def signal_number(name: str) -> signal.Signals:
    """A signal by its name.

    Args:
        name: Such as `'SIGUSR1'`, `'USR1'` or `'10'`.

    Returns:
        The signal.

    Raises:
        ConfigError: If there is none of that name, or none that a process
            can handle.
    """
    full = name.upper()
    full = full if full.startswith('SIG') else f'SIG{full}'
    found = signal.Signals.__members__.get(full)
    if found is None and name.isdigit():
        found = next((one for one in signal.Signals if one == int(name)), None)
    if found is None or found.name in _NOT_HANDLED:
        raise ConfigError(
            f'--save-on-signal {name}: expected a signal that a process can '
            'handle, such as SIGUSR1, SIGUSR2 or SIGTERM'
        )
    return found


class SignalFlag:
    """Remembers that a signal has arrived, from the start of a run on.

    Args:
        number: The signal. It is handled in the block of `with`, which has
            to be entered in the main thread.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        self.arrived = False

    def __enter__(self) -> 'SignalFlag':
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError('--save-on-signal: signals can only be handled in the main thread')
        self._before = signal.signal(self.number, self._note)
        return self

    def __exit__(self, *error) -> None:
        signal.signal(self.number, self._before)

    def _note(self, number, frame) -> None:
        self.arrived = True


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """End a run with a checkpoint after a signal has arrived.

    All processes learn of it at the end of the iteration in which it has
    arrived in one of them; during validation, at the end of the next
    iteration. With several processes this costs one exchange of a number in
    each iteration.

    Args:
        flag: Set when the signal has arrived.
    """

    priority = 'LOWEST'  # when all others are done with the iteration

    def __init__(self, flag: SignalFlag) -> None:
        self.flag = flag

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save and stop, if a process has got the signal."""
        if not self._agreed():
            return
        name = self.flag.number.name
        hook = next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)
        if hook is None:
            raise RunStopped(
                f'stopped by {name}; nothing was saved, for the config has no CheckpointHook'
            )
        runner.logger.info(
            f'{name} has arrived: saving a checkpoint at {runner.iter + 1} iterations'
        )
        path = hook.save_now(runner)
        raise RunStopped(f'stopped by {name}: {path} is saved; continue with --resume')

    def _agreed(self) -> bool:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self.flag.arrived
        arrived = torch.tensor(int(self.flag.arrived), device=get_comm_device())
        dist.all_reduce(arrived, dist.ReduceOp.MAX)
        return bool(arrived)
