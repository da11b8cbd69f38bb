"""Mutations of files: of their bytes, and of the values in JSON, YAML and archives."""

import copy
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
import yaml

from pose_backbones.checkpoints import read_file

#: values in place of others; huge and special numbers, other types, other text
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    7.5,
    1e308,
    -1e308,
    5e-324,
    2**31,
    2**53 + 1,
    2**63,
    10**400,
    float('nan'),
    float('inf'),
    '',
    ' ',
    'text',
    '1',
    '\0',
    '\ud800',
    'a' * 2000,
    '../x',
    'line\nbreak',
    [],
    [[]],
    {},
    [1, 2, 3, 4],
    [0.0] * 15,
    {'counts': 'x', 'size': [4, 4]},
)
#: fragments of the formats
TOKENS = (
    *(b'NaN', b'Infinity', b'-1', b'1e999', b'null', b'true', b'"', b'\\', b'[', b']', b'{', b'}'),
    *(
        b',',
        b':',
        b'\n',
        b'\0',
        b'\xff\xfe',
        b'\xef\xbb\xbf',
        b'&a',
        b'*a',
        b'!!python/object:os.x',
    ),
    *(b'\x80\x02', b'cos\nsystem\n', b'R', b'b', b'.', b'PK\x05\x06', b'\x7f\xff\xff\xff', b'<<: '),
)


def mutate(content: bytes, kind: str, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Change a file at one to three places.

    Args:
        content: Content of the file.
        kind: See `Target`.
        rng: Source of random numbers.
        others: Other files of the same kind, from which parts are copied.

    Returns:
        The changed content.
    """
    for _ in range(rng.randint(1, 3)):
        change = _STRUCTURED.get(kind)
        if change is not None and rng.random() < 0.7:
            with suppress(Exception):  # an earlier change has broken the format
                content = change(content, rng)
                continue
        content = mutate_bytes(content, rng, others)
    return content


def mutate_bytes(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Change, insert, remove, repeat or copy bytes."""
    start = rng.randint(0, len(content))
    end = min(len(content), start + rng.choice((1, 2, 4, 8, 64, 1024)))
    choice = rng.randrange(7)
    if choice == 0:
        return content[:start] + rng.choice(TOKENS) + content[start:]
    if choice == 1:
        return content[:start] + content[end:]
    if choice == 2:
        return content[:start] + content[start:end] * rng.randint(2, 5) + content[end:]
    if choice == 3:
        return content[:start]
    if choice == 4 and others:
        other = rng.choice(others)
        place = rng.randint(0, len(other))
        return content[:start] + other[place : place + (end - start)] + content[end:]
    if choice == 5:
        return content[:start] + rng.randbytes(end - start) + content[end:]
    changed = bytearray(content)
    if start < len(changed):
        changed[start] ^= 1 << rng.randrange(8)
    return bytes(changed)


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Change a place in nested lists and dicts.

    Args:
        value: The lists and dicts, which are not modified.
        rng: Source of random numbers.
    """
    value = [copy.deepcopy(value)]  # so that the whole value can be replaced
    places = list(_places(value))
    container, key = rng.choice(places)
    choice = rng.randrange(6)
    if choice == 0:
        del container[key]
    elif choice == 1:
        other, place = rng.choice(places)
        container[key] = copy.deepcopy(other[place])
    elif choice == 2 and isinstance(container, dict):
        container[rng.choice(('id', 'x', '', 'keypoints', 'images'))] = container.pop(key)
    elif choice == 3 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif choice == 4 and isinstance(container[key], (int, float)):
        container[key] = container[key] * rng.choice((-1, 0.5, 1e9, 1e-9, 1000))
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))
    return value[0] if value else None


def _places(container: Any) -> list[tuple[Any, Any]]:
    places = []
    todo, seen = [container], set()
    while todo:
        part = todo.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part))
        for key in keys:
            places.append((part, key))
            # A value with YAML's aliases may be at billions of places.
            if isinstance(part[key], (dict, list)) and id(part[key]) not in seen:
                seen.add(id(part[key]))
                todo.append(part[key])
    return places


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """Change a value of a JSON file."""
    value = mutate_value(json.loads(content), rng)
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode(errors='surrogatepass')


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """Change, remove, repeat or exchange lines, of which each is JSON."""
    lines = content.splitlines(keepends=True)
    first, second = (rng.randrange(len(lines)) for _ in range(2))
    choice = rng.randrange(6)
    if choice == 0:
        del lines[first]
    elif choice == 1:
        lines.insert(first, lines[second])
    elif choice == 2:
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first] = mutate_json(lines[first], rng) + b'\n'
    return b''.join(lines)


def mutate_yaml(content: bytes, rng: random.Random) -> bytes:
    """Change a value of a YAML file without aliases, which can stand for billions of items."""
    if b'*' in content:
        raise ValueError('aliases')
    value = mutate_value(yaml.safe_load(content), rng)
    return yaml.safe_dump(value).encode(errors='surrogatepass')


def mutate_archive(content: bytes, rng: random.Random) -> bytes:
    """Change a member of a zip archive, with correct checksums, or its name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    # The pickle has most of the structure.
    choices = [*range(len(members)), *[0] * len(members)]
    index = rng.choice(choices)
    name, member = members[index]
    choice = rng.randrange(8)
    if choice == 0:
        del members[index]
    elif choice == 1:
        members[index] = (mutate_bytes(name.encode(), rng).decode(errors='replace') or 'x', member)
    elif choice == 2:
        members.insert(index, members[rng.choice(choices)])
    else:
        members[index] = (name, mutate_bytes(member, rng, [part for _, part in members]))
    result = io.BytesIO()
    with zipfile.ZipFile(result, 'w') as archive:
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name), member)
    return result.getvalue()


def mutate_binary(content: bytes, rng: random.Random) -> bytes:
    """Change a zip archive, or the header of a safetensors file."""
    if content.startswith(b'PK'):
        return mutate_archive(content, rng)
    size = int.from_bytes(content[:8], 'little')
    header = mutate_json(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, 'little') + header + content[8 + size :]


def mutate_checkpoint(content: bytes, rng: random.Random) -> bytes:
    """Change a value in a checkpoint, and save it again."""
    with tempfile.NamedTemporaryFile(suffix='.pth') as source:
        source.write(content)
        source.flush()
        value = mutate_value(read_file(source.name), rng)
    target = io.BytesIO()
    torch.save(value, target)
    return target.getvalue()


_STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    'json': mutate_json,
    'lines': mutate_lines,
    'yaml': mutate_yaml,
    'binary': mutate_binary,
    'checkpoint': mutate_checkpoint,
}
