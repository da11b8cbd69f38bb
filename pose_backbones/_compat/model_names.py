"""Patch OpenMMLab's inferencers to find the models of this package by name.

`MMPoseInferencer(pose2d='name')` and the other inferencers look up a name in the metafiles of a
single package, their scope. With the patch, names that MMPose does not have are looked up in this
package.
"""

from collections.abc import Callable
from functools import wraps

from mmengine.config import Config
from mmengine.infer import BaseInferencer

from ..errors import ConfigError


def install(find: Callable[[str], tuple[Config, str | None]]) -> None:
    """Install the patch. Calling this function again has no effect.

    Args:
        find: Returns the config of a model and the URL of its weights, or None as the URL; raises
            `ConfigError` or `FileNotFoundError` for an unknown name.
    """
    original = BaseInferencer._load_model_from_metafile
    if getattr(original, 'finds_pose_backbones', False):
        return

    @wraps(original)
    def _load_model_from_metafile(self, model: str):
        try:
            return original(self, model)
        except ValueError as error:
            if self.scope != 'mmpose':
                raise
            try:
                return find(model)
            except (ConfigError, FileNotFoundError) as unknown:
                raise ValueError(f'{error}; {unknown}') from None

    _load_model_from_metafile.finds_pose_backbones = True
    BaseInferencer._load_model_from_metafile = _load_model_from_metafile
