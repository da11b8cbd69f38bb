"""Check the files of a distillation, such as DWPose's, before a run starts."""

from mmengine.config import Config

from ..checkpoints.loading import check_checkpoint_path
from ..errors import CheckpointError, ConfigError
from ..zoo.mmpose import find_config


def check_distillation(cfg: Config) -> None:
    """Check that the configs of teacher and student exist, and the checkpoint of the teacher.

    Args:
        cfg: Config of a training run. The check is skipped if its model is no distillation.

    Raises:
        ConfigError: If a config does not exist.
        CheckpointError: If the checkpoint does not exist. URLs are not checked, nor is the
            checkpoint if the run resumes or starts from another one, which contains the teacher.
    """
    for key in ('teacher_cfg', 'student_cfg'):
        path = cfg.model.get(key)
        if isinstance(path, str) and find_config(path) is None:
            raise ConfigError(
                f'{cfg.filename}: model.{key} is {path}, which does not exist: expected the path '
                "of a config, or its path in MMPose's repository, configs/…"
            )
    teacher = cfg.model.get('teacher_pretrained')
    if not isinstance(teacher, str) or cfg.get('resume') or cfg.get('load_from'):
        return
    try:
        check_checkpoint_path(teacher)
    except CheckpointError as error:
        raise CheckpointError(
            f'model.teacher_pretrained: {error}. Train the teacher first, or set '
            '--cfg-options model.teacher_pretrained=PATH'
        ) from error
