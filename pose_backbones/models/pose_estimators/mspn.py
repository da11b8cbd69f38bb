"""The estimator of MSPN: whole checkpoints of the original, parts that fit."""

from torch import nn

from ...checkpoints.conversion_hook import register_state_dict_conversion
from ...checkpoints.names.mspn import convert_estimator
from ...registry import MODELS
from .topdown import TopdownPoseEstimator


@MODELS.register_module()
class MSPNEstimator(TopdownPoseEstimator):
    """`TopdownPoseEstimator` for `MSPN` and `MSPNHead`.

    Takes the original's checkpoints, in which the layers that make heat maps
    stand among the backbone's, and MMPose's, whoever loads them; and refuses
    parts that do not fit when it is built.

    Args:
        backbone: Config of an `MSPN`.
        neck: As in MMPose; none by default.
        head: Config of an `MSPNHead`.
        train_cfg: As in MMPose.
        test_cfg: As in MMPose.
        data_preprocessor: As in MMPose.
        init_cfg: As in MMPose.
        metainfo: As in MMPose.

    Raises:
        ValueError: If backbone and head are not of the same number of
            stages or channels, or the backbone keeps units from the head.
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
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            metainfo=metainfo,
        )
        for name in ('stages', 'unit_channels'):
            ours, heads = _fact(self.backbone, name), _fact(self.head, name)
            if None not in (ours, heads) and ours != heads:
                raise ValueError(f"head.{name} is {heads}: expected {ours}, the backbone's")
        units, given = (_fact(self.backbone, name) for name in ('num_stages', 'out_indices'))
        if given is not None and len(given) != units:
            raise ValueError(
                f'backbone.out_indices is {tuple(given)}: expected None, all '
                f'{units} units, of which the head makes maps'
            )
        register_state_dict_conversion(self, convert_estimator, whole=True)


def _fact(module: nn.Module, name: str):
    return getattr(module, name, None)
