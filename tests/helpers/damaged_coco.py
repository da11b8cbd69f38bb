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


def _field_faults(content, paths, values) -> Iterator[tuple[str, object]]:
    for path in paths:
        for value in (_DELETE, *values):
            shown = 'missing' if value is _DELETE else repr(value)[:12]
            yield f'{".".join(map(str, path))}: {shown}', _changed(content, path, value)


def damaged_annotations() -> Iterator[tuple[str, object]]:
    """Yield a name and the content of annotations with one fault each."""
    good = annotations()
    image, person, category = ('images', 1), ('annotations', 2), ('categories', 0)
    for value in (None, 'text', 7, {}, [1], [None]):
        for name in ('images', 'annotations', 'categories'):
            yield f'{name}: {value!r}', _changed(good, (name,), value)
    for name in ('images', 'categories'):
        yield f'{name}: missing', _changed(good, (name,), _DELETE)
    yield 'images: []', _changed(good, ('images',), [])
    text = json.dumps(good)
    for value in (
        '',
        ' ',
        '{',
        '[' * 10**5,
        text[:-1],
        text[1:],
        text * 2,
        f'{text},',
        '\0',
        'NaN',
    ):
        yield f'text: {value[:12]!r}', value
    for value in (None, 7, '"text"', [good]):
        yield f'top level: {type(value).__name__}', value
    yield from _field_faults(good, [(*image, name) for name in ('width', 'height')], (*NUMBERS, 0))
    yield from _field_faults(good, [(*image, 'id')], (None, 'x', [], {}, True, 1.5, 1, 10**400))
    yield from _field_faults(good, [(*image, 'file_name')], (None, 7, [], {}, '', ' ', 'a\0b'))
    yield from _field_faults(good, [(*person, 'id')], (None, [], {}, 101))
    yield from _field_faults(
        good, [(*person, name) for name in ('image_id', 'category_id')], (*NUMBERS, 77, '1')
    )
    yield from _field_faults(good, [(*person, 'area')], (*NUMBERS, 0))
    yield from _field_faults(
        good,
        [(*person, 'bbox')],
        (None, 7, 'text', {}, [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, None, 4], [1, 2, '3', 4]),
    )
    for value in (None, 'text', [], {}, float('nan'), float('inf'), 10**400):
        yield f'bbox number: {value!r:.12}', _changed(good, (*person, 'bbox', 2), value)
        for index in (0, 1, 2):
            name = f'keypoints[{index}]: {value!r:.12}'
            yield name, _changed(good, (*person, 'keypoints', index), value)
    for value in (-1, 3, 0.5):
        yield f'visibility {value}', _changed(good, (*person, 'keypoints', 2), value)
    for value in (7, 'text', {'a': 1}, [1], [1, 2], POINTS[:-1], [*POINTS, 1], [POINTS]):
        yield f'keypoints: {str(value)[:20]}', _changed(good, (*person, 'keypoints'), value)
    for value in ('text', [], {}, -1, 6, 0, True, 2.5, float('nan')):
        yield f'num_keypoints: {value!r}', _changed(good, (*person, 'num_keypoints'), value)
    for value in (None, 'text', [], {}, 2, -1, float('nan')):
        yield f'iscrowd: {value!r}', _changed(good, (*person, 'iscrowd'), value)
    for value in (7, 'text', [7], [[1, 2]], [[1, 2, 3, 4, 5]], [['a'] * 6], {'counts': ''}):
        yield f'segmentation: {value!r}', _changed(good, (*person, 'segmentation'), value)
    for value in (7, 'text', {'a': 1}, [7], [None], [''], ['a'] * 5, list('abc')):
        yield f'category.keypoints: {value!r}', _changed(good, (*category, 'keypoints'), value)
    for value in (7, 'text', [7], [[1]], [[0, 1]], [[1, 9]], [['a', 'b']]):
        yield f'skeleton: {value!r}', _changed(good, (*category, 'skeleton'), value)
    for value in (None, [], {}, 2):
        yield f'category.id: {value!r}', _changed(good, (*category, 'id'), value)
    for name, change in (
        ('relative coordinates', lambda entry: entry.update(keypoints=[0.1, 0.2, 2] * 5)),
        ('relative boxes', lambda entry: entry.update(bbox=[0.2, 0.3, 0.1, 0.1])),
        ('relative areas', lambda entry: entry.update(area=0.02)),
        ('huge areas', lambda entry: entry.update(area=1e6)),
        ('boxes of corners', lambda entry: entry.update(bbox=[190, 170, 260, 230])),
        ('boxes elsewhere', lambda entry: entry.update(bbox=[200.0, 150.0, 40.0, 40.0])),
        ('empty boxes', lambda entry: entry.update(bbox=[90.0, 70.0, 0, 0])),
        ('no labels', lambda entry: entry.update(keypoints=[0] * 15, num_keypoints=0)),
        ('nothing counted', lambda entry: entry.update(num_keypoints=0)),
        ('no keypoints', lambda entry: entry.pop('keypoints')),
        ('other category', lambda entry: entry.update(category_id=2)),
    ):
        yield name, _all_changed(good, 'annotations', change)
    yield (
        'exchanged sizes',
        _all_changed(good, 'images', lambda entry: entry.update(width=100, height=100)),
    )
    yield 'text ids', _all_changed(good, 'images', lambda entry: entry.update(id=str(entry['id'])))
    yield 'one file twice', _changed(good, ('images', 1, 'file_name'), '1.jpg')
    second = dict(id=2, name='dog', keypoints=['nose'])
    yield 'two skeletons', _changed(good, ('categories',), [*good['categories'], second])


def damaged_detections() -> Iterator[tuple[str, object]]:
    """Yield a name and the content of detections with one fault each."""
    yield from _damaged_lists(detections(), 'bbox')


def damaged_results() -> Iterator[tuple[str, object]]:
    """Yield a name and the content of keypoint results with one fault each."""
    good = results()
    yield from _damaged_lists(good, 'keypoints')
    yield (
        'more keypoints',
        _all_changed(good, None, lambda entry: entry.update(keypoints=[*POINTS, 1, 1, 1])),
    )


def _damaged_lists(good: list[dict], coordinates: str) -> Iterator[tuple[str, object]]:
    for value in (None, 7, 'text', {}, [7], [None], [[]]):
        yield f'top level: {value!r}', value
    yield from _field_faults(good, [(2, 'score')], NUMBERS[:4] + NUMBERS[5:7] + (10**400,))
    yield from _field_faults(good, [(2, 'image_id')], (None, [], {}, 77, 'x', 1.5))
    yield from _field_faults(good, [(2, 'category_id')], (None, [], {}))
    values = (None, 7, 'text', {}, [], [1, 2, 3, 4, 5], [[1, 2, 3, 4]])
    yield from _field_faults(good, [(2, coordinates)], values)
    for value in (None, 'text', [], float('nan'), float('inf'), 10**400):
        yield f'{coordinates}[1]: {value!r:.12}', _changed(good, (2, coordinates, 1), value)


def dumps(content: object) -> str:
    """Return JSON, with NaN and Infinity as Python's module writes them."""
    return json.dumps(content)
