"""What is looked at before a run starts, so that no work is lost in it."""

from .bottomup import check_badcase, check_data_mode, check_precision
from .checkpoints import check_save_best, check_saving
from .codec import check_targets
from .datasets import check_datasets, check_detections, check_input_size, check_keypoints, read_coco
from .ensemble import NO_CHECKPOINT, check_checkpoint_argument, check_ensemble, check_trainable
from .registry_names import check_type, check_types
from .work_dir import (
    check_output,
    check_overwrite,
    check_same_start,
    check_work_dir,
    clear_work_dir,
    saved_summary,
)

__all__ = [
    'NO_CHECKPOINT',
    'check_badcase',
    'check_checkpoint_argument',
    'check_data_mode',
    'check_datasets',
    'check_detections',
    'check_ensemble',
    'check_input_size',
    'check_keypoints',
    'check_output',
    'check_overwrite',
    'check_precision',
    'check_same_start',
    'check_save_best',
    'check_saving',
    'check_targets',
    'check_trainable',
    'check_type',
    'check_types',
    'check_work_dir',
    'clear_work_dir',
    'read_coco',
    'saved_summary',
]
