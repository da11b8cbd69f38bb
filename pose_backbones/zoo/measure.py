"""Measuring every config's model, and writing the figures into metafiles."""

import re
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ..cli import flops
from ..errors import ConfigError
from ..utils.files import replacing, saying_why
from .metafile import Family
from .models import get_config, without_weights


@dataclass(frozen=True)
class Size:
    """What a model takes, in the words of a metafile.

    Attributes:
        params: Parameters that are trained.
        flops: Multiply-adds of the layers for one image, as `flops.measure`
            counts them.
        attention_flops: Multiply-adds of products of two activations, which
            is what attention does between its layers.
    """

    params: int
    flops: int
    attention_flops: int

    def entries(self) -> dict[str, int]:
        """Key of a metafile's `Metadata` → value."""
        entries = {'Parameters': self.params, 'FLOPs': self.flops}
        if self.attention_flops:
            entries['Attention FLOPs'] = self.attention_flops
        return entries


class _RealLinspace(TorchFunctionMode):
    """`linspace` has values on the meta device, too.

    MMPose's Swin reads some when it is built.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault('device', 'cpu')
        return func(*args, **kwargs)


def measure_config(cfg: Config) -> Size:
    """Count parameters and FLOPs of a config's model, at its own input size.

    Nothing is computed: the tensors have shapes and no values.

    Args:
        cfg: A config with `model` and `codec`; changed to start from nothing.

    Returns:
        The figures.
    """
    without_weights(cfg)
    counter = FlopCounterMode(display=False)
    with torch.device('meta'), _RealLinspace(), sdpa_kernel(SDPBackend.MATH), counter:
        layers, params = flops.measure(cfg, flops.input_shape(cfg))
    # Not what building has run: timm's models are tried for their shapes.
    counts = counter.get_flop_counts()[flops.TensorForward.__name__]
    # The counter takes a multiply-add for two.
    products = (
        sum(count for kind, count in counts.items() if str(kind) in ('aten.bmm', 'aten.baddbmm'))
        // 2
    )
    return Size(params, round(layers), products)


def measure_families(families: list[Family]) -> list[str]:
    """Measure every model of some families and write what has changed.

    Args:
        families: Their metafiles are written.

    Returns:
        A line for each model whose entry has changed.
    """
    changes = []
    for family in families:
        text = family.path.read_text(encoding='utf-8')
        for model in family.models:
            size = measure_config(get_config(model.name))
            new = set_size(text, model.name, size)
            if new != text:
                changes.append(
                    f'{model.name}: '
                    + ', '.join(f'{key} {value:,}' for key, value in size.entries().items())
                )
            text = new
        with saying_why(family.path, ''), replacing(family.path) as draft:
            draft.write_text(text, encoding='utf-8')
    return changes


def set_size(text: str, name: str, size: Size) -> str:
    """Put figures into the text of a metafile, of which the rest stays.

    Args:
        text: Of the metafile.
        name: Of the model.
        size: Its figures.

    Returns:
        The new text.

    Raises:
        ConfigError: If the model, or its figures' lines, are not in it.
    """
    found = re.search(rf'^- Name: {re.escape(name)}\n(?:(?!- ).*\n?)*', text, re.M)
    if found is None:
        raise ConfigError(f'the metafile has no model {name}')
    # One block for all figures: attention's line comes and goes.
    lines = ''.join(f'    {key}: {value}\n' for key, value in size.entries().items())
    block, count = re.subn(
        r'^    Parameters: .*\n    FLOPs: .*\n(?:    Attention FLOPs: .*\n)?',
        lines,
        found.group(),
        flags=re.M,
    )
    if count != 1:
        raise ConfigError(
            f'{name}: expected the lines "Parameters: …" and "FLOPs: …", one '
            'under the other, in its Metadata'
        )
    return text[: found.start()] + block + text[found.end() :]
