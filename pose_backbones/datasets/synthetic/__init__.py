"""Drawn people with COCO keypoints, for demos, tests and benchmarks."""

from .annotations import encode_person, sample_detections
from .coco import GENERATOR_VERSION, SyntheticSummary, make_synthetic_coco
from .figure import Figure, draw_figure
from .look import Look, sample_look
from .masks import encode_polygons, encode_rle
from .poses import ACTIONS, sample_pose
from .scene import Scene, ScenePerson, render_scene
from .skeleton import (
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

__all__ = [
    'ACTIONS', 'BONES', 'GENERATOR_VERSION', 'JOINT_LIMITS',
    'KEYPOINT_NAMES', 'Body', 'Figure', 'Look', 'PosedBody', 'Projection',
    'Scene', 'ScenePerson', 'SyntheticSummary', 'draw_figure',
    'encode_person', 'encode_polygons', 'encode_rle', 'forward_kinematics',
    'limit', 'make_synthetic_coco', 'project', 'render_scene',
    'sample_body', 'sample_detections', 'sample_look', 'sample_pose',
]
