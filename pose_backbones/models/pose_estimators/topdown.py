"""MMPose's top-down pose estimator, with `in_channels` read from the backbone."""

import inspect

from mmpose.models.pose_estimators import TopdownPoseEstimator as MMPoseTopdownEstimator
from mmpose.registry import MODELS as MMPOSE_MODELS
from torch import nn

from ...configs import find_class
from ...registry import MODELS
from ..backbones import BaseBackbone


@MODELS.register_module()
class TopdownPoseEstimator(MMPoseTopdownEstimator):
    """MMPose's `TopdownPoseEstimator` that sets `in_channels` of the head or neck.

    With a backbone of this package, `in_channels` can be omitted or None. It is then the number of
    channels of the last map in the backbone's `out_indices` for a head, and the list of the
    channels of all maps for a neck, or for a head whose attribute `takes_all_maps` is true. A given
    value is checked. With a neck, the config must set `in_channels` of the head.

    Args:
        backbone: Config of a backbone.
        neck: Config of a neck; none by default.
        head: Config of a head.
        train_cfg: As in MMPose.
        test_cfg: As in MMPose.
        data_preprocessor: As in MMPose.
        init_cfg: As in MMPose.
        metainfo: As in MMPose.

    Raises:
        ValueError: If `in_channels` differs from the channels of the backbone, or is missing and
            cannot be read from the backbone.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
        metainfo: dict | None = None,
    ):
        net = MMPOSE_MODELS.build(backbone)
        if neck is not None:
            neck = _with_in_channels(neck, 'neck', net, every_map=True)
            _check_not_missing(head, 'with a neck, it cannot be read from the backbone')
        elif head is not None:
            every_map = getattr(find_class(head, MMPOSE_MODELS), 'takes_all_maps', False)
            head = _with_in_channels(head, 'head', net, every_map)
        super().__init__(
            backbone=dict(type=lambda: net),  # built already
            neck=neck,
            head=head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            metainfo=metainfo,
        )


def _takes_in_channels(cfg: dict) -> bool:
    """Return whether the module has an argument `in_channels`."""
    kind = find_class(cfg, MMPOSE_MODELS)
    return kind is not None and 'in_channels' in inspect.signature(kind).parameters


def _check_not_missing(head: dict | None, reason: str) -> None:
    if head is not None and head.get('in_channels') is None and _takes_in_channels(head):
        raise ValueError(f'head.in_channels is missing: {reason}')


def _with_in_channels(cfg: dict, place: str, backbone: nn.Module, every_map: bool) -> dict:
    """Return a config with the channels of the backbone, or raise `ValueError`."""
    if not isinstance(backbone, BaseBackbone):
        if place == 'head':
            name = type(backbone).__name__
            _check_not_missing(
                cfg, f'it can be read from backbones of pose_backbones, but not from {name}'
            )
        return cfg
    if not _takes_in_channels(cfg):
        return cfg
    channels = [backbone.embed_dims[i] for i in backbone.out_indices]
    in_channels = cfg.get('in_channels')
    if in_channels is None:
        cfg = cfg.copy()
        cfg['in_channels'] = channels if every_map else channels[-1]
        return cfg
    takes_all = place == 'head' and every_map and len(channels) > 1
    expected = channels if takes_all or not isinstance(in_channels, int) else channels[-1]
    if (in_channels if isinstance(in_channels, int) else list(in_channels)) != expected:
        raise ValueError(
            f'{place}.in_channels is {in_channels!r}: maps {backbone.out_indices} '
            f'of {type(backbone).__name__} have {expected} channels; expected '
            'these, or no in_channels'
        )
    return cfg
