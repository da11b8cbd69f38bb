"""The package's models by name in the inferencers of OpenMMLab.

`MMPoseInferencer(pose2d='a name')` and its kin look a name up in the
metafiles of one package, their scope, which is MMPose where a pose model is
asked for. A name that MMPose does not have is looked for here, as
`PoseInferencer` does; `pose_backbones::…` means a config file.
"""

from functools import wraps

from mmengine.config import Config
from mmengine.infer import BaseInferencer

from ..errors import ConfigError
from .config import resolve

__all__ = ['install']


def _find(text: str) -> tuple[Config, str | None]:
    """The config of a name, and the address of its weights if there are."""
    path = resolve(text)
    if path is not None:
        return Config.fromfile(path), None
    from ..zoo import find_name, get_config, read_models

    name = find_name(text)
    model = read_models().get(name)
    return get_config(name), model.weights if model else None


def install() -> None:
    """Make the names known; calling it again changes nothing."""
    original = BaseInferencer._load_model_from_metafile
    if getattr(original, 'knows_pose_backbones', False):
        return

    @wraps(original)
    def _load_model_from_metafile(self, model: str):
        try:
            return original(self, model)
        except ValueError as error:
            if self.scope != 'mmpose':
                raise
            try:
                return _find(model)
            except (ConfigError, FileNotFoundError) as unknown:
                raise ValueError(f'{error}; {unknown}') from None

    _load_model_from_metafile.knows_pose_backbones = True
    BaseInferencer._load_model_from_metafile = _load_model_from_metafile
