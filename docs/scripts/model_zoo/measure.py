"""Measuring every config's model, and writing the figures into metafiles."""

from dataclasses import dataclass

import torch
from mmengine.config import Config
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from pose_backbones.cli import flops
from pose_backbones.utils.files import atomic_write, convert_write_errors
from pose_backbones.zoo import Family, get_config
from pose_backbones.zoo.models import without_weights

#: keys of a metafile's `Metadata`
KEYS = ('Parameters', 'FLOPs', 'Attention FLOPs')


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
        figures = dict(zip(KEYS, (self.params, self.flops, self.attention_flops)))
        if not self.attention_flops:
            del figures[KEYS[-1]]
        return figures


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
    """Measure every model and write the changed figures into the metafiles.

    Args:
        families: Their metafiles are written.

    Returns:
        A line for each model whose figures have changed.
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
                figures = ', '.join(f'{key} {value:,}' for key, value in size.entries().items())
                changes.append(f'{model.name}: {figures}')
        with convert_write_errors(family.path, ''), atomic_write(family.path) as draft:
            yaml.dump(content, draft)
    return changes


def update(metadata: CommentedMap, size: Size) -> bool:
    """Set the figures in the `Metadata` of a metafile's model, in place.

    Args:
        metadata: As ruamel.yaml loads it; the order of its keys is kept, and the figures stand
            one after the other.
        size: The measured figures.

    Returns:
        Whether a figure has changed.
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
