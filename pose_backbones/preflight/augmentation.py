"""Check the transforms of albumentations before they are needed, some of them after hours."""

from collections.abc import Sequence

from mmengine.config import Config
from mmpose.registry import TRANSFORMS

from ..configs import dicts_in, type_name


def check_augmentation(cfg: Config, splits: Sequence[str]) -> None:
    """Build each `Albumentation` transform in the datasets and in hooks that change the pipeline.

    Args:
        cfg: A config that has passed `check_types`.
        splits: The splits that the run uses, some of `'train'`, `'val'` and `'test'`.

    Raises:
        ConfigError: If albumentations is not installed, or a transform or an argument is unknown.
    """
    places = [f'{split}_dataloader' for split in splits]
    if 'train' in splits:
        places.append('custom_hooks')
    for place in places:
        for part in dicts_in(cfg.get(place)):
            if type_name(part) == 'Albumentation':
                TRANSFORMS.build(part)
