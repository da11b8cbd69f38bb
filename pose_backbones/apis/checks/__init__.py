"""What is looked at before a run starts, so that no work is lost in it."""

from .data import (
    check_datasets,
    check_detections,
    check_input_size,
    check_keypoints,
)
from .types import check_type, check_types
from .work_dir import (
    check_output,
    check_overwrite,
    check_same_start,
    check_work_dir,
    clear_work_dir,
)

__all__ = [
    'check_datasets', 'check_detections', 'check_input_size',
    'check_keypoints', 'check_output', 'check_overwrite', 'check_same_start',
    'check_type', 'check_types', 'check_work_dir', 'clear_work_dir'
]
