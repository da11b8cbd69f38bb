"""Checks of a run before it starts.

`check_config` is called before the model is built, `check_model` after it.
"""

from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from torch import nn

from .amp import check_amp, require_gpu
from .augmentation import check_augmentation
from .bottomup import check_badcase, check_data_mode
from .checkpoints import check_save_best, check_saving
from .codec import check_device_targets, check_input_size, check_targets
from .datasets import check_batches, check_datasets, check_detection_file, check_keypoints
from .distillation import check_distillation
from .ensemble import check_checkpoint_argument, check_ensemble, check_trainable
from .registry_names import check_registered, check_types
from .values import check_values
from .vis_backends import check_vis_backends
from .work_dir import (
    check_overwrite,
    check_same_start,
    check_work_dir,
    clear_work_dir,
    prepare_output,
    saved_summary,
)

__all__ = [
    'check_checkpoint_argument',
    'check_config',
    'check_detection_file',
    'check_model',
    'check_overwrite',
    'check_registered',
    'check_same_start',
    'check_types',
    'check_values',
    'check_work_dir',
    'clear_work_dir',
    'prepare_output',
    'require_gpu',
    'saved_summary',
]


def check_config(cfg: Config, splits: Sequence[str]) -> None:
    """Check a config and the files of its datasets before the model is built.

    Args:
        cfg: The config of the run.
        splits: The splits that the run uses: `'train'` and `'val'`, or `'test'`.

    Raises:
        PoseBackbonesError: If a check fails. The message names the config entry or the file, and
            the expected value.
    """
    trains = 'train' in splits
    check_values(cfg, trains)
    check_types(cfg, trains)
    check_augmentation(cfg, splits)
    check_vis_backends(cfg)
    if trains:
        check_trainable(cfg)
        check_distillation(cfg)
        check_amp(cfg)
    check_data_mode(cfg, splits)
    if 'test' in splits:
        check_badcase(cfg)
    check_datasets(cfg, splits)
    if trains:
        check_saving(cfg)
        check_save_best(cfg)
        check_device_targets(cfg)


def check_model(cfg: Config, model: nn.Module, datasets: Mapping[str, BaseDataset]) -> None:
    """Check that a model fits its config and the datasets of the run.

    Args:
        cfg: The config.
        model: The model, built from the config. It may be wrapped for distributed training.
        datasets: Split → dataset.

    Raises:
        PoseBackbonesError: If a check fails. The message names both values.
    """
    check_targets(cfg, model, list(datasets))
    check_input_size(cfg, model)
    for split, dataset in datasets.items():
        check_keypoints(cfg, dataset, split)
    if 'train' in datasets:
        check_batches(cfg, len(datasets['train']))
    if 'test' in datasets:
        check_ensemble(cfg, getattr(model, 'module', model), datasets['test'])
