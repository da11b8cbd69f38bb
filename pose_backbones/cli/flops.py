"""Command `flops` (`tools/get_flops.py`): count the parameters and FLOPs of a model."""

import copy
import io

import torch
from mmcv.cnn import get_model_complexity_info
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import nn

from ..configs import building, load_config
from ..errors import ConfigError, first_line
from ..preflight import check_types
from ..registry import class_attribute
from ..zoo.model_kinds import check_estimator
from ..zoo.names import config_path
from .flops_options import parse_args


class TensorForward(nn.Module):
    """Wrap an estimator so that `forward` takes only a batch of images."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor):
        return self.model(image, None, mode='tensor')


def measure(
    cfg: Config, shape: tuple[int, int], table: io.TextIOBase | None = None
) -> tuple[float, int]:
    """Count the FLOPs and the parameters of the model of a config.

    FLOPs are counted with mmcv, as in the published figures. A multiply-add is one FLOP; the
    counter includes convolutions with bias, linear layers, norms, pooling and ReLU, but not
    functional attention or GELU.

    Args:
        cfg: A config with `model`.
        shape: Height and width of the image.
        table: File object for the figures of each layer, or None.

    Returns:
        FLOPs and number of parameters. Stages and norms of maps that are not returned are not
        counted; stages that the config freezes are.

    Raises:
        ConfigError: If the model cannot be built, or does not support an image of this shape, or
            needs more than an image, such as ED-Pose and models that lift poses to 3D.
    """
    check_estimator(cfg)
    register_all_modules()
    # The datasets of a config need not be registered; MMPose lacks one of its own.
    check_types(Config(dict(model=cfg.model), filename=cfg.filename))
    with building(cfg):
        model = MODELS.build(_thawed(cfg.model))
    try:
        flops, params = get_model_complexity_info(
            TensorForward(model),
            (3, *shape),
            print_per_layer_stat=table is not None,
            as_strings=False,
            ost=table,
        )
    except ValueError as error:
        raise ConfigError(
            f'{cfg.filename} cannot take an image of {shape[0]}x{shape[1]}: {error}'
        ) from error
    except (AssertionError, RuntimeError) as error:
        raise ConfigError(
            f'{cfg.filename}: the FLOPs of {type(model).__name__} with '
            f'{type(getattr(model, "head", None)).__name__} cannot be counted, since it does not '
            f'compute its outputs from an image alone ({first_line(error)})'
        ) from error
    return float(flops), int(params)


def _thawed(model: dict) -> dict:
    """Return a copy of the config of a model in which nothing is frozen."""
    model = copy.deepcopy(model)
    for part, default in ((model, {}), (model['backbone'], {'frozen_stages': -1})):
        changes = class_attribute(part, 'without_freezing', default)
        part.update({name: value for name, value in changes.items() if name in part})
    return model


def input_shape(cfg: Config) -> tuple[int, int]:
    """Return the height and width of the input from the codec of a config.

    Raises:
        ConfigError: If the config has no input size.
    """
    codec = cfg.get('codec') or {}
    codec = codec[0] if isinstance(codec, (list, tuple)) else codec
    size = codec.get('input_size') or codec.get('image_size')  # the latter: InterNet
    if not size:
        raise ConfigError(
            f'{cfg.filename} has no input size: give --shape H W if its model takes images'
        )
    width, height = size
    return height, width


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/get_flops.py`."""
    args = parse_args(argv)
    if args.shape and (len(args.shape) > 2 or min(args.shape) < 1):
        raise ConfigError(
            f'--shape {" ".join(map(str, args.shape))}: expected height and '
            'width, or one number, in pixels'
        )
    args.config = config_path(args.config)
    cfg = load_config(args.config)
    shape = tuple(args.shape) if args.shape else input_shape(cfg)
    shape = shape * 2 if len(shape) == 1 else shape
    table = io.StringIO() if args.per_layer else None
    flops, params = measure(cfg, shape, table)
    if table is not None:
        print(table.getvalue())
    print(
        f'Input: {shape[0]}x{shape[1]} (height x width)\n'
        f'FLOPs: {flops / 1e9:.2f} G\n'
        f'Params: {params / 1e6:.2f} M'
    )
