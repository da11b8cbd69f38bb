"""Replace MMPose's codec `AssociativeEmbedding`, whose labels do not reach the model.

MMPose's registry of codecs imports this module when a name is looked up for the first time.
"""

from mmpose import codecs
from mmpose.registry import KEYPOINT_CODECS


@KEYPOINT_CODECS.register_module(force=True)
class AssociativeEmbedding(codecs.AssociativeEmbedding):
    """MMPose's `AssociativeEmbedding` with the table of the labels that its head needs.

    Args:
        args, kwargs: As in MMPose.
    """

    label_mapping_table = dict(
        keypoint_indices='keypoint_indices', keypoint_weights='keypoint_weights'
    )
