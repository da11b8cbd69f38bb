"""COCO structures: reading and writing, the checker, boxes of results, dataset descriptions."""

import copy
import json
import random
import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose_backbones.errors import DatasetError
from pose_backbones.evaluation.submission import MOST_PEOPLE, best_people
from pose_backbones.inference.box_file import BoxFile
from pose_backbones.inference.pose_result import PoseResult
from pose_backbones.structures.coco import CocoFile
from pose_backbones.structures.coco_checker import check_annotations
from pose_backbones.structures.coco_keypoints import read_keypoint_file
from pose_backbones.structures.metainfo import default_sigmas, read_metainfo, write_metainfo
from pose_backbones.structures.symmetry import flip_indices
from pose_backbones.visualization.skeleton import Skeleton
from tests.helpers import damaged_coco
from tests.properties.strategies import boxes, points, seeds

#: any text that JSON can contain, with characters that end a line or are half of a character
texts = st.one_of(
    st.text(string.ascii_letters + '_ 12', min_size=1, max_size=8),
    st.text(min_size=1, max_size=5),
    st.sampled_from(['left\neye', 'a\r', '#', "'''", '\\', '\ud800', '\u2028', '"', '{}', '%s']),
).filter(lambda text: text.strip())
keypoint_names = st.lists(texts, min_size=1, max_size=8, unique=True)


@st.composite
def annotations(draw) -> dict:
    """Draw valid annotations of a few images, with IDs and names of any kind."""
    names = draw(keypoint_names)
    count = len(names)
    width, height = draw(st.integers(20, 90)), draw(st.integers(20, 90))
    ids = draw(st.lists(st.integers(0, 2**53), min_size=1, max_size=4, unique=True))
    category = draw(st.integers(0, 99))
    pairs = st.tuples(st.integers(1, count), st.integers(1, count)).map(list)
    numbers = draw(st.lists(st.integers(0, 2**53), min_size=1, max_size=6, unique=True))
    people = []
    for number in numbers:
        where = draw(points(count, (2, 2), (width - 1, height - 1)))
        visible = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
        visible[draw(st.integers(0, count - 1))] = 2
        flat = [
            value
            for (x, y), v in zip(where.tolist(), visible)
            for value in ((x, y, v) if v else (0, 0, 0))
        ]
        people.append(
            dict(
                id=number,
                image_id=draw(st.sampled_from(ids)),
                category_id=category,
                iscrowd=0,
                bbox=[0.5, 0.5, width - 1.0, height - 1.0],
                area=draw(st.floats(0.1, 1)) * (width - 1) * (height - 1),
                num_keypoints=sum(v > 0 for v in visible),
                keypoints=flat,
            )
        )
    return dict(
        images=[
            dict(id=number, file_name=f'{number}.jpg', width=width, height=height) for number in ids
        ],
        categories=[
            dict(
                id=category,
                name=draw(texts),
                keypoints=names,
                skeleton=draw(st.lists(pairs, max_size=4)),
            )
        ],
        annotations=people,
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('coco')


def write(folder, content) -> str:
    """Write a file with the content, or with the text if it is no JSON."""
    path = folder / 'file.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@given(content=annotations(), floats=st.booleans())
def test_written_annotations_are_read(folder, content, floats):
    """Values are unchanged; IDs such as 7.0 are integers."""
    written = copy.deepcopy(content)
    for entry in written['annotations'] if floats else ():
        entry['id'], entry['image_id'] = float(entry['id']), float(entry['image_id'])
    file = read_keypoint_file(write(folder, written))
    assert file.names == tuple(content['categories'][0]['keypoints'])
    assert list(file.objects) == content['annotations']
    assert all(type(entry['image_id']) is int for entry in file.objects)
    assert file.images == {entry['id']: entry for entry in content['images']}
    limbs = content['categories'][0]['skeleton']
    assert [[a + 1, b + 1] for a, b in file.skeleton] == limbs
    assert CocoFile(write(folder, content)).content == content


@given(content=annotations(), name=texts)
def test_written_description_is_read_by_mmpose(folder, content, name):
    """`make_dataset_info` writes Python code, with names of keypoints from a file of the user."""
    source = read_keypoint_file(write(folder, content))
    sigmas = default_sigmas(source.names)
    out = folder / 'description.py'
    write_metainfo(str(out), name, source, sigmas)
    metainfo = read_metainfo(out)
    assert metainfo['dataset_name'] == name
    count = len(source.names)
    assert tuple(metainfo['keypoint_id2name'][k] for k in range(count)) == source.names
    assert metainfo['num_keypoints'] == count
    assert list(metainfo['flip_indices']) == flip_indices(source.names)
    np.testing.assert_allclose(
        metainfo['sigmas'], [sigmas[point].value for point in source.names], rtol=1e-6
    )
    assert [tuple(link) for link in metainfo['skeleton_links']] == list(source.skeleton)


@given(seed=seeds, damaged=st.sampled_from(list(damaged_coco.damaged_annotations())))
def test_findings_do_not_depend_on_the_order(folder, seed, damaged):
    """The checker finds the same number of faults of each kind in any order of the entries."""
    _, content = damaged
    other = copy.deepcopy(content)
    rng = random.Random(seed)
    for entries in other.values() if isinstance(other, dict) else ():
        if isinstance(entries, list):
            rng.shuffle(entries)
    first, second = (findings_of(folder, value) for value in (content, other))
    assert first == second


def findings_of(folder, content) -> Counter | str:
    """Return the number of findings of each kind, or the message of the error without numbers."""
    try:
        findings = check_annotations(CocoFile(write(folder, content)))
    except DatasetError as error:
        return re.sub(r'\d+', '', str(error))
    counts = Counter()
    for finding in findings:
        counts[finding.kind, finding.is_error] += finding.count
    return counts


@st.composite
def results_of_image(draw) -> PoseResult:
    """Draw a result of an image of 90 x 70 pixels with 3 keypoints."""
    corners = [draw(boxes(90, 70)) for _ in range(draw(st.integers(0, 3)))]
    corners = np.array(corners, np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    shape = len(corners), 3
    return PoseResult(
        keypoints=np.array([draw(points(3, (-50, -50), (150, 150))) for _ in corners]).reshape(
            *shape, 2
        ),
        scores=np.array([draw(st.floats(0, 1, width=32)) for _ in range(np.prod(shape))]).reshape(
            shape
        ),
        boxes=corners,
        box_scores=np.array([draw(st.floats(0, 1, width=32)) for _ in corners]),
        skeleton=Skeleton(('a', 'b', 'c'), ()),
        size=(90, 70),
        name='7.png',
        index=0,
        image_id=draw(st.integers(1, 2**40)),
    )


@given(result=results_of_image())
def test_boxes_of_results_are_read(folder, result):
    """`--boxes` reads them; the tolerance is that of a sum in float32."""
    written = result.to_coco()
    if not written:
        return
    assert all(np.isfinite(entry['score']) for entry in written)
    file = BoxFile(write(folder, written))
    read = file.boxes(file.find('7.png', result.image_id, False), 90, 70)
    tolerance = 1e-6 * np.abs(result.boxes).max()
    np.testing.assert_allclose(read[:, :4], result.boxes, rtol=1e-6, atol=tolerance)
    scores = [entry['score'] for entry in written]
    np.testing.assert_allclose(read[:, 4], scores, rtol=1e-6, atol=1e-44)  # the least of float32


@given(
    images=st.integers(0, 70).flatmap(
        lambda count: st.lists(st.integers(1, 2), min_size=count, max_size=count)
    ),
    data=st.data(),
)
def test_best_people_are_kept_in_order(images, data):
    """At most 20 of an image, those with the highest scores; a second call changes nothing."""
    scores = data.draw(
        st.lists(st.integers(0, 9), min_size=len(images), max_size=len(images)), 'scores'
    )
    results = [
        dict(id=index, image_id=image, score=score / 9)
        for index, (image, score) in enumerate(zip(images, scores))
    ]
    kept = best_people(results)
    assert best_people(kept) == kept
    assert [entry['id'] for entry in kept] == sorted(entry['id'] for entry in kept)
    for image in set(images):
        expected = sorted(
            (entry['score'] for entry in results if entry['image_id'] == image), reverse=True
        )[:MOST_PEOPLE]
        actual = [entry['score'] for entry in kept if entry['image_id'] == image]
        assert sorted(actual, reverse=True) == expected
