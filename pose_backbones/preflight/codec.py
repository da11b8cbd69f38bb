"""Check that crops and targets of the pipelines match the decoder of the head."""

from collections.abc import Iterator, Sequence

from mmengine.config import Config
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import nn

from ..configs import as_list, building
from ..errors import ConfigError


def check_targets(cfg: Config, model: nn.Module, splits: Sequence[str]) -> None:
    """Check that the pipelines have the input size and the targets of the head's decoder.

    Args:
        cfg: The config.
        model: The model, built from the config. It may be wrapped for distributed training.
        splits: The splits that the run uses, of `'train'`, `'val'` and `'test'`.

    Raises:
        ConfigError: If a value differs. The message names the config entry and both values.
    """
    head = getattr(getattr(model, 'module', model), 'head', None)
    decoder = getattr(head, 'decoder', None)
    if decoder is None:
        return
    for split in splits:
        for place, step in _steps(cfg, split):
            kind = str(step['type']).rpartition('.')[2]
            if kind == 'TopdownAffine':
                _compare(f'{place}.input_size', step['input_size'], decoder, 'input_size')
            if kind == 'GenerateTarget':
                for encoder in as_list(step.get('encoder')):
                    with building(cfg):
                        codec = KEYPOINT_CODECS.build(encoder)
                    _check_encoder(f'{place}.encoder', codec, decoder, head)


def _steps(cfg: Config, split: str) -> Iterator[tuple[str, dict]]:
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
    for number, step in enumerate(dataset.get('pipeline') or []):
        yield f'{split}_dataloader.dataset.pipeline[{number}]', step


def _compare(place: str, size: Sequence[int], decoder: BaseKeypointCodec, name: str) -> None:
    expected = tuple(getattr(decoder, name, size))
    if tuple(size) != expected:
        raise ConfigError(
            f'{place} is {tuple(size)}, but {name} of model.head.decoder is '
            f'{expected} (width, height): the two must be equal'
        )


def _check_encoder(
    place: str, codec: BaseKeypointCodec, decoder: BaseKeypointCodec, head: nn.Module
) -> None:
    for name in ('input_size', 'heatmap_size'):
        if hasattr(codec, name):
            _compare(f'{place}.{name}', getattr(codec, name), decoder, name)
    kernels, levels = (getattr(codec, 'kernel_sizes', None), getattr(head, 'levels', None))
    if None not in (kernels, levels) and len(kernels) <= max(levels):
        raise ConfigError(
            f'{place}.kernel_sizes is {tuple(kernels)}: expected at least {max(levels) + 1} sizes, '
            f'since the units of the head are trained on the levels {tuple(levels)}'
        )
