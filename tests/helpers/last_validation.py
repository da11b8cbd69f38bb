"""Hooks of training runs that are stopped by their last validation."""

import os
import signal

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class KillInValidation(Hook):
    """Kill the process whose rank is in the environment variable KILLED_RANK.

    It is killed after the first batch of a validation.
    """

    def after_val_iter(self, runner, *args, **kwargs) -> None:
        """Kill this process with SIGKILL."""
        if os.environ.get('KILLED_RANK') == str(runner.rank):
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module(force=True)
class OverflowInValidation(Hook):
    """After the last iteration, set finite weights with which the predictions are not finite."""

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        """Set the parameters of the head to the largest float."""
        if runner.iter + 1 == runner.max_iters:
            for parameter in runner.model.head.parameters():
                parameter.data.fill_(torch.finfo(parameter.dtype).max)
