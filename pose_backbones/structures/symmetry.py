"""Left/right symmetry of keypoints, found from their names."""

import re
from collections.abc import Sequence

#: side → colour (red, green, blue)
SIDE_COLOURS = {'left': (255, 150, 60), 'right': (40, 160, 240), 'middle': (110, 220, 110)}
_OTHER = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
#: sides that are joined to the rest of the name: lefteye, eyeright; lsho, Rshoulder
_JOINED = ('^(left|right)|(left|right)$', '^([lrLR])(?=[a-z]{3})')


def _words(name: str) -> list[str]:
    """Split a name into words: `'leftHand_1'` → `['left', 'Hand', '_', '1']`."""
    return re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z]+', name)


def _turn(word: str) -> str:
    """Exchange left and right, keeping the case; other words stay as they are."""
    other = _OTHER.get(word.lower(), word)
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[:1].isupper() else other


def mirrored_name(name: str) -> str:
    """Exchange the words for left and right in a name."""
    return ''.join(map(_turn, _words(name)))


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
        guesses += [re.sub(pattern, lambda found: _turn(found[0]), name) for pattern in _JOINED]
        found = [other for other in guesses if other != name and other in names]
        if found:
            pairs[name] = found[0]
    return {name: other for name, other in pairs.items() if pairs.get(other) == name}


def flip_indices(names: Sequence[str]) -> list[int]:
    """Get the indices that exchange left and right, as MMPose's `flip_indices`.

    Args:
        names: Names of the keypoints, see `find_pairs`.

    Returns:
        For each keypoint the index of its partner, or its own index if it has none.
    """
    pairs = find_pairs(names)
    return [names.index(pairs.get(name, name)) for name in names]


def find_sides(names: Sequence[str]) -> tuple[str, ...]:
    """Find the side of the object that each keypoint is on.

    Args:
        names: Names of the keypoints, see `find_pairs`.

    Returns:
        `'left'`, `'right'` or `'middle'` for each keypoint.
    """
    pairs, sides = find_pairs(names), []
    for name in names:
        words = [word.lower() for word in _words(name)]
        mark = next((word[0] for word in words if word in _OTHER), '')
        if name in pairs:  # the first letter that differs is the l or r
            mark = next(a for a, b in zip(name, pairs[name]) if a != b)
        sides.append({'l': 'left', 'r': 'right'}.get(mark.lower(), 'middle'))
    return tuple(sides)


def limb_side(*sides: str) -> str:
    """Get the side of a limb from the sides of its two keypoints."""
    found = set(sides) - {'middle'}
    return found.pop() if len(found) == 1 else 'middle'


def without_side(name: str, paired: bool) -> str:
    """Remove the side from a name: `'Left_Eye'` → `'eye'`.

    Args:
        name: Name of a keypoint.
        paired: Whether it has a partner, so that a leading l or r means a side.

    Returns:
        The rest of the name, in lower case.
    """
    words = [word.lower() for word in _words(name) if word.isalpha()]
    rest = '_'.join(word for word in words if word not in _OTHER)
    for pattern in _JOINED[: 1 + paired]:
        rest = re.sub(pattern, '', rest)
    return rest
