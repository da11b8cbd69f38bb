"""Generate synthetic people with COCO, MPII or CrowdPose keypoints, for tests and demos.

People, clothes and backgrounds are drawn with NumPy and OpenCV. No library is known that generates
such images with exact keypoints and masks on a CPU without downloading assets.
"""

from .annotations import encode_person, sample_detections
from .body import (
    BONES,
    JOINT_LIMITS,
    KEYPOINT_NAMES,
    Body,
    PosedBody,
    Projection,
    forward_kinematics,
    limit,
    project,
    sample_body,
)
from .coco import make_synthetic_coco
from .crowdpose import crowd_index, encode_crowdpose_person, make_synthetic_crowdpose
from .folder import GENERATOR_VERSION, SyntheticDataError, SyntheticSummary
from .look import Look, sample_look
from .masks import encode_polygons, encode_rle
from .mpii import encode_mpii_person, make_synthetic_mpii
from .person import Midline, PersonDrawing, draw_person
from .poses import ACTIONS, POSES, sample_action, sample_pose
from .scene import Crowding, Scene, ScenePerson, render_scene

__all__ = [
    'ACTIONS',
    'BONES',
    'GENERATOR_VERSION',
    'JOINT_LIMITS',
    'KEYPOINT_NAMES',
    'POSES',
    'Body',
    'Crowding',
    'Look',
    'Midline',
    'PersonDrawing',
    'PosedBody',
    'Projection',
    'Scene',
    'ScenePerson',
    'SyntheticDataError',
    'SyntheticSummary',
    'crowd_index',
    'draw_person',
    'encode_crowdpose_person',
    'encode_mpii_person',
    'encode_person',
    'encode_polygons',
    'encode_rle',
    'forward_kinematics',
    'limit',
    'make_synthetic_coco',
    'make_synthetic_crowdpose',
    'make_synthetic_mpii',
    'project',
    'render_scene',
    'sample_action',
    'sample_body',
    'sample_detections',
    'sample_look',
    'sample_pose',
]
