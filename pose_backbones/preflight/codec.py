"""Check that the input size, the targets and the heatmaps match the decoder of the head."""

import logging
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.models.heads import BaseHead, HeatmapHead
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS
from torch import nn

from ..configs import as_list, building, find_datasets, type_name
from ..engine.device_targets import TargetEncoder, uses_device_targets
from ..errors import ConfigError, first_line
from ..models.backbones import BaseBackbone
from ..models.heads import MultiLevelHeatmapHead


def check_targets(cfg: Config, model: nn.Module, splits: Sequence[str]) -> None:
    """Check that the pipelines have the input size and the targets of the head's decoder.

    Args:
        cfg: The config.
        model: The model, built from the config. It may be wrapped for distributed training.
        splits: The splits that the run uses, of `'train'`, `'val'` and `'test'`.

    Raises:
        ConfigError: If a value differs, with the config entry and both values; or if the head has
            no decoder, and the model is evaluated.
    """
    head = getattr(getattr(model, 'module', model), 'head', None)
    decoder = getattr(head, 'decoder', None)
    if decoder is None:
        if isinstance(head, BaseHead) and hasattr(head, 'decoder') and set(splits) - {'train'}:
            raise ConfigError(
                'model.head has no decoder, which the evaluation requires: set '
                'model.head.decoder to the codec of the pipelines'
            )
        return
    if set(splits) - {'train'}:
        _check_flip_mode(cfg, decoder, head)
    # Heatmaps that are resized to the input before they are decoded are larger than the targets.
    resizes = (cfg.model.get('test_cfg') or {}).get('restore_heatmap_size')
    sizes = ('input_size',) if resizes else ('input_size', 'heatmap_size')
    for split in splits:
        for place, step in _steps(cfg, split):
            kind = type_name(step)
            if kind == 'TopdownAffine':
                _compare(f'{place}.input_size', step['input_size'], decoder, 'input_size')
            if kind == 'ResizeAlign':
                _compare_scale(f'{place}.short_side', step['short_side'], decoder)
            if kind == 'GenerateTarget':
                for encoder in as_list(step.get('encoder')):
                    with building(cfg):
                        codec = KEYPOINT_CODECS.build(encoder)
                    _check_encoder(f'{place}.encoder', codec, decoder, head, sizes)


def _check_flip_mode(cfg: Config, decoder: BaseKeypointCodec, head: nn.Module) -> None:
    """Check that the flip test mirrors the kind of maps that a head predicts."""
    test_cfg = cfg.model.get('test_cfg') or {}
    if not (isinstance(head, HeatmapHead) and test_cfg.get('flip_test')):
        return
    is_combined = getattr(decoder, 'heatmap_type', 'gaussian') == 'combined'
    expected = 'udp_combined' if is_combined else 'heatmap'
    if test_cfg.get('flip_mode', expected) != expected:
        raise ConfigError(
            f'model.test_cfg.flip_mode={test_cfg["flip_mode"]!r}, but the codec is '
            f'{type(decoder).__name__}: expected {expected!r}'
        )


def check_device_targets(cfg: Config) -> None:
    """Check that targets can be made on the device, if a config has a `DeviceTargetHook`.

    Args:
        cfg: Config of a training run.

    Raises:
        ConfigError: If they cannot.
    """
    if uses_device_targets(cfg):
        with building(cfg):
            TargetEncoder(
                [
                    TRANSFORMS.build(step)
                    for _, step in _steps(cfg, 'train')
                    if type_name(step) == 'GenerateTarget'
                ]
            )


def _steps(cfg: Config, split: str) -> Iterator[tuple[str, dict]]:
    for place, dataset in find_datasets(cfg, split):
        for number, step in enumerate(dataset.get('pipeline') or []):
            yield f'{place}.pipeline[{number}]', step


def _compare(place: str, size: Sequence[int], decoder: BaseKeypointCodec, name: str) -> None:
    expected = tuple(getattr(decoder, name, size))
    if tuple(size) != expected:
        raise ConfigError(
            f'{place} is {tuple(size)}, but {name} of model.head.decoder is '
            f'{expected} (width, height): the two must be equal'
        )


def _compare_scale(place: str, short_side: int, decoder: BaseKeypointCodec) -> None:
    """Log a warning if whole images have another scale than the crops of the training."""
    size = getattr(decoder, 'input_size', None)
    if size is not None and short_side != min(size):
        print_log(
            f'{place} is {short_side}, but input_size of model.head.decoder is {tuple(size)}: '
            'people are smaller or larger than in the training',
            'current',
            logging.WARNING,
        )


def _check_encoder(
    place: str,
    codec: BaseKeypointCodec,
    decoder: BaseKeypointCodec,
    head: nn.Module,
    sizes: Sequence[str],
) -> None:
    for name in sizes:
        if hasattr(codec, name):
            _compare(f'{place}.{name}', getattr(codec, name), decoder, name)
    kernels, levels = (getattr(codec, 'kernel_sizes', None), getattr(head, 'levels', None))
    if None not in (kernels, levels) and len(kernels) <= max(levels):
        raise ConfigError(
            f'{place}.kernel_sizes is {tuple(kernels)}: expected at least {max(levels) + 1} sizes, '
            f'since the units of the head are trained on the levels {tuple(levels)}'
        )


def check_input_size(cfg: Config, model: nn.Module) -> None:
    """Check that the input size fits the backbone, and the heatmaps the decoder.

    Args:
        cfg: The config, with the input size in its codec.
        model: The model, built from the config. It may be wrapped for distributed training.

    Raises:
        ConfigError: If it does not. The message contains the size and the error of the backbone, or
            both sizes of the heatmaps.
    """
    model = getattr(model, 'module', model)
    backbone = getattr(model, 'backbone', None)
    codec = as_list(cfg.get('codec'))
    if not isinstance(backbone, BaseBackbone) or not codec:
        return
    width, height = codec[0]['input_size']
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            maps = backbone(next(backbone.parameters()).new_zeros(1, 3, height, width))
            heatmaps = None
            # Other subclasses can predict more than heatmaps.
            if type(getattr(model, 'head', None)) in (HeatmapHead, MultiLevelHeatmapHead):
                heatmaps = model.head(model.neck(maps) if model.with_neck else maps)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f'{cfg.filename}: the input of {height}x{width} (codec.'
            f'input_size, height x width) does not fit the model: '
            f'{first_line(error)}'
        ) from error
    finally:
        model.train(training)
    if heatmaps is not None:
        _check_heatmap_size(cfg, model.head, heatmaps, (height, width))


def _check_heatmap_size(
    cfg: Config, head: nn.Module, heatmaps: torch.Tensor, size: tuple[int, int]
) -> None:
    """Check that the heatmaps (1, C, H, W) for an input (height, width) fit the decoder."""
    expected = getattr(head.decoder, 'heatmap_size', None)
    predicted = tuple(heatmaps.shape[:1:-1])
    if expected is not None and predicted != tuple(expected):
        raise ConfigError(
            f'{cfg.filename}: the model predicts heatmaps of {predicted[0]}x{predicted[1]} for an '
            f'input of {size[1]}x{size[0]}, but codec.heatmap_size is {expected[0]}x{expected[1]} '
            '(width x height): use an input size that the strides of the model divide, usually a '
            'multiple of 32, and the heatmap size that the model predicts'
        )
