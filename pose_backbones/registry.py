"""Registries of the package: children of MMEngine's, scope `pose_backbones`.

A config of MMPose, MMDetection, MMSegmentation or of any other project on
MMEngine reaches what stands here by a prefixed name, without an import line::

    backbone=dict(type='pose_backbones.MogaNet', arch='small')

MMEngine imports `pose_backbones.registry` when it meets the prefix, and a
registry imports its `locations` when it is first asked for a name.
"""

import importlib.util

from mmengine import registry as root

from . import _compat as compat

compat.install()

SCOPE = 'pose_backbones'


def _child(parent: root.Registry, *locations: str) -> root.Registry:
    return root.Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


#: backbones, heads, losses, estimators
MODELS = _child(root.MODELS, 'pose_backbones.models')
#: data transforms
TRANSFORMS = _child(
    root.TRANSFORMS,
    'pose_backbones.datasets.transforms',
    'pose_backbones.datasets.transforms.person',
)
#: how parameters are put into groups of one learning rate
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'pose_backbones.engine')

#: hooks of the runner
HOOKS = _child(root.HOOKS, 'pose_backbones.engine')

if importlib.util.find_spec('mmpose') is not None:
    from mmpose import registry as host

    #: key points to targets and back; a kind that only MMPose has
    KEYPOINT_CODECS = _child(host.KEYPOINT_CODECS, 'pose_backbones.codecs')
    TRANSFORMS._locations.append('pose_backbones.datasets.transforms.bottomup')
#: data sets
DATASETS = _child(root.DATASETS, 'pose_backbones.datasets.mpii')
#: metrics
METRICS = _child(root.METRICS, 'pose_backbones.evaluation.mpii')
#: which output learns which target
TASK_UTILS = _child(root.TASK_UTILS, 'pose_backbones.models.task_modules')
