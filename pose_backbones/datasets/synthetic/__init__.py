"""Drawn people with COCO keypoints, for demos, tests and benchmarks."""

from .coco import (
                   GENERATOR_VERSION,
                   SyntheticSummary,
                   encode_person,
                   encode_polygons,
                   encode_rle,
                   make_synthetic_coco,
                   sample_detections,
)
from .figure import Figure, Look, draw_figure, sample_look
from .scene import Scene, ScenePerson, render_scene
from .skeleton import (
                   ACTIONS,
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
                   sample_pose,
)

__all__ = [
    'ACTIONS', 'BONES', 'GENERATOR_VERSION', 'JOINT_LIMITS',
    'KEYPOINT_NAMES', 'Body', 'Figure', 'Look', 'PosedBody', 'Projection',
    'Scene', 'ScenePerson', 'SyntheticSummary', 'draw_figure',
    'encode_person', 'encode_polygons', 'encode_rle', 'forward_kinematics',
    'limit', 'make_synthetic_coco', 'project', 'render_scene',
    'sample_body', 'sample_detections', 'sample_look', 'sample_pose',
]
