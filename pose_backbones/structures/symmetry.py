"""Left/right symmetry of keypoints, derived from their names."""

import re
from collections.abc import Sequence

#: side → colour (red, green, blue)
SIDE_COLOURS = {'left': (255, 150, 60), 'right': (40, 160, 240), 'middle': (110, 220, 110)}
#: 左 is left, 右 is right
_CHINESE = str.maketrans('左右', '右左')
_SIDES = {'l': 'left', '左': 'left', 'r': 'right', '右': 'right'}
_OPPOSITE = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
#: patterns of sides without a separator: lefteye, eyeright; lsho, Rshoulder
_JOINED = ('^(left|right)|(left|right)$', '^([lrLR])(?=[a-z]{3})')


def _words(name: str) -> list[str]:
    """Split a name into words: `'leftHand_1'` → `['left', 'Hand', '_', '1']`."""
    return re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z]+', name)


def _swap_side(word: str) -> str:
    """Exchange left and right and keep the case; return other words unchanged."""
    swapped = _OPPOSITE.get(word.lower(), word)
    if word.isupper():
        return swapped.upper()
    return swapped.capitalize() if word[:1].isupper() else swapped


def mirrored_name(name: str) -> str:
    """Exchange the words for left and right in a name."""
    return ''.join(map(_swap_side, _words(name)))


def find_pairs(names: Sequence[str]) -> dict[str, str]:
    """Find the pairs of keypoints that a horizontal flip exchanges.

    Args:
        names: Names of the keypoints, such as `left_eye`, `L_eye`, `eyeLeft`, `lefteye` or `leye`.

    Returns:
        Name → name of the partner, in both directions, for keypoints that have one.
    """
    pairs = {}
    for name in names:
        guesses = [mirrored_name(name)]
        guesses += [
            re.sub(pattern, lambda match: _swap_side(match[0]), name) for pattern in _JOINED
        ]
        guesses.append(name.translate(_CHINESE))
        partners = [guess for guess in guesses if guess != name and guess in names]
        if partners:
            pairs[name] = partners[0]
    return {name: partner for name, partner in pairs.items() if pairs.get(partner) == name}


def flip_indices(names: Sequence[str]) -> list[int]:
    """Return the indices that exchange left and right, as MMPose's `flip_indices`.

    Args:
        names: Names of the keypoints, see `find_pairs`.

    Returns:
        For each keypoint the index of its partner, or its own index if it has none.
    """
    pairs = find_pairs(names)
    return [names.index(pairs.get(name, name)) for name in names]


def find_sides(names: Sequence[str]) -> tuple[str, ...]:
    """Return the side of the body for each keypoint.

    Args:
        names: Names of the keypoints, see `find_pairs`.

    Returns:
        `'left'`, `'right'` or `'middle'` for each keypoint.
    """
    pairs, sides = find_pairs(names), []
    for name in names:
        words = [word.lower() for word in _words(name)]
        letter = next((word[0] for word in words if word in _OPPOSITE), '')
        if name in pairs:  # the first letter that differs is the l or r
            letter = next(a for a, b in zip(name, pairs[name]) if a != b)
        sides.append(_SIDES.get(letter.lower(), 'middle'))
    return tuple(sides)


def limb_side(*sides: str) -> str:
    """Return the side of a limb, given the sides of its two keypoints."""
    lateral = set(sides) - {'middle'}
    return lateral.pop() if len(lateral) == 1 else 'middle'


def without_side(name: str, paired: bool) -> str:
    """Remove the side from a name: `'Left_Eye'` → `'eye'`.

    Args:
        name: Name of a keypoint.
        paired: Whether it has a partner, so that a leading l or r means a side.

    Returns:
        The rest of the name, in lower case.
    """
    words = [word.lower() for word in _words(name) if word.isalpha()]
    rest = '_'.join(word for word in words if word not in _OPPOSITE)
    for pattern in _JOINED[: 1 + paired]:
        rest = re.sub(pattern, '', rest)
    return rest
