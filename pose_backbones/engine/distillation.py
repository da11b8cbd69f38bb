"""Load the teacher of a distillation, such as DWPose's, strictly."""

import logging

from mmengine.logging import print_log
from torch import nn

from ..checkpoints.loading import get_weights, load_weights, read_checkpoint


def load_teacher(model: nn.Module) -> None:
    """Load the teacher's checkpoint, `teacher_pretrained` of a model, before it is initialized.

    MMPose loads the parameters that match. If none does, as with the checkpoint of another
    distillation, the student would learn from random weights.

    Args:
        model: A model, which may be wrapped for distributed training. Nothing is done if it has no
            teacher.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or does not match the teacher.
    """
    model = getattr(model, 'module', model)
    teacher = getattr(model, 'teacher', None)
    if not isinstance(teacher, nn.Module) or not hasattr(model, 'teacher_pretrained'):
        return
    path = model.teacher_pretrained
    if path is None:
        print_log(
            'model.teacher_pretrained is None: the student learns from random weights',
            'current',
            logging.WARNING,
        )
        return
    load_weights(teacher, get_weights(read_checkpoint(path)), str(path))
    model.teacher_pretrained = None  # otherwise, MMPose loads it again
