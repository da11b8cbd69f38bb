"""Register the models of this package in MMPose's registry, unless MMPose uses the same name."""

import importlib
import importlib.util
from functools import wraps

from mmengine.registry import Registry

from pose_backbones_env import finder

_LOCATION = 'pose_backbones._compat.mmpose_locations'
#: registries of MMPose, and modules that patch or replace their classes
_PATCHES = (
    ('KEYPOINT_CODECS', 'pose_backbones._compat.ae_codec'),
    ('TRANSFORMS', 'pose_backbones._compat.albumentation'),
    ('TRANSFORMS', 'pose_backbones._compat.packed_labels'),
    ('VISUALIZERS', 'pose_backbones._compat.visualizer_circles'),
)
#: the model registry of this package, set by `install`
_package_models: list[Registry] = []


def install(models: Registry) -> None:
    """Make names without a prefix, such as `type='MogaNet'`, work in MMPose's configs.

    MMPose's registry imports its modules when a name is looked up for the first time. The modules
    of this package are registered after them: if MMPose uses a name, now or in a later release, the
    name remains MMPose's, and the module of this package requires the prefix `pose_backbones.`. The
    same holds for a module that another project registers in MMPose's registry, before or after.
    Nothing is imported before the first lookup. Without MMPose, this function does nothing.

    Args:
        models: The model registry of this package.
    """
    _package_models[:] = [models]
    if importlib.util.find_spec('mmpose') is not None:
        finder.after_import('mmpose.registry', _add_locations)


def _add_locations() -> None:
    """Add the modules of this package to those that MMPose's registries import."""
    from mmpose import registry
    from mmpose.registry import MODELS

    for name, location in (('MODELS', _LOCATION), *_PATCHES):
        patched = getattr(registry, name)
        if location not in patched._locations:
            patched._locations.append(location)
        if patched._imported and patched is not MODELS:
            importlib.import_module(location)
    if MODELS._imported:
        register_in(MODELS)


def apply_patches() -> None:
    """Import the modules that patch MMPose's classes, as the lookup of a name does.

    In configs that import their types, no name is looked up.
    """
    from mmpose import registry

    for name in dict.fromkeys(('MODELS', *(name for name, _ in _PATCHES))):
        getattr(registry, name).import_from_location()


def register_in(registry: Registry) -> None:
    """Register the models of this package under names that are not in use.

    Args:
        registry: MMPose's model registry.
    """
    (models,) = _package_models
    models.import_from_location()
    _give_way_to_other_projects(registry)
    for name, module in models.module_dict.items():
        if name not in registry.module_dict:
            registry.register_module(name=name, module=module)


def _give_way_to_other_projects(registry: Registry) -> None:
    """Let modules that are registered later replace those of this package with the same name.

    Projects that extend MMPose have classes such as `UniFormer` of their own. MMEngine would raise
    `KeyError` when they register them. Calling this function again has no effect.
    """
    register = registry._register_module
    if getattr(register, 'replaces_pose_backbones', False):
        return

    @wraps(register)
    def _register_module(module, module_name=None, force=False):
        names = module.__name__ if module_name is None else module_name
        for name in [names] if isinstance(names, str) else names:
            registered = registry.module_dict.get(name)
            if registered is not None and registered is _package_models[0].module_dict.get(name):
                del registry.module_dict[name]
        return register(module=module, module_name=module_name, force=force)

    _register_module.replaces_pose_backbones = True
    registry._register_module = _register_module
