"""Register the modules of this package in MMPose's registry, under names that are free."""

import importlib.util

from mmengine.registry import Registry

_LOCATION = 'pose_backbones._compat.mmpose_locations'
_own: list[Registry] = []


def install(models: Registry) -> None:
    """Make bare names such as `type='MogaNet'` work in MMPose's configs.

    MMPose's registry imports its modules when a name is looked up for the first time. Ours are
    registered after them: a name that MMPose uses, now or in a later release, remains MMPose's,
    and our module of that name needs the prefix `pose_backbones.`. Nothing is imported before the
    first lookup. Without MMPose, this does nothing.

    Args:
        models: The package's registry of models.
    """
    _own[:] = [models]
    if importlib.util.find_spec('mmpose') is None:
        return
    from mmpose.registry import MODELS

    if _LOCATION not in MODELS._locations:
        MODELS._locations.append(_LOCATION)
    if MODELS._imported:
        register_in(MODELS)


def register_in(registry: Registry) -> None:
    """Register the package's models under the names that are free.

    Args:
        registry: MMPose's registry of models.
    """
    (own,) = _own
    own.import_from_location()
    for name, module in own.module_dict.items():
        if name not in registry.module_dict:
            registry.register_module(name=name, module=module)
