"""Render synthetic images of people in front of a background, with their annotations."""

from dataclasses import dataclass

import cv2
import numpy as np

from .background import draw_background
from .body import forward_kinematics, project, sample_body
from .camera import Camera, photograph
from .look import sample_look
from .person import Midline, PersonDrawing, draw_person
from .poses import sample_action, sample_pose
from .props import draw_occluder, draw_seat
from .stage import Stage

#: fractions of images with 0, 1, 2, … people in the foreground
_PEOPLE_SHARES = (0.03, 0.17, 0.25, 0.25, 0.18, 0.12)
#: fraction of images with a distant group (`iscrowd`), and fraction of images with a person who is
#: too small for keypoints
_CROWD_SHARE, _TINY_SHARE = 0.08, 0.07
#: minimum height, when standing upright, of people with keypoints, in pixels
_MIN_HEIGHT = 45.0


@dataclass(frozen=True)
class ScenePerson:
    """An annotated person, or group of people, in a scene.

    Attributes:
        joints: COCO's keypoints, (17, 3) float64 x, y and visibility: 0 (not labelled, x = y = 0),
            1 (occluded) or 2 (visible).
        mask: (h, w) bool, the visible pixels, without connected components of less than 8 pixels.
        bbox: Bounding box of the visible pixels: x, y, width and height.
        area: Number of visible pixels.
        iscrowd: Whether this is a group of people.
        action: Action of the person, a key of `ACTIONS`; '' for a group.
        yaw: Rotation about the vertical axis in degrees. An upright person with yaw 0 faces the
            camera.
        stature: Height of the person in pixels when standing upright.
        midline: MPII's keypoints on the midline of the body; None if no keypoint is labelled.
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
        close: Fraction of people who are placed so close to another person that they overlap. The
            others are placed apart if there is enough space.
    """

    people: tuple[int, int]
    close: float


@dataclass(frozen=True)
class _Drawn:
    """A person who has been drawn in the image.

    Attributes:
        drawing: The drawing, with the joints.
        number: Number of the person in `Stage.owner`.
        action: See `ScenePerson`.
        yaw: See `ScenePerson`.
        stature: See `ScenePerson`.
    """

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
    poses: str | None = None,
) -> _Drawn | None:
    """Draw a person; None if nothing of the person is in the image.

    `poses` is a key of `POSES`, or None for a standing person. `x` and `foot` are the column of the
    person and the row of the ground below. `height` is that of a standing adult at this place, all
    in pixels.
    """
    body = sample_body(rng)
    look = sample_look(rng, body)
    action = 'stand' if poses is None else sample_action(rng, poses)
    pose = sample_pose(rng, action, poses or 'everyday')
    relative_stature = (
        rng.uniform(0.6, 0.8)
        if body.child
        else (0.93 + 0.08 * body.masculine + rng.normal(0, 0.02))
    )
    stature = max(height * relative_stature, _MIN_HEIGHT if poses is not None else 8.0)
    h, w = stage.owner.shape
    posed_body = forward_kinematics(body, pose)
    projection = project(posed_body, (x, foot), stature, camera.tilt, float(rng.uniform(4.0, 9.0)))
    drawing = draw_person(projection, body, look, stage.light, (w, h))
    if drawing is None or not (drawing.alpha > 127).any():
        return None
    if action == 'sit':
        draw_seat(stage.image, rng, projection.xy['pelvis'], foot, stature)
    stage.shadow(drawing, foot, stature)
    return _Drawn(drawing, stage.add(drawing), action, pose['yaw'], stature)


def _joints(drawing: PersonDrawing, number: int, owner: np.ndarray) -> np.ndarray:
    """Return the joints of a person with their visibility in the finished image."""
    h, w = owner.shape
    joints = drawing.joints.copy()
    for joint in joints:
        x, y, visibility = joint
        if visibility == 0 or not (0 <= x <= w - 1 and 0 <= y <= h - 1):
            joint[:] = 0
            continue
        column, row = round(x), round(y)
        neighbors = owner[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        if (neighbors > number).mean() > 0.5:  # covered by objects that were drawn later
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
    cropped_mask = mask[y : y + h, x : x + w]  # a view
    if np.count_nonzero(cropped_mask) < 12:
        return None
    _, components, stats, _ = cv2.connectedComponentsWithStats(
        cropped_mask.astype(np.uint8), connectivity=4
    )
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if sizes.max() < 12:
        return None
    for i in np.flatnonzero(sizes < 8):
        cropped_mask[components == i + 1] = False
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
    """Draw a distant group; return its members' numbers in `Stage.owner`, and their height."""
    h, w = stage.owner.shape
    x, numbers = rng.uniform(0.15, 0.85) * w, []
    height = rng.uniform(24, 40)
    spread = rng.uniform(0.8, 1.8)
    feet = np.sort(rng.uniform(0, 0.35, rng.integers(7, 15))) * height
    originals: list[PersonDrawing] = []  # of which the other members are copies
    for member, offset in enumerate(feet):
        member_x = x + rng.normal(0, spread) * height
        foot = camera.ground(height) + offset
        if member < 4:
            person = _draw_person(stage, rng, camera, member_x, foot, height)
            if person is not None:
                originals.append(person.drawing)
                numbers.append(person.number)
            continue
        copy = _copy(rng, originals, member_x, foot, (w, h))
        if copy is not None:
            numbers.append(stage.add(copy))
    return numbers, height


def _copy(
    rng: np.random.Generator,
    originals: list[PersonDrawing],
    x: float,
    foot: float,
    size: tuple[int, int],
) -> PersonDrawing | None:
    """Return another member of a group, a varied copy of an existing member."""
    if not originals:
        return None
    original = originals[int(rng.integers(len(originals)))]
    h, w = original.alpha.shape
    x0, y0 = round(x - w / 2), round(foot - 0.95 * h)
    if x0 < 0 or y0 < 0 or x0 + w > size[0] or y0 + h > size[1]:
        return None
    image, alpha = original.image, original.alpha
    if rng.random() < 0.5:
        image, alpha = cv2.flip(image, 1), cv2.flip(alpha, 1)
    gain = cv2.merge([cv2.convertScaleAbs(alpha, alpha=float(v)) for v in rng.uniform(0.7, 1.0, 3)])
    return PersonDrawing(
        (x0, y0), cv2.multiply(image, gain, scale=1 / 255), alpha, original.joints, original.midline
    )


def _places(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int]
) -> list[tuple[float, float, float]]:
    """Sample foot positions (x, y) and heights of the foreground people, from far to near."""
    w, h = size
    count = int(rng.choice(len(_PEOPLE_SHARES), p=_PEOPLE_SHARES))
    tallest_whole = max(60.0, 0.98 * (h - camera.horizon) / camera.drop)  # with feet in the image
    places: list[tuple[float, float, float]] = []
    for _ in range(count):
        tallest = min(tallest_whole, 1.0 * h) if rng.random() < 0.95 else 1.35 * h
        height = float(np.exp(rng.uniform(np.log(70), np.log(max(tallest, 80)))))
        y = camera.ground(height)
        num_candidates = 1 if rng.random() < 0.07 else 10
        candidates = rng.uniform(0.06, 0.94, num_candidates) * w
        gaps = [
            min((abs(x - p[0]) / (0.2 * (height + p[2])) for p in places), default=9.0)
            for x in candidates
        ]
        if num_candidates > 1 and max(gaps) < 1.0:
            continue  # no space left, and most people should not overlap others
        places.append((float(candidates[int(np.argmax(gaps))]), y, height))
    return sorted(places, key=lambda p: p[1])


def _crowded(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int], crowding: Crowding
) -> list[tuple[float, float, float]]:
    """Sample positions and heights like `_places`, for a given number and density of people."""
    w, h = size
    tallest = max(80.0, min(h, 0.98 * (h - camera.horizon) / camera.drop))
    places: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(*crowding.people, endpoint=True)):
        if places and rng.random() < crowding.close:
            x, _, height = places[rng.integers(len(places))]
            height *= rng.uniform(0.85, 1.1)
            x += rng.choice((-1, 1)) * rng.uniform(0.08, 0.25) * height
        else:
            candidates = np.stack(
                (
                    rng.uniform(0.06, 0.94, 20) * w,
                    np.exp(rng.uniform(np.log(70), np.log(tallest), 20)),
                ),
                1,
            )
            gaps = [
                min((abs(x - p[0]) / (height + p[2]) for p in places), default=9.0)
                for x, height in candidates
            ]
            x, height = candidates[int(np.argmax(np.minimum(gaps, 0.4)))]
        places.append((float(x), camera.ground(height), float(height)))
    return sorted(places, key=lambda p: p[1])


def _draw_distant_person(stage: Stage, rng: np.random.Generator, camera: Camera) -> _Drawn | None:
    """Draw a distant person who is too small for keypoints."""
    height = rng.uniform(14, 24)
    return _draw_person(
        stage,
        rng,
        camera,
        rng.uniform(0.05, 0.95) * stage.owner.shape[1],
        camera.ground(height),
        height,
    )


def render_scene(
    rng: np.random.Generator,
    size: tuple[int, int] = (384, 288),
    crowding: Crowding | None = None,
    poses: str = 'everyday',
) -> Scene:
    """Render an image of people in front of a background.

    Args:
        rng: Random number generator.
        size: Width and height of the image, 64 to 4096 pixels each.
        crowding: Number and density of people. None: up to five people, few of whom overlap.
        poses: `'everyday'` or `'sports'`, see `sample_pose`.

    Returns:
        The image and the visible people.

    Raises:
        ValueError: If the size is out of range, or the kind of poses is unknown.
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
    distant = _draw_distant_person(stage, rng, camera) if rng.random() < _TINY_SHARE else None
    drawn: list[_Drawn] = []
    places = (
        _places(rng, camera, size) if crowding is None else _crowded(rng, camera, size, crowding)
    )
    for x, y, height in places:
        person = _draw_person(stage, rng, camera, x, y, height, poses)
        if person is not None:
            drawn.append(person)
        if rng.random() < 0.06:
            stage.add_mask(draw_occluder(stage.image, rng, x, y, height))
    return Scene(photograph(stage.image, rng), _collect(stage.owner, drawn, distant, groups))


def _collect(
    owner: np.ndarray,
    drawn: list[_Drawn],
    distant: _Drawn | None,
    groups: list[tuple[list[int], float]],
) -> list[ScenePerson]:
    """Return the annotated people of a finished image, from near to far."""
    people = []
    unlabelled = np.zeros((17, 3))
    for person in drawn[::-1]:
        joints = _joints(person.drawing, person.number, owner)
        mask = owner == person.number
        visible_fraction = np.count_nonzero(mask) / max(
            1, np.count_nonzero(person.drawing.alpha > 127)
        )
        if visible_fraction < 0.15 or not (joints[:, 2] == 2).any():
            joints = unlabelled.copy()
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
    if distant is not None:
        people.append(
            _annotated(
                owner == distant.number,
                unlabelled.copy(),
                False,
                distant.action,
                distant.yaw,
                distant.stature,
            )
        )
    for numbers, height in groups:
        people.append(_annotated(np.isin(owner, numbers), unlabelled.copy(), True, '', 0.0, height))
    return [person for person in people if person is not None]
