"""Draw a clothed person from a projected skeleton."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .body import KEYPOINT_NAMES, SIDES, Body, Projection
from .canvas import (
    BAG,
    FOOT,
    FORE,
    HAIR,
    HAND,
    HEAD,
    LIMBS,
    NECK,
    PELVIS,
    SHANK,
    SHOULDER,
    SKIRT,
    THIGH,
    TORSO,
    UPPER,
    Canvas,
)
from .fabric import apply_patterns, shaded
from .head import draw_head, head_places
from .limbs import draw_arm, draw_leg
from .look import Look
from .painter import Painter
from .torso import draw_skirt, draw_torso


@dataclass(frozen=True)
class Midline:
    """Labels of MPII on the midline of a person.

    Attributes:
        points: (4, 2) x, y of pelvis, thorax, upper neck and head top in pixels, not clipped to
            the image.
        head_box: (4,) x1, y1, x2, y2 of the head's bounding box in pixels.
    """

    points: np.ndarray
    head_box: np.ndarray


@dataclass(frozen=True)
class PersonDrawing:
    """Drawing of a person, with its labels.

    Attributes:
        origin: Position (x, y) of the drawing's top left corner in the image, in pixels.
        image: (h, w, 3) BGR uint8, multiplied by the coverage.
        alpha: (h, w) uint8 coverage.
        joints: (17, 3) float64 x, y and visibility, not clipped to the image. The visibility
            accounts only for occlusion by the person's own body.
        midline: Labels on the midline.
    """

    origin: tuple[int, int]
    image: np.ndarray
    alpha: np.ndarray
    joints: np.ndarray
    midline: Midline


@lru_cache(maxsize=32)
def _shows(name: str) -> np.ndarray:
    """Return which labels at the position of a joint mean that it is visible, (256,) bool."""
    table = np.zeros(256, bool)
    side, _, joint = name.partition('_')
    if joint in ('eye', 'ear') or name == 'nose':
        table[[HEAD, HAIR]] = True
        return table | np.roll(table, 32) | np.roll(table, 64)
    base = LIMBS[side]
    parts = {
        'shoulder': (SHOULDER, UPPER),
        'elbow': (UPPER, FORE),
        'wrist': (FORE, HAND),
        'hip': (THIGH,),
        'knee': (THIGH, SHANK),
        'ankle': (SHANK, FOOT),
    }[joint]
    extra = {
        'shoulder': (TORSO, NECK, HAIR, BAG),
        'hip': (PELVIS, TORSO, SKIRT),
        'knee': (SKIRT,),
        'ankle': (SKIRT,),
    }.get(joint, ())
    table[[*(base + p for p in parts), *extra]] = True
    return table | np.roll(table, 32) | np.roll(table, 64)


def _own_visibility(name: str, proj: Projection, look: Look) -> int:
    """Return the visibility of a joint that follows from the viewing direction."""
    head, z = proj.head, proj.z
    forward = head[2, 2]
    side, _, joint = name.partition('_')
    sign = 1.0 if side == 'left' else -1.0
    if name == 'nose':
        return 2 if forward > -0.1 else (1 if forward > -0.3 else 0)
    if joint == 'eye':
        out = (head @ np.array((0.42 * sign, 0, 0.9)))[2]
        return 2 if out > 0.1 else (1 if forward > -0.25 else 0)
    if joint == 'ear':
        out = sign * head[2, 0]
        covered = look.style in ('long', 'bob')
        if out > -0.3:
            return 1 if covered else 2
        return 1 if out > -0.85 else 0
    if joint == 'shoulder':
        middle = 0.5 * (z['left_shoulder'] + z['right_shoulder'])
        return 2 if z[name] - middle > -0.075 else 1
    if joint == 'hip':
        return 2 if z[name] - z['pelvis'] > -0.042 else 1
    return 2


def _paint(painter: Painter) -> None:
    """Draw all parts of a person and the patterns on the clothes."""
    for side, _ in SIDES:
        draw_arm(painter, side)
        draw_leg(painter, side)
    draw_torso(painter)
    draw_head(painter)
    if painter.look.skirt:
        draw_skirt(painter)
    painter.paint()
    apply_patterns(painter)


def _joints(painter: Painter) -> np.ndarray:
    """Return x and y in the image, and visibility on the canvas, (17, 3)."""
    label, proj = painter.canvas.label, painter.proj
    joints = np.zeros((17, 3))
    h, w = label.shape
    reach = max(1, round(0.008 * painter.unit))
    for i, name in enumerate(KEYPOINT_NAMES):
        joints[i] = *proj.xy[name], _own_visibility(name, proj, painter.look)
        cx, cy = np.round(painter.xy[name]).astype(int)
        if joints[i, 2] == 2 and 0 <= cx < w and 0 <= cy < h:
            patch = label[max(0, cy - reach) : cy + reach + 1, max(0, cx - reach) : cx + reach + 1]
            if _shows(name)[patch].mean() < 0.4:
                joints[i, 2] = 1
    return joints


def draw_person(
    proj: Projection, body: Body, look: Look, light: np.ndarray, size: tuple[int, int]
) -> PersonDrawing | None:
    """Draw a person.

    Args:
        proj: The projected skeleton.
        body: Proportions of the person.
        look: Colours and clothes.
        light: (3,) unit vector towards the light: x right, y down, z to the camera.
        size: Width and height of the image in pixels.

    Returns:
        The drawing, cropped to the image; None if it is completely outside.
    """
    cloud = np.stack(list(proj.xy.values()))
    margin = 0.11 * max(proj.scale.values()) * max(1.0, body.girth)
    x0, y0 = np.floor(np.maximum(cloud.min(0) - margin, 0)).astype(int)
    x1, y1 = np.ceil(np.minimum(cloud.max(0) + margin, size)).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    canvas = Canvas((int(x0), int(y0), int(x1), int(y1)), light)
    painter = Painter(canvas, proj, body, look)
    _paint(painter)
    image, alpha = shaded(canvas, look, painter.unit)
    ends, head_box = head_places(proj, body)
    middle = np.stack((proj.xy['pelvis'], proj.xy['neck'], *ends))
    return PersonDrawing(
        (int(x0), int(y0)), image, alpha, _joints(painter), Midline(middle, head_box)
    )
