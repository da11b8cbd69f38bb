"""Distillations of MMPose (DWPose): a checkpoint has the weights of the student and the teacher."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from ...errors import CheckpointError

_STUDENT, _TEACHER = 'student.', 'teacher.'
_SECOND_STAGE = re.compile(r'\btwo_dis\s*=\s*True\b')


def is_distillation(names: Iterable[str]) -> bool:
    """Return whether names of weights are those of a distillation, with student and teacher."""
    names = list(names)
    return all(any(name.startswith(part) for name in names) for part in (_STUDENT, _TEACHER))


def is_second_stage(weights: Mapping[str, Tensor], config: object) -> bool:
    """Return whether a distillation is the second stage of DWPose (`two_dis=True`).

    Args:
        weights: Name → tensor.
        config: Text of the config in the checkpoint (`meta`, `cfg`), or anything else if there is
            none.

    Raises:
        CheckpointError: If there is no config, and student and teacher have the same architecture:
            only then can it be the second stage.
    """
    student, teacher = (
        {name[len(part) :]: value.shape for name, value in weights.items() if name.startswith(part)}
        for part in (_STUDENT, _TEACHER)
    )
    if student != teacher:
        return False
    if not isinstance(config, str):
        raise CheckpointError(
            'the checkpoint of a distillation has no config (meta, cfg), and its student and '
            'teacher have the same architecture: whether it is the second stage of DWPose, and '
            'which backbone is the result, is unknown'
        )
    return _SECOND_STAGE.search(config) is not None


def select_student(weights: Mapping[str, Tensor], second_stage: bool) -> dict[str, Tensor]:
    """Return the weights of the model that a distillation trains.

    Args:
        weights: Name → tensor, of a distillation.
        second_stage: Whether only the head of the student is trained, on the features of the
            teacher, whose backbone and neck belong to the result.

    Returns:
        Name in the file → tensor.
    """
    kept = ('teacher.backbone.', 'teacher.neck.', 'student.head.') if second_stage else _STUDENT
    return {name: value for name, value in weights.items() if name.startswith(kept)}


def without_prefix(name: str) -> str:
    """Return the name of a weight in the student or the teacher."""
    return name.removeprefix(_STUDENT).removeprefix(_TEACHER)
