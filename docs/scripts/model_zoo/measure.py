"""Measure parameters and FLOPs of all models, and write them to the metafiles."""

from dataclasses import dataclass

import torch
from mmengine.config import Config
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from pose_backbones.cli import flops
from pose_backbones.utils.files import atomic_write, convert_write_errors
from pose_backbones.zoo import Family, get_config
from pose_backbones.zoo.models import without_weights

#: keys in the `Metadata` of a metafile
KEYS = ('Parameters', 'FLOPs', 'Attention FLOPs')


@dataclass(frozen=True)
class Size:
    """Parameters and FLOPs of a model.

    Attributes:
        params: Number of parameters used in training.
        flops: Multiply-adds of the layers for one image, as counted by `flops.measure`.
        attention_flops: Multiply-adds of matrix products of two activations, as in attention.
    """

    params: int
    flops: int
    attention_flops: int

    def entries(self) -> dict[str, int]:
        """Return the entries for the `Metadata` of a metafile."""
        entries = dict(zip(KEYS, (self.params, self.flops, self.attention_flops)))
        if not self.attention_flops:
            del entries[KEYS[-1]]
        return entries


#: functions that are not computed on the meta device: their result is as large as the input, and
#: they contain no matrix product
_SAME_SHAPE = {
    F.batch_norm,
    F.gelu,
    F.layer_norm,
    F.relu,
    F.silu,
    nn.init.constant_,
    nn.init.kaiming_uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    torch.Tensor.add_,
    torch.Tensor.clamp_,
    torch.Tensor.erfinv_,
    torch.Tensor.fill_,
    torch.Tensor.mul_,
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.zero_,
}


class _ShapesOnly(TorchFunctionMode):
    """Mode for a meta device context that omits functions without effect on the counts.

    On the meta device, norms and many element-wise functions are written in Python and take longer
    than convolutions. They are omitted unless autograd records them, which `TimmBackbone` uses to
    find unused parameters. `torch.linspace` creates tensors on the CPU, since the constructor of
    MMPose's Swin reads their values.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault('device', 'cpu')
        elif func in _SAME_SHAPE and not torch.is_grad_enabled():
            tensor = args[0] if args else kwargs['tensor']
            if tensor.is_meta:
                # Norms of channels also change the order in memory.
                return tensor.contiguous() if func is F.layer_norm else tensor
        return func(*args, **kwargs)


def measure_config(cfg: Config) -> Size:
    """Count parameters and FLOPs of a model at the input size of its config.

    The model is built and run on the meta device, so no values are computed.

    Args:
        cfg: A config with `model` and `codec`. Its pretrained weights are disabled in place.

    Returns:
        The counts.
    """
    without_weights(cfg)
    counter = FlopCounterMode(display=False)
    with (
        torch.device('meta'),
        _ShapesOnly(),
        sdpa_kernel(SDPBackend.MATH),
        counter,
        torch.no_grad(),
    ):
        layers, params = flops.measure(cfg, flops.input_shape(cfg))
    # Only count the forward pass: timm models also run a forward pass when they are built.
    counts = counter.get_flop_counts()[flops.TensorForward.__name__]
    # The counter counts a multiply-add as two operations.
    products = (
        sum(count for kind, count in counts.items() if str(kind) in ('aten.bmm', 'aten.baddbmm'))
        // 2
    )
    return Size(params, round(layers), products)


def measure_families(families: list[Family]) -> list[str]:
    """Measure all models and write the changed values to the metafiles.

    Args:
        families: Families whose metafiles are written.

    Returns:
        One line for each model whose values have changed.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # keep long lines
    changes = []
    for family in families:
        content = yaml.load(family.path)
        metadata = {model['Name']: model['Metadata'] for model in content['Models']}
        for model in family.models:
            size = measure_config(get_config(model.name))
            if update(metadata[model.name], size):
                values = ', '.join(f'{key} {value:,}' for key, value in size.entries().items())
                changes.append(f'{model.name}: {values}')
        with convert_write_errors(family.path, ''), atomic_write(family.path) as draft:
            yaml.dump(content, draft)
    return changes


def update(metadata: CommentedMap, size: Size) -> bool:
    """Set parameters and FLOPs in the `Metadata` of a model, in place.

    Args:
        metadata: `Metadata`, loaded by ruamel.yaml. The order of the other keys is kept, and the
            new entries are adjacent.
        size: The measured values.

    Returns:
        Whether a value has changed.
    """
    new = size.entries()
    old = {key: metadata.get(key) for key in KEYS if key in metadata}
    if old == new:
        return False
    keys = list(metadata)
    place = min((keys.index(key) for key in old), default=0)
    for key in old:
        del metadata[key]
    for offset, (key, value) in enumerate(new.items()):
        metadata.insert(place + offset, key, value)
    return True
