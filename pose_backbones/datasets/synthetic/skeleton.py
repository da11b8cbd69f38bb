"""Articulated 3D skeletons: build, joint limits, poses and projection.

Lengths are fractions of the stature. A body frame has x to the person's
left, y up and z forward; the camera frame has x to the right, y up and z
towards the camera, so that a person with yaw 0 faces the camera and has
the left hand at the right of the picture. Angles are degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

KEYPOINT_NAMES = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear',
    'left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow',
    'left_wrist', 'right_wrist', 'left_hip', 'right_hip',
    'left_knee', 'right_knee', 'left_ankle', 'right_ankle')

SIDES = (('left', 1.0), ('right', -1.0))

#: Joint limits in degrees, by the name of the angle. Angles of paired
#: joints appear in a pose with the prefixes ``left_`` and ``right_``.
JOINT_LIMITS = {
    'spine_flex': (-25.0, 70.0), 'spine_side': (-30.0, 30.0),
    'spine_twist': (-35.0, 35.0), 'neck_yaw': (-70.0, 70.0),
    'neck_pitch': (-40.0, 45.0), 'neck_roll': (-30.0, 30.0),
    'shoulder_flex': (-50.0, 180.0), 'shoulder_abd': (-35.0, 175.0),
    'shoulder_rot': (-90.0, 90.0), 'elbow': (0.0, 150.0),
    'hip_flex': (-30.0, 125.0), 'hip_abd': (-20.0, 60.0),
    'hip_rot': (-40.0, 50.0), 'knee': (0.0, 150.0),
    'ankle': (-30.0, 50.0)}
PAIRED = ('shoulder_flex', 'shoulder_abd', 'shoulder_rot', 'elbow',
          'hip_flex', 'hip_abd', 'hip_rot', 'knee', 'ankle')

#: Bones whose length no pose changes.
BONES = tuple(
    (f'{s}_{a}', f'{s}_{b}') for s in ('left', 'right') for a, b in (
        ('shoulder', 'elbow'), ('elbow', 'wrist'), ('hip', 'knee'),
        ('knee', 'ankle'), ('ankle', 'toe'))) + (
    ('left_hip', 'right_hip'), ('neck', 'left_shoulder'),
    ('neck', 'right_shoulder'),
    ('left_eye', 'right_eye'), ('nose', 'left_ear'), ('neck', 'head'))

#: Share of each action among the people of a scene.
ACTIONS = {
    'stand': 0.30, 'walk': 0.20, 'run': 0.08, 'reach': 0.09,
    'arms_up': 0.08, 'lunge': 0.05, 'kick': 0.04, 'bend': 0.03,
    'sit': 0.06, 'crouch': 0.035, 'lie': 0.02, 'handstand': 0.015}


@dataclass(frozen=True)
class Body:
    """Proportions of one person, in fractions of the stature.

    ``masculine`` runs from 0 to 1 and moves the shape of shoulders, waist
    and hips; ``girth`` scales every thickness (1 is average).
    """

    head: float
    neck: float
    torso: float
    shoulder_half: float
    hip_half: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    foot: float
    girth: float
    masculine: float
    child: bool


@dataclass(frozen=True)
class PosedBody:
    """A posed skeleton before projection.

    ``points`` maps names to (3,) positions; the ground is y = 0.
    ``pelvis``, ``chest`` and ``head`` are (3, 3) rotations whose columns
    are the axes (left, up, forward) of these parts.
    """

    points: dict[str, np.ndarray]
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray


def _rx(a: float) -> np.ndarray:
    c, s = cos(radians(a)), sin(radians(a))
    return np.array(((1.0, 0, 0), (0, c, -s), (0, s, c)))


def _ry(a: float) -> np.ndarray:
    c, s = cos(radians(a)), sin(radians(a))
    return np.array(((c, 0, s), (0, 1.0, 0), (-s, 0, c)))


def _rz(a: float) -> np.ndarray:
    c, s = cos(radians(a)), sin(radians(a))
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def sample_body(rng: np.random.Generator) -> Body:
    """Draws the proportions of one person.

    Args:
        rng: Source of randomness.

    Returns:
        The body; about one in ten is a child's.
    """
    child = bool(rng.random() < 0.1)
    masculine = float(rng.beta(0.5, 0.5)) if not child else 0.4
    leg = rng.normal(1.0, 0.02) * (0.93 if child else 1.0)
    arm = rng.normal(1.0, 0.02) * (0.95 if child else 1.0)
    head = rng.normal(1.0, 0.03) * (1.3 if child else 1.0)
    wide = rng.normal(1.0, 0.03)
    return Body(
        head=head, neck=0.105 + 0.02 * (head - 1),
        torso=0.300 * rng.normal(1.0, 0.015),
        shoulder_half=(0.102 + 0.018 * masculine) * wide,
        hip_half=(0.060 - 0.004 * masculine) * wide,
        upper_arm=0.172 * arm, forearm=0.150 * arm, hand=0.06 * arm,
        thigh=0.245 * leg, shank=0.242 * leg, foot=0.108,
        girth=float(np.clip(rng.lognormal(0.02, 0.13), 0.82, 1.5)),
        masculine=masculine, child=child)


def limit(name: str) -> tuple[float, float]:
    """Limits of an angle of a pose.

    Args:
        name: Name of the angle, with or without ``left_``/``right_``.

    Returns:
        The least and the greatest angle in degrees.

    Raises:
        ValueError: The name is not that of a limited angle.
    """
    base = name.removeprefix('left_').removeprefix('right_')
    if base not in JOINT_LIMITS:
        raise ValueError(f'unknown joint angle {name!r}; expected one of '
                         f'{sorted(JOINT_LIMITS)}')
    return JOINT_LIMITS[base]


def _both(pose: dict, name: str, left: float, right: float) -> None:
    pose[f'left_{name}'], pose[f'right_{name}'] = left, right


def _relaxed(rng: np.random.Generator) -> dict[str, float]:
    """Relaxed standing with hanging arms."""
    n = rng.normal
    pose = {'yaw': 0.0, 'pitch': n(0, 2), 'roll': n(0, 2), 'lift': 0.0,
            'spine_flex': n(3, 4), 'spine_side': n(0, 3),
            'spine_twist': n(0, 6), 'neck_yaw': n(0, 22),
            'neck_pitch': n(4, 10), 'neck_roll': n(0, 5)}
    for side, _ in SIDES:
        pose[f'{side}_shoulder_flex'] = n(2, 9)
        pose[f'{side}_shoulder_abd'] = abs(n(9, 6))
        pose[f'{side}_shoulder_rot'] = n(15, 15)
        pose[f'{side}_elbow'] = abs(n(15, 12))
        pose[f'{side}_hip_flex'] = n(1, 4)
        pose[f'{side}_hip_abd'] = n(4, 4)
        pose[f'{side}_hip_rot'] = n(8, 8)
        pose[f'{side}_knee'] = abs(n(4, 5))
    return pose


def _arm(pose: dict, side: str, flex: float, abd: float, rot: float,
         elbow: float) -> None:
    for name, value in (('shoulder_flex', flex), ('shoulder_abd', abd),
                        ('shoulder_rot', rot), ('elbow', elbow)):
        pose[f'{side}_{name}'] = value


def _arm_gesture(rng: np.random.Generator, pose: dict, side: str) -> None:
    """Hand at the hip, at the chest, at the head, or a reaching arm."""
    n = rng.normal
    kind = rng.integers(6)
    if kind == 0:
        _arm(pose, side, n(-20, 6), n(38, 7), n(65, 10), n(95, 10))
    elif kind == 1:
        _arm(pose, side, n(25, 10), n(8, 6), n(35, 12), n(85, 15))
    elif kind == 2:
        _arm(pose, side, n(35, 12), n(15, 10), n(10, 12), n(130, 10))
    elif kind == 3:
        _arm(pose, side, n(75, 20), n(10, 12), n(0, 15), abs(n(15, 15)))
    elif kind == 4:
        _arm(pose, side, n(5, 12), n(75, 25), n(-5, 20), abs(n(25, 25)))
    else:
        _arm(pose, side, n(15, 10), n(85, 20), n(-70, 20), n(95, 25))


def _pose_upright(rng: np.random.Generator, action: str,
                  pose: dict) -> None:
    """Changes relaxed standing into one of the upright actions."""
    n = rng.normal
    side, other = ('left', 'right') if rng.random() < 0.5 else (
        'right', 'left')
    if action == 'stand':
        for s in ('left', 'right'):
            if rng.random() < 0.33:
                _arm_gesture(rng, pose, s)
        if rng.random() < 0.3:
            pose[f'{side}_knee'] = n(22, 7)
            pose[f'{side}_hip_flex'] = n(14, 5)
            pose[f'{other}_hip_abd'] = n(3, 2)
    elif action in ('walk', 'run'):
        run = action == 'run'
        t = rng.uniform(0, 2 * np.pi)
        reach = n(45, 8) if run else n(25, 5)
        swing = n(45, 8) if run else n(22, 8)
        bend = n(85, 15) if run else abs(n(22, 10))
        pose['pitch'] += n(9, 4) if run else n(2, 2)
        for s, u in (('left', sin(t)), ('right', -sin(t))):
            v = cos(t) if s == 'left' else -cos(t)
            pose[f'{s}_hip_flex'] = 8 * run + reach * u
            pose[f'{s}_knee'] = 8 + (75 if run else 45) * max(0.0, v) + (
                25 * run * max(0.0, -u))
            pose[f'{s}_shoulder_flex'] = -swing * u
            pose[f'{s}_elbow'] = bend + 8 * max(0.0, -u)
        pose['lift'] = 0.04 * run * rng.random()
    elif action == 'reach':
        _arm(pose, side, n(115, 35), n(12, 15), n(0, 20), abs(n(20, 20)))
        if rng.random() < 0.5:
            _arm_gesture(rng, pose, other)
    elif action == 'arms_up':
        for s in ('left', 'right'):
            _arm(pose, s, n(10, 15), n(140, 22), n(-20, 25),
                 abs(n(25, 25)))
        pose['lift'] = 0.12 * max(0.0, rng.random() - 0.6)
        _both(pose, 'hip_abd', n(12, 8), n(12, 8))
    elif action == 'lunge':
        pose[f'{side}_hip_flex'], pose[f'{side}_knee'] = n(65, 12), n(70, 12)
        pose[f'{other}_hip_flex'], pose[f'{other}_knee'] = n(-18, 6), n(25, 9)
        _both(pose, 'hip_abd', n(10, 8), n(10, 8))
        _arm_gesture(rng, pose, side)
        _arm_gesture(rng, pose, other)
    elif action == 'kick':
        pose[f'{side}_hip_flex'] = n(60, 18)
        pose[f'{side}_knee'] = abs(n(20, 20))
        pose[f'{side}_hip_abd'] = n(18, 12)
        for s in ('left', 'right'):
            _arm(pose, s, n(15, 20), n(45, 20), n(0, 20), abs(n(35, 20)))
    elif action == 'bend':
        pose['pitch'], pose['spine_flex'] = n(28, 8), n(35, 10)
        _both(pose, 'hip_flex', pose['pitch'] + n(3, 3),
              pose['pitch'] + n(3, 3))
        _both(pose, 'shoulder_flex', n(55, 15), n(55, 15))
        _both(pose, 'knee', abs(n(12, 8)), abs(n(12, 8)))


def _pose_other(rng: np.random.Generator, action: str, pose: dict) -> None:
    """Changes relaxed standing into a sitting, crouched, ... pose."""
    n = rng.normal
    if action == 'sit':
        pose['pitch'] = n(-4, 5)
        pose['spine_flex'] = n(8, 8)
        for s in ('left', 'right'):
            pose[f'{s}_hip_flex'] = n(84, 6)
            pose[f'{s}_knee'] = n(82, 12)
            pose[f'{s}_hip_abd'] = n(9, 6)
            _arm(pose, s, n(28, 10), n(10, 6), n(22, 12), n(55, 18))
        if rng.random() < 0.35:
            _arm_gesture(rng, pose, 'left')
    elif action == 'crouch':
        pose['pitch'], pose['spine_flex'] = n(22, 8), n(25, 10)
        for s in ('left', 'right'):
            pose[f'{s}_hip_flex'] = n(108, 8)
            pose[f'{s}_knee'] = n(122, 10)
            pose[f'{s}_hip_abd'] = n(16, 7)
            _arm(pose, s, n(58, 15), n(10, 8), n(12, 12), n(45, 25))
    elif action == 'lie':
        pose['pitch'] = -90.0 if rng.random() < 0.6 else 88.0
        for s in ('left', 'right'):
            _arm(pose, s, n(10, 15), n(45, 40), n(0, 20), abs(n(40, 35)))
            pose[f'{s}_hip_abd'] = n(9, 6)
        if pose['pitch'] < 0 and rng.random() < 0.5:
            pose['left_hip_flex'], pose['left_knee'] = n(50, 9), n(85, 12)
    else:
        pose['roll'] = 180.0 + n(0, 6)
        for s in ('left', 'right'):
            _arm(pose, s, n(172, 5), n(8, 5), n(0, 8), abs(n(4, 4)))
            pose[f'{s}_hip_flex'] = n(0, 18)
            pose[f'{s}_hip_abd'] = n(12, 10)
            pose[f'{s}_knee'] = abs(n(12, 14))


def sample_pose(rng: np.random.Generator, action: str) -> dict[str, float]:
    """Draws the joint angles of a person doing something.

    Args:
        rng: Source of randomness.
        action: A key of ``ACTIONS``.

    Returns:
        Angles in degrees by name: ``yaw``, ``pitch`` and ``roll`` of the
        body, the names of ``JOINT_LIMITS`` (all within their limits), and
        ``lift``, the height above the ground in statures.

    Raises:
        ValueError: The action is unknown.
    """
    if action not in ACTIONS:
        raise ValueError(f'unknown action {action!r}; expected one of '
                         f'{sorted(ACTIONS)}')
    pose = _relaxed(rng)
    if action in ('sit', 'crouch', 'lie', 'handstand'):
        _pose_other(rng, action, pose)
    else:
        _pose_upright(rng, action, pose)
    view = rng.random()
    if view < 0.5:
        pose['yaw'] = rng.normal(0, 28)
    elif view < 0.76:
        pose['yaw'] = rng.uniform(45, 135) * (1 if view < 0.63 else -1)
    elif view < 0.93:
        pose['yaw'] = rng.normal(180, 28)
    else:
        pose['yaw'] = rng.uniform(-180, 180)
    if action == 'lie':
        pose['yaw'] = rng.normal(90, 20) * (1 if view < 0.5 else -1)
    for s in ('left', 'right'):
        flat = pose[f'{s}_hip_flex'] - pose[f'{s}_knee'] - pose['pitch']
        loose = action in ('lie', 'handstand') or abs(flat) > 35
        pose[f'{s}_ankle'] = 20.0 if loose else flat
    for name in pose:
        if name not in ('yaw', 'pitch', 'roll', 'lift'):
            lo, hi = limit(name)
            pose[name] = float(min(max(pose[name], lo), hi))
    return pose


def _add_limbs(points: dict, body: Body, pose: dict, pelvis: np.ndarray,
               chest: np.ndarray) -> None:
    """Adds the points of the arms and legs."""
    for side, sign in SIDES:
        a = {k: pose[f'{side}_{k}'] for k in PAIRED}
        upper = (chest @ _rz(sign * a['shoulder_abd'])
                 @ _rx(-a['shoulder_flex'])
                 @ _ry(-sign * a['shoulder_rot']))
        lower = upper @ _rx(-a['elbow'])
        raised = max(0.0, a['shoulder_abd'] - 60, a['shoulder_flex'] - 70)
        up = -0.022 + 0.0003 * raised
        out = (body.shoulder_half ** 2 + 0.022 ** 2 - up ** 2) ** 0.5
        p = points['neck'] + chest @ np.array((sign * out, up, 0.0))
        points[f'{side}_shoulder'] = p
        p = p - body.upper_arm * upper[:, 1]
        points[f'{side}_elbow'] = p
        p = p - body.forearm * lower[:, 1]
        points[f'{side}_wrist'] = p
        points[f'{side}_hand'] = p - body.hand * lower[:, 1]
        thigh = (pelvis @ _rz(sign * a['hip_abd']) @ _rx(-a['hip_flex'])
                 @ _ry(sign * a['hip_rot']))
        shank = thigh @ _rx(a['knee'])
        foot = shank @ _rx(a['ankle'])
        p = points['pelvis'] + sign * body.hip_half * pelvis[:, 0]
        points[f'{side}_hip'] = p
        p = p - body.thigh * thigh[:, 1]
        points[f'{side}_knee'] = p
        p = p - body.shank * shank[:, 1]
        points[f'{side}_ankle'] = p
        points[f'{side}_heel'] = p + foot @ np.array((0, -0.03, -0.022))
        points[f'{side}_toe'] = p + foot @ np.array(
            (0, -0.034, body.foot - 0.015))


#: Positions of facial points in the frame of the head, in heads of 1.
FACE = {'nose': (0.0, -0.012, 0.066), 'left_eye': (0.019, 0.006, 0.052),
        'right_eye': (-0.019, 0.006, 0.052),
        'left_ear': (0.048, -0.002, -0.004),
        'right_ear': (-0.048, -0.002, -0.004)}


def forward_kinematics(body: Body, pose: dict[str, float]) -> PosedBody:
    """Places every joint of a body in a pose.

    Args:
        body: Proportions of the person.
        pose: Angles as from :func:`sample_pose`.

    Returns:
        The posed skeleton, its lowest point at y = ``pose['lift']``.
    """
    pelvis = _ry(pose['yaw']) @ _rx(pose['pitch']) @ _rz(pose['roll'])
    middle = pelvis @ _rx(0.5 * pose['spine_flex']) @ _rz(
        0.5 * pose['spine_side']) @ _ry(0.5 * pose['spine_twist'])
    chest = pelvis @ _rx(pose['spine_flex']) @ _rz(
        pose['spine_side']) @ _ry(pose['spine_twist'])
    head = chest @ _rx(pose['neck_pitch'] - 0.5 * pose['spine_flex']) @ _rz(
        pose['neck_roll']) @ _ry(pose['neck_yaw'])
    points = {'pelvis': np.zeros(3)}
    points['waist'] = 0.36 * body.torso * pelvis[:, 1]
    points['chest'] = points['waist'] + 0.36 * body.torso * middle[:, 1]
    points['neck'] = points['chest'] + 0.28 * body.torso * chest[:, 1]
    upward = 0.35 * chest[:, 1] + 0.65 * head[:, 1]
    upward /= np.linalg.norm(upward)
    points['head'] = points['neck'] + body.neck * upward
    for name, place in FACE.items():
        points[name] = points['head'] + head @ (np.array(place) * body.head)
    _add_limbs(points, body, pose, pelvis, chest)
    thickness = {'pelvis': 0.085, 'chest': 0.09, 'head': 0.06,
                 'left_knee': 0.04, 'right_knee': 0.04,
                 'left_hand': 0.015, 'right_hand': 0.015,
                 'left_elbow': 0.02, 'right_elbow': 0.02}
    floor = min(p[1] - thickness.get(k, 0.005) for k, p in points.items())
    shift = np.array((0.0, pose['lift'] - floor, 0.0))
    points = {k: p + shift for k, p in points.items()}
    return PosedBody(points, pelvis, chest, head)


@dataclass(frozen=True)
class Projection:
    """A posed skeleton in the picture.

    ``xy`` maps names to (2,) pixel positions, ``z`` to depths in statures
    (greater is nearer), ``scale`` to pixels per stature at that point.
    ``pelvis``, ``chest`` and ``head`` are rotations into the camera frame.
    """

    xy: dict[str, np.ndarray]
    z: dict[str, float]
    scale: dict[str, float]
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray


def project(posed: PosedBody, origin: tuple[float, float], scale: float,
            tilt: float = 5.0, distance: float = 5.0) -> Projection:
    """Projects a posed skeleton into the picture.

    Args:
        posed: The skeleton.
        origin: Pixel (x, y) of the ground below the skeleton's middle.
        scale: Pixels per stature at that point.
        tilt: Downward tilt of the camera in degrees.
        distance: Distance of the camera in statures.

    Returns:
        The positions in the picture.

    Raises:
        ValueError: The scale or the distance is out of range.
    """
    if not scale > 0 or not distance > 1.5:
        raise ValueError(f'expected scale > 0 and distance > 1.5, got '
                         f'{scale} and {distance}')
    camera = _rx(tilt)
    names = list(posed.points)
    places = np.stack([posed.points[n] for n in names])
    middle = 0.5 * (places[:, [0, 2]].min(0) + places[:, [0, 2]].max(0))
    places[:, [0, 2]] -= middle
    places = places @ camera.T
    near = scale * distance / (distance - places[:, 2])
    xy = np.stack((origin[0] + near * places[:, 0],
                   origin[1] - near * places[:, 1]), 1)
    return Projection(
        dict(zip(names, xy, strict=True)),
        dict(zip(names, places[:, 2].tolist(), strict=True)),
        dict(zip(names, near.tolist(), strict=True)),
        camera @ posed.pelvis, camera @ posed.chest, camera @ posed.head)
