"""Check of all models in mixed precision: finite values, and their distance from float32."""

import argparse
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.flops import input_shape
from pose_backbones.cli.memory import output_tensors
from pose_backbones.errors import ConfigError, closest
from pose_backbones.zoo import get_config, read_models
from pose_backbones.zoo.models import without_weights

from ._measure import device, device_name, markdown_head, markdown_row

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
_SCALE = 2.0**16  # initial scale of the loss in float16, as in PyTorch's GradScaler
_BATCH = 2


@dataclass(frozen=True)
class Result:
    """Outputs and gradients of a model in mixed precision.

    Args:
        difference: Largest difference of the outputs from float32, relative to the largest output;
            NaN if an output is not finite.
        scale: Largest scale of the loss, up to 65536, at which all gradients are finite; 1 in
            bfloat16, which needs none; 0 if they are never finite.
    """

    difference: float
    scale: float

    @property
    def is_finite(self) -> bool:
        """Whether outputs and gradients are finite."""
        return not math.isnan(self.difference) and self.scale > 0


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.half_precision`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.half_precision',
        description='Run all models in mixed precision with random weights, on a GPU if there is '
        'one: the outputs in evaluation mode, and the gradients of their mean square in training '
        'mode. The exit status is 1 if a value is not finite.',
    )
    parser.add_argument(
        'models', nargs='*', metavar='NAME', help='models of docs/model_zoo.md (default: all)'
    )
    parser.add_argument(
        '--dtype', nargs='+', choices=DTYPES, default=list(DTYPES), help='default: both'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m benchmarks.half_precision`.

    Args:
        argv: Arguments; None means those of the command line.

    Returns:
        1 if an output or a gradient is not finite, otherwise 0.
    """
    args = parse_args(argv)
    zoo = read_models()
    for name in args.models:
        if name not in zoo:
            raise ConfigError(f'no model is called {name}{closest(name, zoo)}')
    register_all_modules()
    MMLogger.get_instance('half_precision', log_level='ERROR')  # no log of the initialization
    print(f'Mixed precision with random weights, batch {_BATCH}, on {device_name()}\n')
    titles = [f'{dtype}: {column}' for dtype in args.dtype for column in ('difference', 'scale')]
    print('\n'.join(markdown_head(['model', *titles])))
    finite = True
    for name in args.models or zoo:
        results = measure(name, args.dtype)
        cells = [
            cell
            for result in results.values()
            for cell in (f'{result.difference:.1e}', f'{result.scale:g}')
        ]
        print(markdown_row([name, *cells]), flush=True)
        finite = finite and all(result.is_finite for result in results.values())
    return int(not finite)


def measure(name: str, dtypes: list[str]) -> dict[str, Result]:
    """Run a model in several precisions.

    Args:
        name: Name in the model zoo.
        dtypes: Keys of `DTYPES`.

    Returns:
        Dtype → result.
    """
    config = without_weights(get_config(name))
    init_default_scope(config.get('default_scope', 'mmpose'))
    torch.manual_seed(0)
    model = MODELS.build(config.model).to(device())
    model.init_weights()
    images = torch.randn(_BATCH, 3, *input_shape(config)).to(device())
    expected = predict(model, images)
    results = {}
    for dtype in dtypes:
        with torch.autocast(device(), DTYPES[dtype]):
            outputs = predict(model, images)
        results[dtype] = Result(
            difference=relative_difference(outputs, expected),
            scale=gradient_scale(copy.deepcopy(model), images, DTYPES[dtype]),
        )
    return results


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the outputs of the head in evaluation mode."""
    model.eval()
    return [output.float() for output in output_tensors(model(images, None, mode='tensor'))]


def relative_difference(outputs: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest expected value of the same tensor.

    Args:
        outputs: Tensors.
        expected: Tensors of the same shapes; infinite values, which mask queries, must be equal.

    Returns:
        NaN if an output is not finite where the expected value is.
    """
    worst = 0.0
    for output, target in zip(outputs, expected, strict=True):
        where = target.isfinite()
        if not output[where].isfinite().all() or (output[~where] != target[~where]).any():
            return float('nan')
        distance = (output - target)[where].abs().max() / target[where].abs().max().clamp(1e-12)
        worst = max(worst, float(distance))
    return worst


def gradient_scale(model: nn.Module, images: Tensor, dtype: torch.dtype) -> float:
    """Return the largest scale of the loss at which the gradients are finite, or 0.

    Args:
        model: The model, whose gradients and statistics change.
        images: (N, 3, H, W).
        dtype: Precision of the operations that support it.
    """
    model.train()
    for scale in _scales(dtype):
        model.zero_grad()
        with torch.autocast(device(), dtype):
            outputs = output_tensors(model(images, None, mode='tensor'))
            # masked queries are -inf; NaN must remain
            loss = sum(output[output != -torch.inf].float().square().mean() for output in outputs)
        if not bool(loss.isfinite()):
            return 0.0
        (scale * loss).backward()
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            return scale
    return 0.0


def _scales(dtype: torch.dtype) -> Iterator[float]:
    scale = _SCALE if dtype == torch.float16 else 1.0
    while scale >= 1:
        yield scale
        scale /= 2


if __name__ == '__main__':
    run(main)
