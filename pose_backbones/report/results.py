"""Read and check the annotations and results of a test run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._compat.metainfo import shipped_metainfo
from ..errors import DatasetError, first_line
from ..structures.coco import CocoFile, Finding, has_fields, valid_crowd_index
from ..structures.coco_checker import check_annotations, check_results, raise_errors
from ..structures.metainfo import default_sigmas, read_metainfo
from ..structures.symmetry import flip_indices
from ..visualization.draw import Skeleton
from .run_files import Sources

#: datasets that are recognized by the names of their keypoints
_SHIPPED = ('coco', 'crowdpose', 'ap10k', 'aic')


@dataclass(frozen=True)
class Run:
    """The content of the files of a test run.

    Args:
        sources: The files.
        truth: Annotations with keypoints, in COCO's format.
        results: Predictions in COCO's results format.
        skeleton: Names of the K keypoints, and the limbs.
        sigmas: (K,), keypoint sigmas of OKS.
        sigma_origin: Description of the origin of the sigmas.
        flip_indices: (K,), index of the mirrored keypoint, or the keypoint's own index.
        iou_type: `'keypoints'` or `'keypoints_crowd'`.
        use_area: Whether OKS uses the annotated `area`.
        notes: Remarks about the input, shown in the report.
    """

    sources: Sources
    truth: dict
    results: list[dict]
    skeleton: Skeleton
    sigmas: np.ndarray
    sigma_origin: str
    flip_indices: np.ndarray
    iou_type: str
    use_area: bool
    notes: list[str] = field(default_factory=list)


def read_run(sources: Sources) -> Run:
    """Read the files of a test run and check that they match.

    Args:
        sources: The files.

    Returns:
        The content of the files.

    Raises:
        DatasetError: If an entry is invalid. The message contains the entry, the invalid value, and
            the expected value.
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
    annotations = CocoFile(sources.annotations)
    truth = _read_truth(annotations)
    file = CocoFile(sources.results, 'results')
    crowd = all('crowdIndex' in image for image in truth['images'])
    iou_type = sources.iou_type or ('keypoints_crowd' if crowd else 'keypoints')
    if iou_type not in ('keypoints', 'keypoints_crowd'):
        raise DatasetError(
            f'the config has iou_type={iou_type!r}: expected keypoints or '
            'keypoints_crowd, which the report supports'
        )
    skeleton, sigmas, origin = _keypoints(sources, annotations, crowd)
    use_area = sources.use_area
    if use_area is None:
        use_area = not crowd and all('area' in entry for entry in truth['annotations'])
    warnings = _check_truth(annotations, truth, len(sigmas), iou_type, use_area)
    warnings += raise_errors(file, check_results(file, annotations, len(sigmas)))
    results = file.content
    return Run(
        sources,
        truth,
        results,
        skeleton,
        sigmas,
        origin,
        _flip_indices(sources.metainfo, skeleton),
        iou_type,
        use_area,
        [*map(str, warnings), *_notes(truth, results)],
    )


def _read_truth(file: CocoFile) -> dict:
    """Return the annotations with keypoints, without masks, and with `iscrowd`."""
    images, annotations, categories = (
        file.entries(name, empty=False) for name in ('images', 'annotations', 'categories')
    )
    file.check('image', images, has_fields('id', 'file_name'))
    file.check('category', categories, has_fields('id'))
    people = [{'iscrowd': 0, **entry} for entry in annotations if entry.get('keypoints')]
    for entry in people:
        entry.pop('segmentation', None)  # the index would parse it
    return {**file.content, 'annotations': people}


def _keypoints(
    sources: Sources, annotations: CocoFile, crowd: bool
) -> tuple[Skeleton, np.ndarray, str]:
    """Return the skeleton, the sigmas and their origin: metainfo, MMPose, or keypoint names."""
    metainfo, origin = sources.metainfo, sources.metainfo_origin
    category = None
    if metainfo is None or not len(metainfo['sigmas']):
        category = next(iter(annotations.keypoint_categories()), None)
    if metainfo is None and category is not None:
        metainfo, origin = _shipped_dataset(tuple(category['keypoints']), crowd)
    if metainfo is not None and len(metainfo['sigmas']):
        return (Skeleton.from_metainfo(metainfo), np.asarray(metainfo['sigmas']), origin)
    if category is None:
        raise DatasetError(
            f'{sources.annotations}: no category has keypoint names in '
            "'keypoints': provide the metainfo of the dataset with --metainfo"
        )
    skeleton = Skeleton.from_coco(category)
    sigmas = default_sigmas(skeleton.names)
    return (
        skeleton,
        np.array([sigma.value for sigma in sigmas.values()]),
        "COCO's for joints with its names, .05 for others",
    )


def _shipped_dataset(names: Sequence[str], crowd: bool) -> tuple[dict | None, str]:
    """Return the metainfo and the name of an MMPose dataset with these keypoints, if any."""
    for name in _SHIPPED:
        file = shipped_metainfo(f'{name}.py')
        if not file.is_file():
            continue
        parsed = read_metainfo(file)
        upstream = tuple(parsed['keypoint_id2name'][k] for k in range(parsed['num_keypoints']))
        # CrowdPose's files and MMPose use different names for two keypoints.
        if upstream == names or (
            name == 'crowdpose' and crowd and upstream[:12] == names[:12] and len(names) == 14
        ):
            return parsed, f"those of MMPose's {name}"
    return None, ''


def _flip_indices(metainfo: Mapping | None, skeleton: Skeleton) -> np.ndarray:
    if metainfo is not None:
        return np.array(metainfo['flip_indices'])
    return np.array(flip_indices(skeleton.names))


def _check_truth(
    file: CocoFile, truth: Mapping, count: int, iou_type: str, use_area: bool
) -> list[Finding]:
    """Check the annotations, and return the warnings."""
    if iou_type == 'keypoints_crowd':
        file.check('image', truth['images'], valid_crowd_index)
        file.check('annotation', truth['annotations'], has_fields('num_keypoints'))
    return raise_errors(file, check_annotations(file, count=count, use_area=use_area))


def _notes(truth: Mapping, results: Sequence[Mapping]) -> list[str]:
    notes = []
    if not results:
        notes.append(
            'The results are empty: no person was predicted in any image, so all metrics are 0.'
        )
    elif 'foot_kpts' in results[0]:
        notes.append('Whole-body results: this page covers only the keypoints of the body.')
    without = len(
        {image['id'] for image in truth['images']} - {entry['image_id'] for entry in results}
    )
    if results and without:
        notes.append(f'{without} of {len(truth["images"])} images have no predictions.')
    return notes
