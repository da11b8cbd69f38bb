"""Left and right, told from the names of key points."""

import re
from collections.abc import Sequence

#: side → colour as (red, green, blue)
SIDE_COLOURS = {'left': (255, 150, 60), 'right': (40, 160, 240), 'middle': (110, 220, 110)}
_OTHER = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
#: sides written together with the rest: lefteye, eyeright; lsho, Rshoulder
_JOINED = ('^(left|right)|(left|right)$', '^([lrLR])(?=[a-z]{3})')


def _words(name: str) -> list[str]:
    """`'leftHand_1'` → `['left', 'Hand', '_', '1']`; joined, the name."""
    return re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z]+', name)


def _turn(word: str) -> str:
    """Left for right and the reverse, in the same case; others stay."""
    other = _OTHER.get(word.lower(), word)
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[:1].isupper() else other


def mirrored_name(name: str) -> str:
    """The name with its words for left and right exchanged."""
    return ''.join(map(_turn, _words(name)))


def find_pairs(names: Sequence[str]) -> dict[str, str]:
    """Which key points a mirror exchanges.

    Args:
        names: Of the key points: `left_eye`, `L_eye`, `eyeLeft`, `lefteye`,
            `leye`, …

    Returns:
        Name → its partner, for those that have one; both ways.
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
    """Get the index of the keypoint that takes the place of each one in a mirror image.

    Args:
        names: As of `find_pairs`.

    Returns:
        Indices into `names`; of a keypoint without a partner, its own.
    """
    pairs = find_pairs(names)
    return [names.index(pairs.get(name, name)) for name in names]


def find_sides(names: Sequence[str]) -> tuple[str, ...]:
    """On which side of the object the key points are.

    Args:
        names: As of `find_pairs`.

    Returns:
        `'left'`, `'right'` or `'middle'` for each.
    """
    pairs, sides = find_pairs(names), []
    for name in names:
        words = [word.lower() for word in _words(name)]
        mark = next((word[0] for word in words if word in _OTHER), '')
        if name in pairs:  # what differs first is the l or r
            mark = next(a for a, b in zip(name, pairs[name]) if a != b)
        sides.append({'l': 'left', 'r': 'right'}.get(mark.lower(), 'middle'))
    return tuple(sides)


def limb_side(*sides: str) -> str:
    """The side of a limb, by those of its ends."""
    found = set(sides) - {'middle'}
    return found.pop() if len(found) == 1 else 'middle'


def without_side(name: str, paired: bool) -> str:
    """The rest of a name, in lower case: `'Left_Eye'` → `'eye'`.

    Args:
        name: Of a key point.
        paired: Whether it has a partner, so that a first l or r is a side.
    """
    words = [word.lower() for word in _words(name) if word.isalpha()]
    rest = '_'.join(word for word in words if word not in _OTHER)
    for pattern in _JOINED[: 1 + paired]:
        rest = re.sub(pattern, '', rest)
    return rest
