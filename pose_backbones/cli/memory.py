"""Command `memory` (`tools/measure_memory.py`): measure the memory of a training step."""

import argparse
import inspect
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import nn

from ..configs import building, find_class, load_config
from ..errors import ConfigError
from ..models.layers import watch_saved_tensors
from ..preflight import check_types
from ..zoo.model_kinds import check_estimator
from ..zoo.names import config_path
from .flops import input_shape
from .memory_options import parse_args


@dataclass(frozen=True)
class StepCost:
    """Memory and time of one training step.

    Args:
        kept: Bytes of activations kept for the backward pass, without the model.
        peak: Peak of the allocated bytes on the GPU, including the model and its gradients; None on
            a CPU.
        seconds: Time of a forward and a backward pass.
    """

    kept: int
    peak: int | None
    seconds: float


@contextmanager
def record_kept(model: nn.Module) -> Iterator[dict[int, int]]:
    """Record the storages that autograd keeps for the backward pass.

    Args:
        model: Its parameters and buffers are not counted.

    Yields:
        Data pointer → bytes of each storage that was kept inside the context.
    """
    model_storages = {
        tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())
    }
    kept = {}

    def record(tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in model_storages:
            kept[storage.data_ptr()] = storage.nbytes()

    with watch_saved_tensors(record):
        yield kept


def _loss(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Return a substitute for a loss that needs no targets: the mean square of the output."""
    outputs = output_tensors(model(image, None, mode='tensor'))
    return sum(output.square().mean() for output in outputs)


def output_tensors(outputs) -> Iterator[torch.Tensor]:
    """Yield the tensors in the output of a head, which can be a nested dict or list."""
    if torch.is_tensor(outputs):
        yield outputs
        return
    if isinstance(outputs, Mapping):
        outputs = outputs.values()
    for output in outputs:
        yield from output_tensors(output)


def measure_step(model: nn.Module, image: torch.Tensor, repeat: int) -> StepCost:
    """Measure a training step: forward, mean square of the output, backward.

    The step of the optimizer does not depend on activation checkpointing and is not included.

    Args:
        model: An estimator of MMPose.
        image: (N, 3, H, W), on the model's device.
        repeat: How often the step is timed; the result is the median.

    Returns:
        The cost of the step.
    """
    model.train()
    on_gpu = image.is_cuda
    with record_kept(model) as kept:
        loss = _loss(model, image)
    size = sum(kept.values())
    loss.backward()
    del loss
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeat):
        model.zero_grad(set_to_none=True)
        start = time.perf_counter()
        _loss(model, image).backward()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return StepCost(size, peak, statistics.median(times))


def _variants(cfg: Config) -> tuple[dict, dict]:
    """Return the config of the backbone without and with activation checkpointing.

    The latter is as in the config, or checkpoints all blocks if the config does not use
    checkpointing.
    """
    backbone = cfg.model.get('backbone') or {}
    kind = find_class(backbone, MODELS)
    parameters = inspect.signature(kind).parameters if kind else {}
    if 'with_cp' not in parameters:
        raise ConfigError(
            f"{cfg.filename}: the model's backbone "
            f'({backbone.get("type", "none")}) has no activation '
            'checkpointing to measure: expected one with the argument '
            'with_cp'
        )
    without = getattr(kind, 'without_checkpointing', {'with_cp': False})
    plain = {**backbone, **without}
    if any(backbone.get(name) for name in without):
        return plain, dict(backbone)
    return plain, {**plain, 'with_cp': True}


def measure(
    cfg: Config, shape: tuple[int, int], batch: int, repeat: int = 3
) -> tuple[StepCost, StepCost]:
    """Measure a training step of the model of a config, on a GPU if there is one.

    Args:
        cfg: Config of an MMPose estimator whose backbone has the argument `with_cp`.
        shape: Height and width of the images.
        batch: Number of images.
        repeat: How often a step is timed.

    Returns:
        The cost without and with activation checkpointing.

    Raises:
        ConfigError: If the model cannot be built or does not support activation checkpointing.
    """
    check_estimator(cfg)
    register_all_modules()
    check_types(cfg)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    costs = []
    for backbone in _variants(cfg):
        torch.manual_seed(0)
        with building(cfg):
            model = MODELS.build({**cfg.model, 'backbone': backbone})
        image = torch.randn(batch, 3, *shape)
        costs.append(measure_step(model.to(device), image.to(device), repeat))
        del model
    return costs[0], costs[1]


def _check_args(args: argparse.Namespace) -> None:
    for name in ('batch', 'repeat'):
        if getattr(args, name) < 1:
            raise ConfigError(f'--{name} {getattr(args, name)}: expected a number of at least 1')
    if args.shape and min(args.shape) < 1:
        raise ConfigError(
            f'--shape {args.shape[0]} {args.shape[1]}: expected height and width in pixels'
        )


def report(plain: StepCost, checkpointed: StepCost) -> str:
    """Return a table of both costs and their ratios."""
    rows = [('', 'without', 'with', 'ratio')]
    for title, name in (('kept for backward', 'kept'), ('peak on the GPU', 'peak')):
        before, after = getattr(plain, name), getattr(checkpointed, name)
        if before is not None:
            values = f'{before / 2**20:.1f} MiB', f'{after / 2**20:.1f} MiB'
            rows.append((title, *values, f'{after / before:.2f}'))
    before, after = plain.seconds, checkpointed.seconds
    rows.append(('time of a step', f'{before:.3f} s', f'{after:.3f} s', f'{after / before:.2f}'))
    return '\n'.join(f'{title:<18}{a:>14}{b:>14}{c:>8}' for title, a, b, c in rows)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/measure_memory.py`."""
    args = parse_args(argv)
    _check_args(args)
    args.config = config_path(args.config)
    cfg = load_config(args.config)
    shape = tuple(args.shape) if args.shape else input_shape(cfg)
    costs = measure(cfg, shape, args.batch, args.repeat)
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f'CPU, {torch.get_num_threads()} threads'
    )
    print(
        f'Training step of {args.batch} images of {shape[0]}x{shape[1]} '
        f'(height x width) on {device}\n'
        f'Activation checkpointing:\n{report(*costs)}'
    )
