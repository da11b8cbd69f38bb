"""Registries of the package: children of MMEngine's root registries, scope `pose_backbones`.

Configs of MMPose, MMDetection, MMSegmentation or any other project that uses MMEngine can refer to
the modules with the scope as a prefix, without an import:

    backbone=dict(type='pose_backbones.MogaNet', arch='small')

MMEngine imports `pose_backbones.registry` when it encounters the prefix. A registry imports the
modules in its `locations` when a name is looked up for the first time.
"""

import importlib.util
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mmengine import registry as root

from pose_backbones_env import finder

SCOPE = 'pose_backbones'
_HAS_MMPOSE = importlib.util.find_spec('mmpose') is not None


def _child(parent: root.Registry, *locations: str) -> root.Registry:
    return root.Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


#: backbones, heads, losses, pose estimators; `mmpose_models` has those that require MMPose
MODELS = _child(
    root.MODELS,
    'pose_backbones.models',
    *(['pose_backbones.models.mmpose_models'] if _HAS_MMPOSE else []),
)
#: data transforms; some of them require MMPose
TRANSFORMS = _child(
    root.TRANSFORMS,
    'pose_backbones.datasets.transforms',
    'pose_backbones.datasets.transforms.person',
    *(
        [
            'pose_backbones.datasets.transforms.bottomup',
            'pose_backbones.datasets.transforms.mmpose_transforms',
        ]
        if _HAS_MMPOSE
        else []
    ),
)
#: optimizer wrapper constructors, which build parameter groups
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'pose_backbones.engine')
#: hooks of the runner
HOOKS = _child(root.HOOKS, 'pose_backbones.engine', 'pose_backbones.engine.device_targets')
#: datasets
DATASETS = _child(root.DATASETS, 'pose_backbones.datasets.mpii')
#: samplers of training data
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'pose_backbones.datasets.image_grouped_sampler')
#: metrics
METRICS = _child(root.METRICS, 'pose_backbones.evaluation.mpii', 'pose_backbones.evaluation.pck')
#: assigners and matching costs
TASK_UTILS = _child(root.TASK_UTILS, 'pose_backbones.models.task_modules')


def _add_codecs() -> None:
    """Create the registry of codecs, whose parent only MMPose has."""
    global KEYPOINT_CODECS
    from mmpose.registry import KEYPOINT_CODECS as parent

    #: encoding of keypoints to targets and decoding of outputs
    KEYPOINT_CODECS = _child(parent, 'pose_backbones.codecs')


if _HAS_MMPOSE:
    finder.after_import('mmpose.registry', _add_codecs)


def __getattr__(name: str) -> root.Registry:
    if name == 'KEYPOINT_CODECS' and _HAS_MMPOSE:
        import_module('mmpose.registry')
        if name in globals():
            return globals()[name]
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def class_attribute(cfg: Mapping, name: str, default: Any) -> Any:
    """Return an attribute of the class that the config of a model or a part of one names.

    Args:
        cfg: A config with `type`: a class, or a name in MMPose's registry of models.
        name: Name of the attribute.
        default: What to return if there is no such class or attribute.
    """
    kind = cfg.get('type')
    if isinstance(kind, str) and _HAS_MMPOSE:
        kind = import_module('mmpose.registry').MODELS.get(kind)
    return getattr(kind, name, default)
