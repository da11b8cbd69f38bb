"""Articulated 3D skeletons: proportions, joint limits and projection.

Lengths are fractions of the stature; angles are in degrees. In a body frame, x points to the
person's left, y up and z forward. In the camera frame, x points to the right, y up and z towards
the camera. A person with yaw 0 faces the camera and has the left hand at the right of the image.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

#: names of the 17 keypoints in COCO's order
KEYPOINT_NAMES = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)

#: sides of the body, and the sign of x on each
SIDES = (('left', 1.0), ('right', -1.0))

#: Joint limits in degrees by name of the angle. In a pose, the names of paired joints have the
#: prefix `left_` or `right_`.
JOINT_LIMITS = {
    'spine_flex': (-25.0, 70.0),
    'spine_side': (-30.0, 30.0),
    'spine_twist': (-35.0, 35.0),
    'neck_yaw': (-70.0, 70.0),
    'neck_pitch': (-40.0, 45.0),
    'neck_roll': (-30.0, 30.0),
    'shoulder_flex': (-50.0, 180.0),
    'shoulder_abd': (-35.0, 175.0),
    'shoulder_rot': (-90.0, 90.0),
    'elbow': (0.0, 150.0),
    'hip_flex': (-30.0, 125.0),
    'hip_abd': (-20.0, 60.0),
    'hip_rot': (-40.0, 50.0),
    'knee': (0.0, 150.0),
    'ankle': (-30.0, 50.0),
}
#: angles that exist on both sides of the body
_PAIRED = (
    'shoulder_flex',
    'shoulder_abd',
    'shoulder_rot',
    'elbow',
    'hip_flex',
    'hip_abd',
    'hip_rot',
    'knee',
    'ankle',
)

#: bones, whose length is the same in all poses
BONES = tuple(
    (f'{s}_{a}', f'{s}_{b}')
    for s in ('left', 'right')
    for a, b in (
        ('shoulder', 'elbow'),
        ('elbow', 'wrist'),
        ('hip', 'knee'),
        ('knee', 'ankle'),
        ('ankle', 'toe'),
    )
) + (
    ('left_hip', 'right_hip'),
    ('neck', 'left_shoulder'),
    ('neck', 'right_shoulder'),
    ('left_eye', 'right_eye'),
    ('nose', 'left_ear'),
    ('neck', 'head'),
)

#: positions of facial points in the head's frame, in units of the head size
_FACE = {
    'nose': (0.0, -0.012, 0.066),
    'left_eye': (0.019, 0.006, 0.052),
    'right_eye': (-0.019, 0.006, 0.052),
    'left_ear': (0.048, -0.002, -0.004),
    'right_ear': (-0.048, -0.002, -0.004),
}


@dataclass(frozen=True)
class Body:
    """Proportions of one person; lengths in fractions of the stature.

    Attributes:
        head: Size of the head; 1 is an average adult's.
        neck: From the base of the neck to the middle of the head.
        torso: From the hips to the base of the neck.
        shoulder_half: Half the distance between the shoulders.
        hip_half: Half the distance between the hips.
        upper_arm: From shoulder to elbow.
        forearm: From elbow to wrist.
        hand: From the wrist to the finger tips.
        thigh: From hip to knee.
        shank: From knee to ankle.
        foot: From heel to toe.
        girth: Factor of every thickness; 1 is average.
        masculine: From 0 to 1, the shape of shoulders, waist and hips.
        child: Whether this is a child.
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

    Attributes:
        points: (3,) float64 positions by name, in statures; the ground is
            y = 0.
        pelvis: (3, 3) rotation whose columns are the axes (left, up,
            forward) of the pelvis.
        chest: The same of the chest.
        head: The same of the head.
    """

    points: dict[str, np.ndarray]
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray


@dataclass(frozen=True)
class Projection:
    """A posed skeleton in the image.

    Attributes:
        xy: (2,) float64 pixel positions by name.
        z: Depths by name, in statures; greater is nearer.
        scale: Pixels per stature at each point, by name.
        pelvis: (3, 3) rotation of the pelvis into the camera frame.
        chest: The same of the chest.
        head: The same of the head.
    """

    xy: dict[str, np.ndarray]
    z: dict[str, float]
    scale: dict[str, float]
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray


def limit(name: str) -> tuple[float, float]:
    """Return the limits of a joint angle.

    Args:
        name: Name of the angle, with or without `left_`/`right_`.

    Returns:
        Minimum and maximum angle in degrees.

    Raises:
        ValueError: If the angle is unknown.
    """
    base = name.removeprefix('left_').removeprefix('right_')
    if base not in JOINT_LIMITS:
        raise ValueError(f'unknown joint angle {name!r}; expected one of {sorted(JOINT_LIMITS)}')
    return JOINT_LIMITS[base]


def sample_body(rng: np.random.Generator) -> Body:
    """Sample the proportions of one person.

    Args:
        rng: Random number generator.

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
        head=head,
        neck=0.105 + 0.02 * (head - 1),
        torso=0.300 * rng.normal(1.0, 0.015),
        shoulder_half=(0.102 + 0.018 * masculine) * wide,
        hip_half=(0.060 - 0.004 * masculine) * wide,
        upper_arm=0.172 * arm,
        forearm=0.150 * arm,
        hand=0.06 * arm,
        thigh=0.245 * leg,
        shank=0.242 * leg,
        foot=0.108,
        girth=float(np.clip(rng.lognormal(0.02, 0.13), 0.82, 1.5)),
        masculine=masculine,
        child=child,
    )


def _rx(a: float) -> np.ndarray:
    """Return the rotation matrix about x by an angle in degrees, (3, 3)."""
    c, s = cos(radians(a)), sin(radians(a))
    return np.array(((1.0, 0, 0), (0, c, -s), (0, s, c)))


def _ry(a: float) -> np.ndarray:
    """Return the rotation matrix about y by an angle in degrees, (3, 3)."""
    c, s = cos(radians(a)), sin(radians(a))
    return np.array(((c, 0, s), (0, 1.0, 0), (-s, 0, c)))


def _rz(a: float) -> np.ndarray:
    """Return the rotation matrix about z by an angle in degrees, (3, 3)."""
    c, s = cos(radians(a)), sin(radians(a))
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def _add_limbs(points: dict, body: Body, pose: dict, pelvis: np.ndarray, chest: np.ndarray) -> None:
    """Add the points of the arms and legs."""
    for side, sign in SIDES:
        a = {k: pose[f'{side}_{k}'] for k in _PAIRED}
        upper = (
            chest
            @ _rz(sign * a['shoulder_abd'])
            @ _rx(-a['shoulder_flex'])
            @ _ry(-sign * a['shoulder_rot'])
        )
        lower = upper @ _rx(-a['elbow'])
        raised = max(0.0, a['shoulder_abd'] - 60, a['shoulder_flex'] - 70)
        up = -0.022 + 0.0003 * raised
        out = (body.shoulder_half**2 + 0.022**2 - up**2) ** 0.5
        p = points['neck'] + chest @ np.array((sign * out, up, 0.0))
        points[f'{side}_shoulder'] = p
        p = p - body.upper_arm * upper[:, 1]
        points[f'{side}_elbow'] = p
        p = p - body.forearm * lower[:, 1]
        points[f'{side}_wrist'] = p
        points[f'{side}_hand'] = p - body.hand * lower[:, 1]
        thigh = pelvis @ _rz(sign * a['hip_abd']) @ _rx(-a['hip_flex']) @ _ry(sign * a['hip_rot'])
        shank = thigh @ _rx(a['knee'])
        foot = shank @ _rx(a['ankle'])
        p = points['pelvis'] + sign * body.hip_half * pelvis[:, 0]
        points[f'{side}_hip'] = p
        p = p - body.thigh * thigh[:, 1]
        points[f'{side}_knee'] = p
        p = p - body.shank * shank[:, 1]
        points[f'{side}_ankle'] = p
        points[f'{side}_heel'] = p + foot @ np.array((0, -0.03, -0.022))
        points[f'{side}_toe'] = p + foot @ np.array((0, -0.034, body.foot - 0.015))


def forward_kinematics(body: Body, pose: dict[str, float]) -> PosedBody:
    """Compute the joint positions of a body in a pose.

    Args:
        body: Proportions of the person.
        pose: Angles in degrees as from `sample_pose`.

    Returns:
        The posed skeleton, its lowest point at y = `pose['lift']`.
    """
    pelvis = _ry(pose['yaw']) @ _rx(pose['pitch']) @ _rz(pose['roll'])
    middle = (
        pelvis
        @ _rx(0.5 * pose['spine_flex'])
        @ _rz(0.5 * pose['spine_side'])
        @ _ry(0.5 * pose['spine_twist'])
    )
    chest = pelvis @ _rx(pose['spine_flex']) @ _rz(pose['spine_side']) @ _ry(pose['spine_twist'])
    head = (
        chest
        @ _rx(pose['neck_pitch'] - 0.5 * pose['spine_flex'])
        @ _rz(pose['neck_roll'])
        @ _ry(pose['neck_yaw'])
    )
    points = {'pelvis': np.zeros(3)}
    points['waist'] = 0.36 * body.torso * pelvis[:, 1]
    points['chest'] = points['waist'] + 0.36 * body.torso * middle[:, 1]
    points['neck'] = points['chest'] + 0.28 * body.torso * chest[:, 1]
    upward = 0.35 * chest[:, 1] + 0.65 * head[:, 1]
    upward /= np.linalg.norm(upward)
    points['head'] = points['neck'] + body.neck * upward
    for name, place in _FACE.items():
        points[name] = points['head'] + head @ (np.array(place) * body.head)
    _add_limbs(points, body, pose, pelvis, chest)
    thickness = {
        'pelvis': 0.085,
        'chest': 0.09,
        'head': 0.06,
        'left_knee': 0.04,
        'right_knee': 0.04,
        'left_hand': 0.015,
        'right_hand': 0.015,
        'left_elbow': 0.02,
        'right_elbow': 0.02,
    }
    floor = min(p[1] - thickness.get(k, 0.005) for k, p in points.items())
    shift = np.array((0.0, pose['lift'] - floor, 0.0))
    points = {k: p + shift for k, p in points.items()}
    return PosedBody(points, pelvis, chest, head)


def project(
    posed: PosedBody,
    origin: tuple[float, float],
    scale: float,
    tilt: float = 5.0,
    distance: float = 5.0,
) -> Projection:
    """Project a posed skeleton into the image.

    Args:
        posed: The skeleton.
        origin: Pixel (x, y) of the ground below the skeleton's middle.
        scale: Pixels per stature at that point.
        tilt: Downward tilt of the camera in degrees.
        distance: Distance of the camera in statures.

    Returns:
        The positions in the image.

    Raises:
        ValueError: If the scale or the distance is out of range.
    """
    if not scale > 0 or not distance > 1.5:
        raise ValueError(f'expected scale > 0 and distance > 1.5, got {scale} and {distance}')
    camera = _rx(tilt)
    names = list(posed.points)
    places = np.stack([posed.points[n] for n in names])
    middle = 0.5 * (places[:, [0, 2]].min(0) + places[:, [0, 2]].max(0))
    places[:, [0, 2]] -= middle
    places = places @ camera.T
    near = scale * distance / (distance - places[:, 2])
    xy = np.stack((origin[0] + near * places[:, 0], origin[1] - near * places[:, 1]), 1)
    return Projection(
        dict(zip(names, xy, strict=True)),
        dict(zip(names, places[:, 2].tolist(), strict=True)),
        dict(zip(names, near.tolist(), strict=True)),
        camera @ posed.pelvis,
        camera @ posed.chest,
        camera @ posed.head,
    )
