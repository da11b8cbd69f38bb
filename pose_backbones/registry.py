"""Registries of the package: children of MMEngine's, scope `pose_backbones`.

A config of MMPose, MMDetection, MMSegmentation or of any other project on
MMEngine reaches what stands here by a prefixed name, without an import line::

    backbone=dict(type='pose_backbones.MogaNet', arch='small')

MMEngine imports `pose_backbones.registry` when it meets the prefix, and a
registry imports its `locations` when it is first asked for a name.
"""

from mmengine import registry as root

from . import compat

compat.install()

SCOPE = 'pose_backbones'

#: backbones, heads, losses, estimators
MODELS = root.Registry(
    'model',
    parent=root.MODELS,
    scope=SCOPE,
    locations=['pose_backbones.models'])
#: data transforms
TRANSFORMS = root.Registry(
    'transform',
    parent=root.TRANSFORMS,
    scope=SCOPE,
    locations=['pose_backbones.datasets.transforms'])
