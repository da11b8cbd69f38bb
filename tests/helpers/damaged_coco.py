"""COCO files with one fault each: annotations, detections and keypoint results."""

import copy
import json
from collections.abc import Iterator

#: values of a type or size that no number in a file should have
NUMBERS = (None, 'text', [], {}, True, float('nan'), float('inf'), -1, 10**400)
_DELETE = object()
POINTS = [value for n in range(5) for value in (100.0 + 8 * n, 80.0 + 6 * n, 2)]


def annotations(people: int = 6) -> dict:
    """Return valid annotations of people with five keypoints, one in each image."""
    return dict(
        images=[
            dict(id=n, file_name=f'{n}.jpg', width=320, height=240) for n in range(1, people + 1)
        ],
        categories=[dict(id=1, name='person', keypoints=list('abcde'), skeleton=[[1, 2], [2, 3]])],
        annotations=[
            dict(
                id=100 + n,
                image_id=n,
                category_id=1,
                iscrowd=0,
                bbox=[90.0, 70.0, 60.0, 50.0],
                area=1590.0,
                num_keypoints=5,
                keypoints=list(POINTS),
                segmentation=[[90, 70, 150, 70, 150, 120]],
            )
            for n in range(1, people + 1)
        ],
    )


def detections() -> list[dict]:
    """Return valid detections in the images of the annotations."""
    return [
        dict(image_id=n, category_id=1, bbox=[90.0, 70.0, 60.0, 50.0], score=0.5)
        for n in range(1, 7)
    ]


def results() -> list[dict]:
    """Return valid keypoint results in the images of the annotations."""
    return [dict(image_id=n, category_id=1, keypoints=list(POINTS), score=0.5) for n in range(1, 7)]


def _changed(content, path: tuple, value) -> object:
    content = copy.deepcopy(content)
    target = content
    for key in path[:-1]:
        target = target[key]
    if value is _DELETE:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return content


def _all_changed(content, name: str | None, change) -> object:
    content = copy.deepcopy(content)
    for entry in content if name is None else content[name]:
        change(entry)
    return content


def _valued(name: str, value: object) -> str:
    """Return the name of a fault: a field with a value."""
    if value is _DELETE:
        return f'{name} is missing'
    text = repr(value)
    return f'{name} is {text if len(text) <= 40 else f"{text[:12]}… ({len(text)} characters)"}'


def _field_faults(content, entry: str, path: tuple, fields, values) -> Iterator[tuple[str, object]]:
    """Yield the content with each of the values in each of the fields of an entry.

    Args:
        content: Valid content.
        entry: Name of the entry, such as `'image'`.
        path: Keys and indices that lead to it.
        fields: Names of fields.
        values: Values; in addition, each field is removed.
    """
    for field in fields:
        for value in (_DELETE, *values):
            yield _valued(f'{field} of an {entry}', value), _changed(content, (*path, field), value)


def damaged_annotations() -> Iterator[tuple[str, object]]:
    """Yield a name and the content of annotations with one fault each."""
    good = annotations()
    image, person, category = ('images', 1), ('annotations', 2), ('categories', 0)
    for value in (None, 'text', 7, {}, [1], [None]):
        for name in ('images', 'annotations', 'categories'):
            yield _valued(f'list of {name}', value), _changed(good, (name,), value)
    for name in ('images', 'categories'):
        yield _valued(f'list of {name}', _DELETE), _changed(good, (name,), _DELETE)
    yield 'list of images is empty', _changed(good, ('images',), [])
    text = json.dumps(good)
    for name, value in (
        ('empty file', ''),
        ('only a space', ' '),
        ('only an opening brace', '{'),
        ('100,000 opening brackets', '[' * 10**5),
        ('last character is missing', text[:-1]),
        ('first character is missing', text[1:]),
        ('content twice', text * 2),
        ('comma after the content', f'{text},'),
        ('only a null character', '\0'),
        ('only NaN', 'NaN'),
    ):
        yield name, value
    for name, value in (
        ('null', None),
        ('a number', 7),
        ('text', '"text"'),
        ('a list with an object', [good]),
    ):
        yield f'top level is {name}', value
    yield from _field_faults(good, 'image', image, ('width', 'height'), (*NUMBERS, 0))
    yield from _field_faults(good, 'image', image, ('id',), (None, 'x', [], {}, True, 1.5, 10**400))
    yield 'id of two images is the same', _changed(good, (*image, 'id'), 1)
    yield from _field_faults(
        good, 'image', image, ('file_name',), (None, 7, [], {}, '', ' ', 'a\0b')
    )
    yield from _field_faults(good, 'annotation', person, ('id',), (None, [], {}))
    yield 'id of two annotations is the same', _changed(good, (*person, 'id'), 101)
    yield from _field_faults(
        good, 'annotation', person, ('image_id', 'category_id'), (*NUMBERS, 77, '1')
    )
    yield from _field_faults(good, 'annotation', person, ('area',), (*NUMBERS, 0))
    yield from _field_faults(
        good,
        'annotation',
        person,
        ('bbox',),
        (None, 7, 'text', {}, [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, None, 4], [1, 2, '3', 4]),
    )
    for value in (None, 'text', [], {}, float('nan'), float('inf'), 10**400):
        yield _valued('width of a bbox', value), _changed(good, (*person, 'bbox', 2), value)
        for index, name in enumerate(('x', 'y', 'visibility')):
            yield (
                _valued(f'{name} of a keypoint', value),
                _changed(good, (*person, 'keypoints', index), value),
            )
    for value in (-1, 3, 0.5):
        yield (
            _valued('visibility of a keypoint', value),
            _changed(good, (*person, 'keypoints', 2), value),
        )
    for value in (7, 'text', {'a': 1}, [1], [1, 2]):
        yield (
            _valued('keypoints of an annotation', value),
            _changed(good, (*person, 'keypoints'), value),
        )
    for name, value in (
        ('one number too few', POINTS[:-1]),
        ('one number too many', [*POINTS, 1]),
        ('a list in a list', [POINTS]),
    ):
        yield (
            f'keypoints of an annotation are {name}',
            _changed(good, (*person, 'keypoints'), value),
        )
    for field, values in (
        ('num_keypoints', ('text', [], {}, -1, 6, 0, True, 2.5, float('nan'))),
        ('iscrowd', (None, 'text', [], {}, 2, -1, float('nan'))),
        (
            'segmentation',
            (
                *(7, 'text', [7], [[1, 2]], [[1, 2, 3, 4, 5]], [['a'] * 6], {'counts': ''}),
                dict(size=[10**5, 10**5], counts=[10**10]),
                dict(size=[320, 240], counts=[76800]),
            ),
        ),
    ):
        for value in values:
            yield (
                _valued(f'{field} of an annotation', value),
                _changed(good, (*person, field), value),
            )
    for field, values in (
        ('keypoints', (7, 'text', {'a': 1}, [7], [None], [''], ['a'] * 5, list('abc'))),
        ('skeleton', (7, 'text', [7], [[1]], [[0, 1]], [[1, 9]], [['a', 'b']])),
        ('id', (None, [], {}, 2)),
    ):
        for value in values:
            yield (
                _valued(f'{field} of the category', value),
                _changed(good, (*category, field), value),
            )
    for name, change in (
        (
            'coordinates of keypoints are from 0 to 1',
            lambda entry: entry.update(keypoints=[0.1, 0.2, 2] * 5),
        ),
        ('bounding boxes are from 0 to 1', lambda entry: entry.update(bbox=[0.2, 0.3, 0.1, 0.1])),
        ('areas are relative to the image', lambda entry: entry.update(area=0.02)),
        ('areas are larger than the image', lambda entry: entry.update(area=1e6)),
        (
            'bounding boxes are x1, y1, x2, y2',
            lambda entry: entry.update(bbox=[190, 170, 260, 230]),
        ),
        (
            'bounding boxes do not contain the keypoints',
            lambda entry: entry.update(bbox=[200.0, 150.0, 40.0, 40.0]),
        ),
        (
            'bounding boxes have no width and height',
            lambda entry: entry.update(bbox=[90.0, 70.0, 0, 0]),
        ),
        (
            'no keypoint is labelled',
            lambda entry: entry.update(keypoints=[0] * 15, num_keypoints=0),
        ),
        ('num_keypoints of all annotations is 0', lambda entry: entry.update(num_keypoints=0)),
        ('no annotation has keypoints', lambda entry: entry.pop('keypoints')),
        (
            'category_id of all annotations is that of no category',
            lambda entry: entry.update(category_id=2),
        ),
    ):
        yield name, _all_changed(good, 'annotations', change)
    for name, value in (('at (0, 0)', (0, 0, 2)), ('far outside of the image', (1e8, 80.0, 2))):
        yield (
            f'a labelled keypoint is {name}',
            _changed(good, (*person, 'keypoints'), [*value, *POINTS[3:]]),
        )
    repeated = [{**entry, 'id': 10 * entry['id']} for entry in good['annotations']]
    yield (
        'annotations are in the file twice',
        _changed(good, ('annotations',), [*good['annotations'], *repeated]),
    )
    yield (
        'sizes of all images are wrong',
        _all_changed(good, 'images', lambda entry: entry.update(width=100, height=100)),
    )
    yield (
        'ids of images are text',
        _all_changed(good, 'images', lambda entry: entry.update(id=str(entry['id']))),
    )
    yield 'file_name of two images is the same', _changed(good, ('images', 1, 'file_name'), '1.jpg')
    second = dict(id=2, name='dog', keypoints=['nose'])
    yield (
        'categories have different keypoints',
        _changed(good, ('categories',), [*good['categories'], second]),
    )


def damaged_detections() -> Iterator[tuple[str, object]]:
    """Yield a name and the content of detections with one fault each."""
    good = detections()
    yield from _damaged_lists(good, 'bbox')
    yield (
        'all scores are 0',
        [
            {**entry, 'score': 0, 'bbox': [90.0, 70.0, 60.0 + n, 50.0]}
            for entry in good
            for n in range(4)
        ],
    )


def damaged_results() -> Iterator[tuple[str, object]]:
    """Yield a name and the content of keypoint results with one fault each."""
    good = results()
    yield from _damaged_lists(good, 'keypoints')
    yield 'results are in the file twice', [*good, *good]
    yield 'two of six images have results', good[:2]
    yield (
        'all scores are 0',
        [
            {**entry, 'score': 0, 'keypoints': [100.0 + n, *POINTS[1:]]}
            for entry in good
            for n in range(4)
        ],
    )
    yield 'category_id of an entry is 77', _changed(good, (2, 'category_id'), 77)
    yield (
        'one keypoint too many',
        _all_changed(good, None, lambda entry: entry.update(keypoints=[*POINTS, 1, 1, 1])),
    )


def _damaged_lists(good: list[dict], coordinates: str) -> Iterator[tuple[str, object]]:
    for value in (None, 7, 'text', {}, [7], [None], [[]]):
        yield _valued('top level', value), value
    for field, values in (
        ('score', NUMBERS[:4] + NUMBERS[5:7] + (10**400,)),
        ('image_id', (None, [], {}, 77, 'x', 1.5)),
        ('category_id', (None, [], {})),
        (coordinates, (None, 7, 'text', {}, [], [1, 2, 3, 4, 5], [[1, 2, 3, 4]])),
    ):
        yield from _field_faults(good, 'entry', (2,), (field,), values)
    for value in (None, 'text', [], float('nan'), float('inf'), 10**400):
        yield (
            _valued(f'second number of {coordinates}', value),
            _changed(good, (2, coordinates, 1), value),
        )


def dumps(content: object) -> str:
    """Return JSON, with NaN and Infinity as Python's module writes them."""
    return json.dumps(content)
