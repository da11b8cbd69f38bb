"""Save a checkpoint and stop when a signal arrives, for example from a job scheduler."""

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

#: signals that a process cannot handle
_NOT_HANDLED = ('SIGKILL', 'SIGSTOP')


class RunStopped(Exception):
    """A signal has stopped the run.

    Args:
        message: One line with the checkpoint that was saved.
    """


def signal_number(name: str) -> signal.Signals:
    """Return the signal with a given name.

    Args:
        name: Name or number, such as `'SIGUSR1'`, `'USR1'` or `'10'`.

    Returns:
        The signal.

    Raises:
        ConfigError: If there is no such signal, or a process cannot handle it.
    """
    full = name.upper()
    full = full if full.startswith('SIG') else f'SIG{full}'
    number = signal.Signals.__members__.get(full)
    if number is None and name.isdigit():
        number = next((candidate for candidate in signal.Signals if candidate == int(name)), None)
    if number is None or number.name in _NOT_HANDLED:
        raise ConfigError(
            f'--save-on-signal {name}: expected a signal that a process can handle, such as '
            'SIGUSR1, SIGUSR2 or SIGTERM'
        )
    return number


class SignalFlag:
    """Record whether a signal has arrived.

    Args:
        number: The signal. It is handled in a `with` block, which has to be entered in the main
            thread.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        self.arrived = False

    def __enter__(self) -> 'SignalFlag':
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError('--save-on-signal: signals can only be handled in the main thread')
        self._previous_handler = signal.signal(self.number, self._handle)
        return self

    def __exit__(self, *error) -> None:
        signal.signal(self.number, self._previous_handler)

    def _handle(self, number, frame) -> None:
        self.arrived = True


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """Save a checkpoint and stop training after a signal has arrived.

    All processes are informed at the end of the iteration in which the signal arrives in one of
    them. If it arrives during validation, they are informed at the end of the next iteration. With
    several processes, this requires the exchange of one number per iteration.

    Args:
        flag: Flag that records the signal.
    """

    priority = 'LOWEST'  # runs after all other hooks

    def __init__(self, flag: SignalFlag) -> None:
        self.flag = flag

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save a checkpoint and stop if a process has received the signal."""
        if not self._any_process_signalled():
            return
        name = self.flag.number.name
        hook = next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)
        if hook is None:
            raise RunStopped(
                f'stopped by {name}; nothing was saved, since the config has no CheckpointHook'
            )
        runner.logger.info(
            f'Received {name}: saving a checkpoint after {runner.iter + 1} iterations'
        )
        path = hook.save_now(runner)
        raise RunStopped(f'stopped by {name}: {path} is saved; continue with --resume')

    def _any_process_signalled(self) -> bool:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self.flag.arrived
        arrived = torch.tensor(int(self.flag.arrived), device=get_comm_device())
        dist.all_reduce(arrived, dist.ReduceOp.MAX)
        return bool(arrived)
