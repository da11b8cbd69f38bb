"""Stops a training, or skips its step, where a loss or gradient is NaN."""

import math

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from ..errors import ConfigError, TrainingError, closest
from .exact_resume import is_accumulating, optim_wrappers
from .saving import not_finite

ACTIONS = ('stop', 'skip')
#: images of each process that a message names
_NAMED = 64
#: a loss scale that no healthy run reaches (it starts at 65536)
_LOWEST_SCALE = 2**-10
#: steps in a row that the loss scaler may leave out
_SCALER_SKIPS = 30


class NonFiniteHook(Hook):
    """Guards the weights against a loss or gradient norm that is NaN or
    infinite: the step is not taken, and the run stops or goes on.

    `PoseRunner` registers it. All processes decide alike, also if only one
    has such a loss. In mixed precision, infinite gradients are left to the
    loss scaler until its scale has collapsed.

    Args:
        action: `'stop'`: raise a `TrainingError` before anything of this
            iteration is saved. `'skip'`: log a warning and go on; with
            gradient accumulation, the whole accumulated step is dropped.
        max_skips: Skipped steps in a row at which `'skip'` stops, too.
    """

    priority = 'HIGHEST'  # before the losses are logged

    def __init__(self, action: str = 'stop', max_skips: int = 20) -> None:
        if action not in ACTIONS:
            raise ConfigError(
                f'non_finite={action!r}: expected one of '
                f'{", ".join(ACTIONS)}{closest(str(action), ACTIONS)}'
            )
        self.action = action
        self.max_skips = max_skips
        self._wrappers: dict = {}  # by the id of their optimizer
        self._hub = None
        self._skips = self._scaler_skips = 0  # in a row
        self._drop = False  # the step that is being accumulated
        self._images: list[str] = []  # of earlier batches of that step
        self._start_iteration()

    def _start_iteration(self) -> None:
        self._loss: torch.Tensor | None = None
        self._norm: float | torch.Tensor | None = None
        self._lr: float | None = None
        self._stepped = self._fused = False
        self._found = False  # something that is not finite

    def before_train(self, runner) -> None:
        """Watch the losses of the model and the steps of the optimizers."""
        self._hub = runner.message_hub
        for wrapper in optim_wrappers(runner.optim_wrapper):
            self._wrappers[id(wrapper.optimizer)] = wrapper
            wrapper.optimizer.register_step_pre_hook(self._before_step)
        model = getattr(runner.model, 'module', runner.model)
        model.register_forward_hook(self._after_forward, with_kwargs=True)

    def _after_forward(self, model, args, kwargs, output) -> None:
        """Add up the losses of the iteration, without waiting for a GPU."""
        if kwargs.get('mode') != 'loss' or not isinstance(output, dict):
            return
        for name, value in output.items():
            if 'loss' not in name:  # e.g. an accuracy
                continue
            for part in value if isinstance(value, (list, tuple)) else [value]:
                part = part.detach().float().mean()
                self._loss = part if self._loss is None else self._loss + part

    def _before_step(self, optimizer: Optimizer, args, kwargs) -> None:
        """Take the gradients away where the step must not be taken."""
        if getattr(optimizer, 'found_inf', None) is not None:
            self._fused = True  # it asks the loss scaler on its own
            return
        self._stepped = True
        if not (self._found or self._drop):
            self._lr = next(
                (
                    group['lr']
                    for group in optimizer.param_groups
                    if isinstance(group['lr'], float) and not math.isfinite(group['lr'])
                ),
                None,
            )
            self._norm = self._gradient_norm(optimizer)
            self._decide(self._lr is not None)
        if self._found or self._drop:
            _drop_gradients(optimizer)

    def _gradient_norm(self, optimizer: Optimizer) -> float | torch.Tensor | None:
        wrapper = self._wrappers[id(optimizer)]
        if (
            getattr(wrapper, 'clip_grad_kwargs', None)
            and wrapper.grad_name == 'grad_norm'
            and 'train/grad_norm' in self._hub.log_scalars
        ):
            # Measured before the clipping, which hides an infinite norm.
            return float(self._hub.get_scalar('train/grad_norm').current())
        gradients = [
            parameter.grad.coalesce().values() if parameter.grad.is_sparse else parameter.grad
            for group in optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        return get_total_norm(gradients) if gradients else None

    def _decide(self, bad: bool) -> None:
        """Look at the loss and the norm, and agree with other processes.

        Args:
            bad: Whether something else is known not to be finite.
        """
        values = [value for value in (self._loss, self._norm) if isinstance(value, torch.Tensor)]
        if isinstance(self._norm, float):
            bad = bad or not math.isfinite(self._norm)
        device = values[0].device if values else 'cpu'
        flag = torch.tensor(float(bad), device=device)
        for value in values:
            flag = torch.maximum(flag, (~value.isfinite()).to(flag))
        if is_distributed():
            if dist.get_backend() == 'nccl':
                flag = flag.cuda()
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        self._found = bool(flag)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Stop, or say what was skipped.

        Raises:
            TrainingError: With the iteration and each process's images.
        """
        accumulating = is_accumulating(runner.optim_wrapper)
        scale = None
        if not self._stepped:  # accumulating, or the loss scaler said no
            scale = None if accumulating else self._collapsed_scale()
            self._decide(scale is not None)
        elif not self._drop:
            self._scaler_skips = 0
        if self._found:
            self._report(runner, data_batch, outputs or {}, scale)
            if accumulating:
                for wrapper in self._wrappers.values():
                    _drop_gradients(wrapper.optimizer)
                self._drop = True
        elif self._stepped and not self._drop:
            self._skips = 0
        if accumulating:
            self._images += _image_names(data_batch)
        else:
            self._images, self._drop = [], False
        self._start_iteration()

    def _collapsed_scale(self) -> float | None:
        """The loss scale of mixed precision, where it cannot recover."""
        for wrapper in self._wrappers.values():
            if (scaler := getattr(wrapper, 'loss_scaler', None)) is None:
                continue
            self._scaler_skips += not self._fused
            scale = scaler.get_scale()
            if scale < _LOWEST_SCALE or self._scaler_skips > _SCALER_SKIPS:
                return scale
        return None

    def _report(self, runner, data_batch, outputs: dict, scale: float | None) -> None:
        """Gather what the processes know; raise it or log it."""
        losses = {
            name: float(torch.as_tensor(value).detach())
            for name, value in outputs.items()
            if 'loss' in name
        }
        losses = {name: value for name, value in losses.items() if not math.isfinite(value)}
        images = _image_names(data_batch)
        if not losses:  # it may be of any batch since the last step
            images = self._images + images
        broken = (
            []
            if self.action == 'stop'
            else not_finite(getattr(runner.model, 'module', runner.model).state_dict())
        )
        reports = all_gather_object(
            dict(rank=get_rank(), losses=losses, images=images, broken=broken)
        )
        guilty = [one for one in reports if one['losses']] or reports
        broken = [name for one in reports for name in one['broken']]
        message = (
            f'iteration {runner.iter + 1}: '
            f'{self._cause(guilty, scale)}; images: '
            f'{"; ".join(map(_show_images, guilty))}. '
        )
        if self.action == 'stop' or self._lr is not None or scale is not None:
            raise TrainingError(
                message + 'This step was not taken, and nothing was saved '
                'after it. Check these images, their annotations, the '
                'learning rate and the normalization'
                + (
                    ''
                    if self._lr is not None or scale is not None
                    else ', or leave such steps out: --non-finite skip'
                )
            )
        if broken:
            raise TrainingError(
                message + f'Skipping the step does not help, since '
                f'{broken[0]} of the model is not finite any more'
                + (f' ({len(broken)} such tensors)' if len(broken) > 1 else '')
                + ': resume from the last checkpoint'
            )
        self._skips += 1
        if self._skips >= self.max_skips:
            raise TrainingError(
                message + f'These were {self._skips} skipped steps in a row: '
                'check the data and the learning rate'
            )
        runner.logger.warning(message + 'The step is skipped.')
        # One NaN would hide the mean of all that is logged with it.
        for name in losses:
            del outputs[name]
        norms = self._hub.log_scalars.get('train/grad_norm')
        if norms is not None and not math.isfinite(norms.current()):
            values, counts = norms.data
            self._hub.log_scalars['train/grad_norm'] = HistoryBuffer(
                values[:-1], counts[:-1], norms.max_length
            )

    def _cause(self, reports: list[dict], scale: float | None) -> str:
        if self._lr is not None:
            return f'the learning rate is {self._lr}'
        if scale is not None:
            return (
                f'the loss scale has fallen to {scale:g}, as gradients '
                'were not finite in mixed precision time and again'
            )
        shown = [
            f'{name}={value} on rank {one["rank"]}'
            for one in reports
            for name, value in one['losses'].items()
        ]
        if shown:
            return f'the loss is not finite ({", ".join(shown)})'
        norm = 'not finite' if self._norm is None else float(self._norm)
        return f'the norm of the gradients is {norm}'


def _drop_gradients(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group['params']:
            parameter.grad = None


def _image_names(data_batch) -> list[str]:
    """What a batch's images are called: ids, with paths where known."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    names = []
    for sample in samples if isinstance(samples, (list, tuple)) else ():
        known = getattr(sample, 'metainfo', {})
        number, path = known.get('img_id'), known.get('img_path')
        if number is not None and path is not None:
            names.append(f'{number} ({path})')
        elif number is not None or path is not None:
            names.append(str(path if number is None else number))
    return names


def _show_images(report: dict) -> str:
    images = list(dict.fromkeys(report['images']))
    more = len(images) - _NAMED
    return (
        f'rank {report["rank"]}: '
        + (', '.join(images[:_NAMED]) or 'unknown')
        + (f' and {more} more' if more > 0 else '')
    )
