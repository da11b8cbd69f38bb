"""Stop training, or skip a step, if a loss or gradient is NaN or infinite."""

import math

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from ..errors import ConfigError, TrainingError, closest
from ..utils.option_values import ACTIONS
from .exact_resume import is_accumulating, optim_wrappers
from .saving import non_finite_names

#: number of images of each process in a message
_MAX_IMAGES = 64
#: lower bound of the loss scale; it starts at 65536
_MIN_SCALE = 2**-10
#: number of consecutive steps that the loss scaler may skip
_MAX_SCALER_SKIPS = 30


class NonFiniteHook(Hook):
    """Protect the weights from a loss or gradient norm that is NaN or infinite.

    The optimizer step is not taken, and training stops or continues with the next step.
    `PoseRunner` registers this hook. All processes take the same decision, even if only one of them
    has such a loss. In mixed precision, infinite gradients are handled by the loss scaler until its
    scale has collapsed.

    The gradient norm is logged as `grad_norm` if there is one optimizer. If gradients are clipped,
    MMEngine logs their norm, also for several optimizers.

    Args:
        action: `'stop'`: raise a `TrainingError` before anything of this iteration is saved.
            `'skip'`: log a warning and continue; with gradient accumulation, the whole accumulated
            step is skipped.
        max_skips: Number of consecutive skipped steps after which `'skip'` stops as well.
    """

    priority = 'HIGHEST'  # runs before the losses are logged

    def __init__(self, action: str = 'stop', max_skips: int = 20) -> None:
        if action not in ACTIONS:
            raise ConfigError(
                f'non_finite={action!r}: expected one of '
                f'{", ".join(ACTIONS)}{closest(str(action), ACTIONS)}'
            )
        self.action = action
        self.max_skips = max_skips
        self._wrappers: dict = {}  # id of the optimizer → its wrapper
        self._hub = None
        self._skips = self._scaler_skips = 0  # consecutive
        self._drop = False  # whether to skip the step that is being accumulated
        self._images: list[str] = []  # names of the images of earlier batches of that step
        self._start_iteration()

    def _start_iteration(self) -> None:
        self._loss: torch.Tensor | None = None
        self._norm: float | torch.Tensor | None = None
        self._lr: float | None = None
        self._stepped = self._fused = False
        self._non_finite = False

    def before_train(self, runner) -> None:
        """Register hooks on the forward pass of the model and the steps of the optimizers."""
        self._hub = runner.message_hub
        for wrapper in optim_wrappers(runner.optim_wrapper):
            self._wrappers[id(wrapper.optimizer)] = wrapper
            wrapper.optimizer.register_step_pre_hook(self._before_step)
        model = getattr(runner.model, 'module', runner.model)
        model.register_forward_hook(self._after_forward, with_kwargs=True)

    def _after_forward(self, model, args, kwargs, output) -> None:
        """Sum up the losses of the iteration, without synchronizing with a GPU."""
        if kwargs.get('mode') != 'loss' or not isinstance(output, dict):
            return
        for name, value in output.items():
            if 'loss' not in name:  # for example an accuracy
                continue
            for part in value if isinstance(value, (list, tuple)) else [value]:
                part = part.detach().float().mean()
                self._loss = part if self._loss is None else self._loss + part

    def _before_step(self, optimizer: Optimizer, args, kwargs) -> None:
        """Remove the gradients if the step must not be taken."""
        if getattr(optimizer, 'found_inf', None) is not None:
            self._fused = True  # A fused optimizer handles the result of the loss scaler itself.
            return
        self._stepped = True
        if not (self._non_finite or self._drop):
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
        if self._non_finite or self._drop:
            _drop_gradients(optimizer)

    def _gradient_norm(self, optimizer: Optimizer) -> float | torch.Tensor | None:
        """Return the norm of the gradients; None if there are none."""
        wrapper = self._wrappers[id(optimizer)]
        if (
            getattr(wrapper, 'clip_grad_kwargs', None)
            and wrapper.grad_name == 'grad_norm'
            and 'train/grad_norm' in self._hub.log_scalars
        ):
            # MMEngine has measured it before clipping, which makes infinite gradients NaN or 0.
            return float(self._hub.get_scalar('train/grad_norm').current())
        gradients = [
            parameter.grad.coalesce().values() if parameter.grad.is_sparse else parameter.grad
            for group in optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        if not gradients:
            return None
        norm = get_total_norm(gradients)
        if len(self._wrappers) == 1:
            # MMEngine logs it only if gradients are clipped.
            self._hub.update_scalar('train/grad_norm', norm)
        return norm

    def _decide(self, is_invalid: bool) -> None:
        """Check the loss and the gradient norm, and synchronize the result between processes.

        Args:
            is_invalid: Whether the learning rate or the loss scale is invalid.
        """
        values = [value for value in (self._loss, self._norm) if isinstance(value, torch.Tensor)]
        if isinstance(self._norm, float):
            is_invalid = is_invalid or not math.isfinite(self._norm)
        device = values[0].device if values else 'cpu'
        flag = torch.tensor(float(is_invalid), device=device)
        for value in values:
            flag = torch.maximum(flag, (~value.isfinite()).to(flag))
        if is_distributed():
            if dist.get_backend() == 'nccl':
                flag = flag.cuda()
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        self._non_finite = bool(flag)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Stop training, or log the step that was skipped.

        Raises:
            TrainingError: With the iteration and the images of each process.
        """
        accumulating = is_accumulating(runner.optim_wrapper)
        scale = None
        if not self._stepped:  # accumulating, or skipped by the loss scaler
            scale = None if accumulating else self._collapsed_scale()
            self._decide(scale is not None)
        elif not self._drop:
            self._scaler_skips = 0
        if self._non_finite:
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
        """Return the loss scale of mixed precision if it cannot recover, else None."""
        for wrapper in self._wrappers.values():
            if (scaler := getattr(wrapper, 'loss_scaler', None)) is None:
                continue
            self._scaler_skips += not self._fused
            scale = scaler.get_scale()
            if scale < _MIN_SCALE or self._scaler_skips > _MAX_SCALER_SKIPS:
                return scale
        return None

    def _report(self, runner, data_batch, outputs: dict, scale: float | None) -> None:
        """Gather the information of all processes, and raise an error or log a warning."""
        losses = {
            name: float(torch.as_tensor(value).detach())
            for name, value in outputs.items()
            if 'loss' in name
        }
        losses = {name: value for name, value in losses.items() if not math.isfinite(value)}
        images = _image_names(data_batch)
        if not losses:  # Any batch since the last step may be the cause.
            images = self._images + images
        broken_tensors = (
            []
            if self.action == 'stop'
            else non_finite_names(getattr(runner.model, 'module', runner.model).state_dict())
        )
        reports = all_gather_object(
            dict(rank=get_rank(), losses=losses, images=images, broken_tensors=broken_tensors)
        )
        causes = [report for report in reports if report['losses']] or reports
        broken_tensors = [name for report in reports for name in report['broken_tensors']]
        message = (
            f'iteration {runner.iter + 1}: '
            f'{self._cause(causes, scale)}; images: '
            f'{"; ".join(map(_show_images, causes))}. '
        )
        if self.action == 'stop' or self._lr is not None or scale is not None:
            raise TrainingError(
                message + 'This step was not taken, and nothing was saved after it. Check these '
                'images, their annotations, the learning rate and the normalization'
                + (
                    ''
                    if self._lr is not None or scale is not None
                    else ', or skip such steps with --non-finite skip'
                )
            )
        if broken_tensors:
            raise TrainingError(
                message + f'Skipping the step does not help, since {broken_tensors[0]} of the '
                'model is not finite'
                + (f' ({len(broken_tensors)} such tensors)' if len(broken_tensors) > 1 else '')
                + ': resume from the last checkpoint'
            )
        self._skips += 1
        if self._skips >= self.max_skips:
            raise TrainingError(
                message + f'These were {self._skips} skipped steps in a row: check the data and '
                'the learning rate'
            )
        runner.logger.warning(message + 'The step is skipped.')
        # A single NaN would make the logged mean NaN.
        for name in losses:
            del outputs[name]
        norms = self._hub.log_scalars.get('train/grad_norm')
        if norms is not None and not math.isfinite(norms.current()):
            values, counts = norms.data
            self._hub.log_scalars['train/grad_norm'] = HistoryBuffer(
                values[:-1], counts[:-1], norms.max_length
            )

    def _cause(self, reports: list[dict], scale: float | None) -> str:
        """Describe the value that is not finite."""
        if self._lr is not None:
            return f'the learning rate is {self._lr}'
        if scale is not None:
            return (
                f'the loss scale has fallen to {scale:g}, since gradients were repeatedly not '
                'finite in mixed precision'
            )
        shown = [
            f'{name}={value} on rank {report["rank"]}'
            for report in reports
            for name, value in report['losses'].items()
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
    """Return the IDs of the images in a batch, with their paths if available."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    names = []
    for sample in samples if isinstance(samples, (list, tuple)) else ():
        metainfo = getattr(sample, 'metainfo', {})
        image_id, path = metainfo.get('img_id'), metainfo.get('img_path')
        if image_id is not None and path is not None:
            names.append(f'{image_id} ({path})')
        elif image_id is not None or path is not None:
            names.append(str(path if image_id is None else image_id))
    return names


def _show_images(report: dict) -> str:
    images = list(dict.fromkeys(report['images']))
    more = len(images) - _MAX_IMAGES
    return (
        f'rank {report["rank"]}: '
        + (', '.join(images[:_MAX_IMAGES]) or 'unknown')
        + (f' and {more} more' if more > 0 else '')
    )
