"""The annotations and results of a test run, checked before they are used."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._compat.metainfo import shipped_metainfo
from ..errors import DatasetError, first_line
from ..structures.metainfo import default_sigmas, read_metainfo
from ..structures.symmetry import find_pairs
from ..utils.files import read_text
from ..visualization.draw import Skeleton
from .run_files import Sources

#: data sets known by the names of their key points
_KNOWN = ('coco', 'crowdpose', 'ap10k', 'aic')


@dataclass(frozen=True)
class Run:
    """What is reported on.

    Args:
        sources: The files.
        truth: COCO's annotations, those with key points.
        results: COCO's results.
        skeleton: K key points and their limbs.
        sigmas: (K,).
        sigma_origin: Where they are from, for the reader.
        partners: (K,), the joint that a mirror puts in each one's place.
        iou_type: `'keypoints'` or `'keypoints_crowd'`.
        use_area: Whether distances are measured by `area`.
        notes: What a reader has to know of the input.
    """

    sources: Sources
    truth: dict
    results: list[dict]
    skeleton: Skeleton
    sigmas: np.ndarray
    sigma_origin: str
    partners: np.ndarray
    iou_type: str
    use_area: bool
    notes: list[str] = field(default_factory=list)


def read_run(sources: Sources) -> Run:
    """Read the files of a test run and check that they belong together.

    Args:
        sources: Where they are.

    Returns:
        Their contents.

    Raises:
        DatasetError: With the value that does not fit and what was expected.
    """
    try:
        return _read_run(sources)
    except DatasetError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{sources.annotations} or {sources.results} has an entry that is '
            f"not of COCO's format: {type(error).__name__}: "
            f'{first_line(error)}'
        ) from error


def _read_run(sources: Sources) -> Run:
    truth = _read_truth(sources.annotations)
    results = _read_json(sources.results, 'results')
    crowd = all('crowdIndex' in image for image in truth['images'])
    iou_type = sources.iou_type or ('keypoints_crowd' if crowd else 'keypoints')
    if iou_type not in ('keypoints', 'keypoints_crowd'):
        raise DatasetError(
            f'the config measures {iou_type!r}: expected keypoints or '
            'keypoints_crowd, which is what is reported on'
        )
    skeleton, sigmas, origin = _key_points(sources, truth, crowd)
    use_area = sources.use_area
    if use_area is None:
        use_area = not crowd and all('area' in entry for entry in truth['annotations'])
    _check_truth(sources, truth, len(sigmas), iou_type, use_area)
    _check_results(sources, truth, results, len(sigmas))
    return Run(
        sources,
        truth,
        results,
        skeleton,
        sigmas,
        origin,
        _partners(sources.metainfo, skeleton),
        iou_type,
        use_area,
        _notes(truth, results),
    )


def _read_json(path: Path, what: str):
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f'cannot read the {what} {path}: {error}') from error


def _read_truth(path: Path) -> dict:
    truth = _read_json(path, 'annotations')
    fields = ('images', 'annotations', 'categories')
    if not isinstance(truth, dict) or not all(
        isinstance(truth.get(name), list) and truth[name] for name in fields
    ):
        raise DatasetError(
            f'{path} holds no annotations of key points: expected '
            "COCO's format, with images, annotations and categories"
        )
    for name in fields:
        for entry in truth[name]:
            if not isinstance(entry, dict):
                raise DatasetError(
                    f'{path}: {name} has the entry {str(entry)[:80]!r}: expected a dict'
                )
    for image in truth['images']:
        if not isinstance(image.get('id'), (int, str)) or not isinstance(
            image.get('file_name'), str
        ):
            raise DatasetError(
                f'{path}: images has the entry {str(image)[:80]}: expected an id and a file_name'
            )
    people = [{'iscrowd': 0, **entry} for entry in truth['annotations'] if entry.get('keypoints')]
    return {**truth, 'annotations': people}


def _key_points(sources: Sources, truth: Mapping, crowd: bool) -> tuple[Skeleton, np.ndarray, str]:
    """Names, limbs and sigmas: described, known, or by their names."""
    metainfo, origin = sources.metainfo, sources.metainfo_origin
    category = next((entry for entry in truth['categories'] if entry.get('keypoints')), None)
    if metainfo is None and category is not None:
        metainfo, origin = _known(tuple(category['keypoints']), crowd)
    if metainfo is not None and len(metainfo['sigmas']):
        return (Skeleton.from_metainfo(metainfo), np.asarray(metainfo['sigmas']), origin)
    if category is None:
        raise DatasetError(
            f'{sources.annotations}: no category has keypoints, their '
            'names: give a description of the data set with --metainfo'
        )
    skeleton = Skeleton.from_coco(category)
    sigmas = default_sigmas(skeleton.names)
    return (
        skeleton,
        np.array([sigma.value for sigma in sigmas.values()]),
        "COCO's for joints of its names, .05 for others",
    )


def _known(names: Sequence[str], crowd: bool) -> tuple[dict | None, str]:
    """MMPose's description of a data set with these key points."""
    for name in _KNOWN:
        file = shipped_metainfo(f'{name}.py')
        if not file.is_file():
            continue
        parsed = read_metainfo(file)
        own = tuple(parsed['keypoint_id2name'][k] for k in range(parsed['num_keypoints']))
        # CrowdPose's files call one joint otherwise.
        if own == names or (
            name == 'crowdpose' and crowd and own[:12] == names[:12] and len(names) == 14
        ):
            return parsed, f"those of MMPose's {name}"
    return None, ''


def _partners(metainfo: Mapping | None, skeleton: Skeleton) -> np.ndarray:
    if metainfo is not None:
        return np.array(metainfo['flip_indices'])
    pairs = find_pairs(skeleton.names)
    return np.array([skeleton.names.index(pairs.get(name, name)) for name in skeleton.names])


def _check_truth(
    sources: Sources, truth: Mapping, count: int, iou_type: str, use_area: bool
) -> None:
    wanted = ['id', 'image_id', 'category_id', 'bbox']
    wanted += ['area'] * use_area
    wanted += ['num_keypoints'] * (iou_type == 'keypoints_crowd')
    images = {image['id'] for image in truth['images']}
    for entry in truth['annotations']:
        what = f'{sources.annotations}: annotation {entry.get("id")} has '
        absent = [name for name in wanted if name not in entry]
        if absent:
            raise DatasetError(f'{what}no {absent[0]}, which the evaluation needs')
        if len(entry['keypoints']) != 3 * count:
            raise DatasetError(
                f'{what}{len(entry["keypoints"])} numbers in keypoints: '
                f'expected {3 * count}, of {count} key points '
                f'({sources.metainfo_origin or "its category"})'
            )
        if not isinstance(entry['bbox'], list) or len(entry['bbox']) != 4:
            raise DatasetError(f'{what}the bbox {entry["bbox"]}: expected [x, y, width, height]')
        if entry['image_id'] not in images:
            raise DatasetError(
                f"{what}the image_id {entry['image_id']!r}, which is not among its 'images'"
            )
    if not any(any(entry['keypoints'][2::3]) for entry in truth['annotations']):
        raise DatasetError(
            f'{sources.annotations}: nobody has a labelled key point: there '
            'is nothing to measure predictions by'
        )


def _check_results(sources: Sources, truth: Mapping, results, count: int) -> None:
    path = sources.results
    needed = {'image_id', 'keypoints', 'score', 'category_id'}
    if not isinstance(results, list) or not all(
        isinstance(entry, dict) and needed <= set(entry) for entry in results
    ):
        raise DatasetError(
            f'{path} holds no results of key points: expected a list of '
            '{image_id, category_id, keypoints, score}'
        )
    unnamed = [
        entry['image_id'] for entry in results if not isinstance(entry['image_id'], (int, str))
    ]
    if unnamed:
        raise DatasetError(f'{path}: a result has the image_id {unnamed[0]!r}: expected a number')
    images = {image['id'] for image in truth['images']}
    strange = [entry['image_id'] for entry in results if entry['image_id'] not in images]
    if strange:
        raise DatasetError(
            f'{path}: {len(strange)} of {len(results)} results are of images '
            f'that {sources.annotations} does not have, such as '
            f'{strange[0]!r}: are they of the same data set and split?'
        )
    categories = {entry['id'] for entry in truth['categories']}
    boxed = bool(results) and bool(results[0].get('bbox'))
    for number, entry in enumerate(results):
        fault = _fault(entry, count, categories, boxed)
        if fault is not None:
            raise DatasetError(
                f'{path}: result {number}, of image {entry["image_id"]}, has {fault}'
            )


def _fault(entry: Mapping, count: int, categories: set, boxed: bool) -> str | None:
    points = entry['keypoints']
    if not isinstance(points, list) or len(points) != 3 * count:
        number = len(points) / 3 if isinstance(points, list) else 0
        return f'{number:g} key points: expected the {count} of the annotations'
    try:
        finite = np.isfinite(np.array([*points, entry['score']], float)).all()
    except (OverflowError, TypeError, ValueError):
        finite = False
    if not finite:
        return 'key points or a score that are not all finite numbers'
    if not isinstance(entry['category_id'], int) or (entry['category_id'] not in categories):
        return (
            f'the category_id {entry["category_id"]!r}: expected one of '
            f'the annotations, {sorted(categories)}'
        )
    if boxed != bool(entry.get('bbox')):
        return (
            f'{"no" if boxed else "a"} bbox, unlike the first result: '
            'expected one in all or in none'
        )
    return None


def _notes(truth: Mapping, results: Sequence[Mapping]) -> list[str]:
    notes = []
    if not results:
        notes.append(
            'The results are empty: no person was predicted in any '
            'image, so that every figure is 0.'
        )
    elif 'foot_kpts' in results[0]:
        notes.append("Results of a whole body: this page is about the body's joints only.")
    bare = len(
        {image['id'] for image in truth['images']} - {entry['image_id'] for entry in results}
    )
    if results and bare:
        notes.append(f'{bare} of {len(truth["images"])} images have no prediction at all.')
    return notes
