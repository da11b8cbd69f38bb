"""Render scenes: images of people in front of a background, with their labels."""

from dataclasses import dataclass

import cv2
import numpy as np

from .background import draw_background
from .body import forward_kinematics, project, sample_body
from .camera import Camera, photograph
from .look import sample_look
from .person import Midline, PersonDrawing, draw_person
from .poses import ACTIONS, sample_pose
from .props import draw_occluder, draw_seat
from .stage import Stage

#: fraction of images by the number of people in the foreground
_PEOPLE_SHARES = (0.03, 0.17, 0.25, 0.25, 0.18, 0.12)
#: fractions of images with a crowd, and with a person who is too small for keypoints
_CROWD_SHARE, _TINY_SHARE = 0.08, 0.07
#: minimum stature of people with keypoints, in pixels
_MIN_HEIGHT = 45.0
_ACTION_NAMES = tuple(ACTIONS)
_ACTION_SHARES = np.array(list(ACTIONS.values())) / sum(ACTIONS.values())


@dataclass(frozen=True)
class ScenePerson:
    """An annotated person, or group of people, in a scene.

    Attributes:
        joints: (17, 3) float64 x, y, v in COCO's order; v is 0 (not labelled, x = y = 0), 1
            (occluded) or 2 (visible).
        mask: (h, w) bool, the visible pixels without small specks.
        bbox: x, y, width and height of the visible pixels.
        area: Number of visible pixels.
        iscrowd: Whether this is a group of people.
        action: Action of the person, a key of `ACTIONS`; '' for a group.
        yaw: Direction that the person faces in degrees, 0 towards the camera.
        stature: Height of the person in pixels when standing upright.
        midline: MPII's labels on the midline; None if no joint is labelled.
    """

    joints: np.ndarray
    mask: np.ndarray
    bbox: tuple[int, int, int, int]
    area: int
    iscrowd: bool
    action: str
    yaw: float
    stature: float
    midline: Midline | None = None


@dataclass(frozen=True)
class Scene:
    """An image and its annotated people.

    Attributes:
        image: (h, w, 3) BGR uint8.
        people: Annotated people, from near to far.
    """

    image: np.ndarray
    people: list[ScenePerson]


@dataclass(frozen=True)
class Crowding:
    """Number and density of people in the foreground.

    Attributes:
        people: Minimum and maximum number, sampled uniformly.
        close: Fraction of people who overlap another person. The others are placed apart if there
            is enough space.
    """

    people: tuple[int, int]
    close: float


@dataclass(frozen=True)
class _Drawn:
    """A person who has been drawn in the image."""

    drawing: PersonDrawing
    number: int
    action: str
    yaw: float
    stature: float


def _draw_person(
    stage: Stage,
    rng: np.random.Generator,
    camera: Camera,
    x: float,
    foot: float,
    height: float,
    upright: bool = False,
) -> _Drawn | None:
    """Draw a person; `height` is that of a standing adult in pixels."""
    body = sample_body(rng)
    look = sample_look(rng, body)
    action = 'stand' if upright else str(rng.choice(_ACTION_NAMES, p=_ACTION_SHARES))
    pose = sample_pose(rng, action)
    grown = (
        rng.uniform(0.6, 0.8)
        if body.child
        else (0.93 + 0.08 * body.masculine + rng.normal(0, 0.02))
    )
    stature = max(height * grown, _MIN_HEIGHT if not upright else 8.0)
    h, w = stage.owner.shape
    posed = forward_kinematics(body, pose)
    proj = project(posed, (x, foot), stature, camera.tilt, float(rng.uniform(4.0, 9.0)))
    drawing = draw_person(proj, body, look, stage.light, (w, h))
    if drawing is None or not (drawing.alpha > 127).any():
        return None
    if action == 'sit':
        draw_seat(stage.image, rng, proj.xy['pelvis'], foot, stature)
    stage.shadow(drawing, foot, stature)
    return _Drawn(drawing, stage.add(drawing), action, pose['yaw'], stature)


def _joints(drawing: PersonDrawing, number: int, owner: np.ndarray) -> np.ndarray:
    """Return the joints of a person with their visibility in the finished image."""
    h, w = owner.shape
    joints = drawing.joints.copy()
    for joint in joints:
        x, y, v = joint
        if v == 0 or not (0 <= x <= w - 1 and 0 <= y <= h - 1):
            joint[:] = 0
            continue
        cx, cy = round(x), round(y)
        around = owner[max(0, cy - 1) : cy + 2, max(0, cx - 1) : cx + 2]
        if (around > number).mean() > 0.5:
            joint[2] = 1
    joints[:, :2] = np.round(joints[:, :2], 2)
    return joints


def _annotated(
    mask: np.ndarray,
    joints: np.ndarray,
    crowd: bool,
    action: str,
    yaw: float,
    stature: float,
    midline: Midline | None = None,
) -> ScenePerson | None:
    """Return an annotated person or group; None if too little is visible."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    piece = mask[y : y + h, x : x + w]
    if np.count_nonzero(piece) < 12:
        return None
    _, parts, stats, _ = cv2.connectedComponentsWithStats(piece.astype(np.uint8), connectivity=4)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if sizes.max() < 12:
        return None
    for i in np.flatnonzero(sizes < 8):
        piece[parts == i + 1] = False
    area = int(np.count_nonzero(mask))
    box = cv2.boundingRect(mask.view(np.uint8))
    return ScenePerson(
        joints,
        mask,
        tuple(int(v) for v in box),
        area,
        crowd,
        action,
        float((yaw + 180) % 360 - 180),
        stature,
        midline,
    )


def _crowd(stage: Stage, rng: np.random.Generator, camera: Camera) -> tuple[list[int], float]:
    """Draw a distant group; return the object numbers of its members, and their height."""
    h, w = stage.owner.shape
    x, numbers = rng.uniform(0.15, 0.85) * w, []
    height = rng.uniform(24, 40)
    spread = rng.uniform(0.8, 1.8)
    feet = np.sort(rng.uniform(0, 0.35, rng.integers(7, 15))) * height
    models: list[PersonDrawing] = []
    for k, lower in enumerate(feet):
        place = x + rng.normal(0, spread) * height
        foot = camera.ground(height) + lower
        if k < 4:
            done = _draw_person(stage, rng, camera, place, foot, height, True)
            if done is not None:
                models.append(done.drawing)
                numbers.append(done.number)
            continue
        copy = _copy(rng, models, place, foot, (w, h))
        if copy is not None:
            numbers.append(stage.add(copy))
    return numbers, height


def _copy(
    rng: np.random.Generator,
    models: list[PersonDrawing],
    x: float,
    foot: float,
    size: tuple[int, int],
) -> PersonDrawing | None:
    """Return another member of a group, a varied copy of an existing member."""
    if not models:
        return None
    model = models[int(rng.integers(len(models)))]
    h, w = model.alpha.shape
    x0, y0 = round(x - w / 2), round(foot - 0.95 * h)
    if x0 < 0 or y0 < 0 or x0 + w > size[0] or y0 + h > size[1]:
        return None
    image, alpha = model.image, model.alpha
    if rng.random() < 0.5:
        image, alpha = cv2.flip(image, 1), cv2.flip(alpha, 1)
    gain = cv2.merge([cv2.convertScaleAbs(alpha, alpha=float(v)) for v in rng.uniform(0.7, 1.0, 3)])
    return PersonDrawing(
        (x0, y0), cv2.multiply(image, gain, scale=1 / 255), alpha, model.joints, model.midline
    )


def _places(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int]
) -> list[tuple[float, float, float]]:
    """Sample foot positions (x, y) and heights of the foreground people, from far to near."""
    w, h = size
    count = int(rng.choice(len(_PEOPLE_SHARES), p=_PEOPLE_SHARES))
    whole = max(60.0, 0.98 * (h - camera.horizon) / camera.drop)
    places: list[tuple[float, float, float]] = []
    for _ in range(count):
        most = min(whole, 1.0 * h) if rng.random() < 0.95 else 1.35 * h
        height = float(np.exp(rng.uniform(np.log(70), np.log(max(most, 80)))))
        y = camera.ground(height)
        tries = 1 if rng.random() < 0.07 else 10
        options = rng.uniform(0.06, 0.94, tries) * w
        gaps = [
            min((abs(x - p[0]) / (0.2 * (height + p[2])) for p in places), default=9.0)
            for x in options
        ]
        if tries > 1 and max(gaps) < 1.0:
            continue  # no space left, and most people should not overlap others
        places.append((float(options[int(np.argmax(gaps))]), y, height))
    return sorted(places, key=lambda p: p[1])


def _crowded(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int], crowding: Crowding
) -> list[tuple[float, float, float]]:
    """Sample positions as `_places`, for a given number and density of people."""
    w, h = size
    tallest = max(80.0, min(h, 0.98 * (h - camera.horizon) / camera.drop))
    places: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(*crowding.people, endpoint=True)):
        if places and rng.random() < crowding.close:
            x, _, height = places[rng.integers(len(places))]
            height *= rng.uniform(0.85, 1.1)
            x += rng.choice((-1, 1)) * rng.uniform(0.08, 0.25) * height
        else:
            options = np.stack(
                (
                    rng.uniform(0.06, 0.94, 20) * w,
                    np.exp(rng.uniform(np.log(70), np.log(tallest), 20)),
                ),
                1,
            )
            gaps = [
                min((abs(x - p[0]) / (height + p[2]) for p in places), default=9.0)
                for x, height in options
            ]
            x, height = options[int(np.argmax(np.minimum(gaps, 0.4)))]
        places.append((float(x), camera.ground(height), float(height)))
    return sorted(places, key=lambda p: p[1])


def _tiny(stage: Stage, rng: np.random.Generator, camera: Camera) -> _Drawn | None:
    """Draw a distant person who is too small for keypoints."""
    height = rng.uniform(14, 24)
    return _draw_person(
        stage,
        rng,
        camera,
        rng.uniform(0.05, 0.95) * stage.owner.shape[1],
        camera.ground(height),
        height,
        True,
    )


def render_scene(
    rng: np.random.Generator, size: tuple[int, int] = (384, 288), crowding: Crowding | None = None
) -> Scene:
    """Render an image of people in front of a background.

    Args:
        rng: Random number generator of the scene.
        size: Width and height of the image, 64 to 4096 pixels each.
        crowding: Number and density of people. None: up to five people, few of whom overlap.

    Returns:
        The image and the visible people.

    Raises:
        ValueError: If the size is out of range.
    """
    if len(size) != 2 or not all(64 <= v <= 4096 for v in size):
        raise ValueError(f'expected a width and a height from 64 to 4096 pixels, got {size}')
    image, horizon, outdoors = draw_background(rng, size)
    camera = Camera(horizon, rng.uniform(0.7, 1.05), rng.uniform(1, 14))
    light = np.array((rng.normal(0, 0.5), -rng.uniform(0.4, 0.9), rng.uniform(0.5, 0.9)))
    stage = Stage(
        image,
        light / np.linalg.norm(light),
        rng.uniform(0.3, 0.9) * (outdoors and rng.random() < 0.6),
    )
    groups: list[tuple[list[int], float]] = []
    if rng.random() < _CROWD_SHARE:
        groups.append(_crowd(stage, rng, camera))
    tiny = _tiny(stage, rng, camera) if rng.random() < _TINY_SHARE else None
    drawn: list[_Drawn] = []
    places = (
        _places(rng, camera, size) if crowding is None else _crowded(rng, camera, size, crowding)
    )
    for x, y, height in places:
        done = _draw_person(stage, rng, camera, x, y, height)
        if done is not None:
            drawn.append(done)
        if rng.random() < 0.06:
            stage.cover(draw_occluder(stage.image, rng, x, y, height))
    return Scene(photograph(stage.image, rng), _collect(stage.owner, drawn, tiny, groups))


def _collect(
    owner: np.ndarray,
    drawn: list[_Drawn],
    tiny: _Drawn | None,
    groups: list[tuple[list[int], float]],
) -> list[ScenePerson]:
    """Return the annotated people of a finished image, from near to far."""
    people = []
    nothing = np.zeros((17, 3))
    for person in drawn[::-1]:
        joints = _joints(person.drawing, person.number, owner)
        mask = owner == person.number
        seen = np.count_nonzero(mask) / max(1, np.count_nonzero(person.drawing.alpha > 127))
        if seen < 0.15 or not (joints[:, 2] == 2).any():
            joints = nothing.copy()
        people.append(
            _annotated(
                mask,
                joints,
                False,
                person.action,
                person.yaw,
                person.stature,
                person.drawing.midline if joints.any() else None,
            )
        )
    if tiny is not None:
        people.append(
            _annotated(
                owner == tiny.number, nothing.copy(), False, tiny.action, tiny.yaw, tiny.stature
            )
        )
    for numbers, height in groups:
        people.append(_annotated(np.isin(owner, numbers), nothing.copy(), True, '', 0.0, height))
    return [p for p in people if p is not None]
