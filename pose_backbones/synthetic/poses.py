"""Sample poses: joint angles of people who stand, walk, run, sit and so on.

Angles are in degrees and named as in `body.JOINT_LIMITS`.
"""

from math import cos, sin

import numpy as np

from .body import SIDES, limit

#: all actions, with their relative frequencies in everyday poses
ACTIONS = {
    'stand': 0.44,
    'walk': 0.28,
    'run': 0.04,
    'reach': 0.06,
    'arms_up': 0.05,
    'lunge': 0.02,
    'kick': 0.015,
    'bend': 0.01,
    'sit': 0.045,
    'crouch': 0.02,
    'lie': 0.01,
    'handstand': 0.01,
}
#: the relative frequencies in sports, where `sit` does not occur
SPORTS_ACTIONS = {
    'stand': 0.12,
    'walk': 0.08,
    'run': 0.2,
    'reach': 0.1,
    'arms_up': 0.1,
    'lunge': 0.1,
    'kick': 0.12,
    'bend': 0.04,
    'crouch': 0.06,
    'lie': 0.02,
    'handstand': 0.06,
}
#: kind of poses → relative frequency of each action
POSES = {'everyday': ACTIONS, 'sports': SPORTS_ACTIONS}
#: fraction of the poses of sports in which the whole body is rotated
_ROTATED_SHARE = 0.35
#: entries of a pose that are not joint angles
_WHOLE_BODY = ('yaw', 'pitch', 'roll', 'lift')


def _both(pose: dict, name: str, left: float, right: float) -> None:
    """Set an angle on both sides."""
    pose[f'left_{name}'], pose[f'right_{name}'] = left, right


def _relaxed(rng: np.random.Generator) -> dict[str, float]:
    """Return a relaxed standing pose with hanging arms."""
    n = rng.normal
    pose = {
        'yaw': 0.0,
        'pitch': n(0, 2),
        'roll': n(0, 2),
        'lift': 0.0,
        'spine_flex': n(3, 4),
        'spine_side': n(0, 3),
        'spine_twist': n(0, 6),
        'neck_yaw': n(0, 14),
        'neck_pitch': n(4, 10),
        'neck_roll': n(0, 5),
    }
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


def _arm(pose: dict, side: str, flex: float, abd: float, rot: float, elbow: float) -> None:
    """Set all angles of an arm."""
    for name, value in (
        ('shoulder_flex', flex),
        ('shoulder_abd', abd),
        ('shoulder_rot', rot),
        ('elbow', elbow),
    ):
        pose[f'{side}_{name}'] = value


def _arm_gesture(rng: np.random.Generator, pose: dict, side: str) -> None:
    """Set an arm gesture: hand at the hip, chest or head, or a reaching arm."""
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


def _stand(rng: np.random.Generator, pose: dict, side: str, other: str) -> None:
    n = rng.normal
    for s in ('left', 'right'):
        if rng.random() < 0.25:
            _arm_gesture(rng, pose, s)
    if rng.random() < 0.3:
        pose[f'{side}_knee'] = n(22, 7)
        pose[f'{side}_hip_flex'] = n(14, 5)
        pose[f'{other}_hip_abd'] = n(3, 2)


def _gait(rng: np.random.Generator, pose: dict, run: bool) -> None:
    """Set the pose at one moment of a walking or running cycle."""
    n = rng.normal
    t = rng.uniform(0, 2 * np.pi)
    reach = n(45, 8) if run else n(25, 5)
    swing = n(45, 8) if run else n(22, 8)
    bend = n(85, 15) if run else abs(n(22, 10))
    pose['pitch'] += n(9, 4) if run else n(2, 2)
    for s, u in (('left', sin(t)), ('right', -sin(t))):
        v = cos(t) if s == 'left' else -cos(t)
        pose[f'{s}_hip_flex'] = 8 * run + reach * u
        pose[f'{s}_knee'] = 8 + (75 if run else 45) * max(0.0, v) + (25 * run * max(0.0, -u))
        pose[f'{s}_shoulder_flex'] = -swing * u
        pose[f'{s}_elbow'] = bend + 8 * max(0.0, -u)
    pose['lift'] = 0.04 * run * rng.random()


def _walk(rng: np.random.Generator, pose: dict, *_: str) -> None:
    _gait(rng, pose, False)


def _run(rng: np.random.Generator, pose: dict, *_: str) -> None:
    _gait(rng, pose, True)


def _reach(rng: np.random.Generator, pose: dict, side: str, other: str) -> None:
    n = rng.normal
    _arm(pose, side, n(115, 35), n(12, 15), n(0, 20), abs(n(20, 20)))
    if rng.random() < 0.5:
        _arm_gesture(rng, pose, other)


def _arms_up(rng: np.random.Generator, pose: dict, *_: str) -> None:
    n = rng.normal
    for s in ('left', 'right'):
        _arm(pose, s, n(10, 15), n(140, 22), n(-20, 25), abs(n(25, 25)))
    pose['lift'] = 0.12 * max(0.0, rng.random() - 0.6)
    _both(pose, 'hip_abd', n(12, 8), n(12, 8))


def _lunge(rng: np.random.Generator, pose: dict, side: str, other: str) -> None:
    n = rng.normal
    pose[f'{side}_hip_flex'], pose[f'{side}_knee'] = n(65, 12), n(70, 12)
    pose[f'{other}_hip_flex'], pose[f'{other}_knee'] = n(-18, 6), n(25, 9)
    _both(pose, 'hip_abd', n(10, 8), n(10, 8))
    _arm_gesture(rng, pose, side)
    _arm_gesture(rng, pose, other)


def _kick(rng: np.random.Generator, pose: dict, side: str, other: str) -> None:
    n = rng.normal
    pose[f'{side}_hip_flex'] = n(60, 18)
    pose[f'{side}_knee'] = abs(n(20, 20))
    pose[f'{side}_hip_abd'] = n(18, 12)
    for s in ('left', 'right'):
        _arm(pose, s, n(15, 20), n(45, 20), n(0, 20), abs(n(35, 20)))


def _bend(rng: np.random.Generator, pose: dict, *_: str) -> None:
    n = rng.normal
    pose['pitch'], pose['spine_flex'] = n(28, 8), n(35, 10)
    _both(pose, 'hip_flex', pose['pitch'] + n(3, 3), pose['pitch'] + n(3, 3))
    _both(pose, 'shoulder_flex', n(55, 15), n(55, 15))
    _both(pose, 'knee', abs(n(12, 8)), abs(n(12, 8)))


def _sit(rng: np.random.Generator, pose: dict) -> None:
    n = rng.normal
    pose['pitch'] = n(-4, 5)
    pose['spine_flex'] = n(8, 8)
    for s in ('left', 'right'):
        pose[f'{s}_hip_flex'] = n(84, 6)
        pose[f'{s}_knee'] = n(82, 12)
        pose[f'{s}_hip_abd'] = n(9, 6)
        _arm(pose, s, n(28, 10), n(10, 6), n(22, 12), n(55, 18))
    if rng.random() < 0.35:
        _arm_gesture(rng, pose, 'left')


def _crouch(rng: np.random.Generator, pose: dict) -> None:
    n = rng.normal
    pose['pitch'], pose['spine_flex'] = n(22, 8), n(25, 10)
    for s in ('left', 'right'):
        pose[f'{s}_hip_flex'] = n(108, 8)
        pose[f'{s}_knee'] = n(122, 10)
        pose[f'{s}_hip_abd'] = n(16, 7)
        _arm(pose, s, n(58, 15), n(10, 8), n(12, 12), n(45, 25))


def _lie(rng: np.random.Generator, pose: dict) -> None:
    n = rng.normal
    pose['pitch'] = -90.0 if rng.random() < 0.6 else 88.0
    for s in ('left', 'right'):
        _arm(pose, s, n(10, 15), n(45, 40), n(0, 20), abs(n(40, 35)))
        pose[f'{s}_hip_abd'] = n(9, 6)
    if pose['pitch'] < 0 and rng.random() < 0.5:
        pose['left_hip_flex'], pose['left_knee'] = n(50, 9), n(85, 12)


def _handstand(rng: np.random.Generator, pose: dict) -> None:
    n = rng.normal
    pose['roll'] = 180.0 + n(0, 6)
    for s in ('left', 'right'):
        _arm(pose, s, n(172, 5), n(8, 5), n(0, 8), abs(n(4, 4)))
        pose[f'{s}_hip_flex'] = n(0, 18)
        pose[f'{s}_hip_abd'] = n(12, 10)
        pose[f'{s}_knee'] = abs(n(12, 14))


#: functions that change the relaxed standing pose into an action with a leading side
_UPRIGHT = {
    'stand': _stand,
    'walk': _walk,
    'run': _run,
    'reach': _reach,
    'arms_up': _arms_up,
    'lunge': _lunge,
    'kick': _kick,
    'bend': _bend,
}
_OTHER = {'sit': _sit, 'crouch': _crouch, 'lie': _lie, 'handstand': _handstand}


def _turn(rng: np.random.Generator, pose: dict, action: str) -> None:
    """Sample the direction that the person faces."""
    view = rng.random()
    if view < 0.88:
        pose['yaw'] = rng.normal(0, 22)
    elif view < 0.95:
        pose['yaw'] = rng.uniform(45, 135) * (1 if view < 0.915 else -1)
    elif view < 0.985:
        pose['yaw'] = rng.normal(180, 25)
    else:
        pose['yaw'] = rng.uniform(-180, 180)
    if action == 'lie':
        pose['yaw'] = rng.normal(90, 20) * (1 if view < 0.5 else -1)


def _vary(rng: np.random.Generator, pose: dict) -> None:
    """Vary a pose for sports: all joint angles, any direction, and often the whole body."""
    spread = rng.uniform(0, 30)
    for name in pose:
        if name not in _WHOLE_BODY:
            pose[name] += rng.normal(0, spread)
    pose['yaw'] = rng.uniform(-180, 180)
    if rng.random() < _ROTATED_SHARE:
        pose['pitch'] += rng.normal(0, 60)
        pose['roll'] += rng.normal(0, 60)
        pose['lift'] += rng.uniform(0, 0.4)


def _check_kind(poses: str) -> None:
    if poses not in POSES:
        raise ValueError(f'unknown poses {poses!r}; expected one of {sorted(POSES)}')


def sample_action(rng: np.random.Generator, poses: str = 'everyday') -> str:
    """Sample an action.

    Args:
        rng: Random number generator.
        poses: A key of `POSES`.

    Returns:
        A key of `ACTIONS`.

    Raises:
        ValueError: If the kind of poses is unknown.
    """
    _check_kind(poses)
    shares = np.array(list(POSES[poses].values()))
    return str(rng.choice(tuple(POSES[poses]), p=shares / shares.sum()))


def sample_pose(rng: np.random.Generator, action: str, poses: str = 'everyday') -> dict[str, float]:
    """Sample the joint angles of a person performing an action.

    Args:
        rng: Random number generator.
        action: A key of `ACTIONS`.
        poses: `'everyday'`: most people are upright and face the camera. `'sports'`: all joint
            angles vary more, people face any direction, and about a third of them are not upright.

    Returns:
        Angles in degrees by name: `yaw`, `pitch` and `roll` of the
        body, the names of `JOINT_LIMITS` (all within their limits), and
        `lift`, the height above the ground in statures.

    Raises:
        ValueError: If the action or the kind of poses is unknown.
    """
    if action not in ACTIONS:
        raise ValueError(f'unknown action {action!r}; expected one of {sorted(ACTIONS)}')
    _check_kind(poses)
    pose = _relaxed(rng)
    if action in _UPRIGHT:
        sides = ('left', 'right') if rng.random() < 0.5 else ('right', 'left')
        _UPRIGHT[action](rng, pose, *sides)
    else:
        _OTHER[action](rng, pose)
    if poses == 'sports':
        _vary(rng, pose)
    else:
        _turn(rng, pose, action)
    for s in ('left', 'right'):
        flat = pose[f'{s}_hip_flex'] - pose[f'{s}_knee'] - pose['pitch']
        loose = action in ('lie', 'handstand') or abs(flat) > 35
        pose[f'{s}_ankle'] = 20.0 if loose else flat
    for name in pose:
        if name not in _WHOLE_BODY:
            lo, hi = limit(name)
            pose[name] = float(min(max(pose[name], lo), hi))
    return pose
