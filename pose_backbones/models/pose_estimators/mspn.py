"""Top-down pose estimator of MSPN, which loads the original checkpoints."""

from ...checkpoints.conversion_hook import register_state_dict_conversion
from ...checkpoints.names.mspn import convert_estimator
from ...registry import MODELS
from .topdown import TopdownPoseEstimator


@MODELS.register_module()
class MSPNEstimator(TopdownPoseEstimator):
    """`TopdownPoseEstimator` for `MSPN` and `MSPNHead`.

    Loads checkpoints of MMPose and of the original code, which has the layers that predict heatmaps
    in the backbone. The constructor checks that backbone and head match.

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
        ValueError: If backbone and head have different numbers of stages or channels, or if the
            backbone does not return all units.
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
            expected, value = (getattr(part, name, None) for part in (self.backbone, self.head))
            if None not in (expected, value) and expected != value:
                raise ValueError(f"head.{name} is {value}: expected {expected}, the backbone's")
        units = getattr(self.backbone, 'num_stages', None)
        out_indices = getattr(self.backbone, 'out_indices', None)
        if out_indices is not None and len(out_indices) != units:
            raise ValueError(
                f'backbone.out_indices is {tuple(out_indices)}: expected None, since the head '
                f'needs the maps of all {units} units'
            )
        register_state_dict_conversion(self, convert_estimator, whole=True)
