"""Result files for the evaluation server of COCO."""

import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

from ..errors import ConfigError, DatasetError
from ..structures.coco import CocoFile, Fault, check_entries, has_fields, keypoint_count, one_of
from ..structures.coco_category import PERSON
from ..utils.files import atomic_write

#: number of people in an image that the server evaluates
MOST_PEOPLE = 20
#: numbers in `keypoints`: x, y and score (any number) of 17 keypoints
NUM_VALUES = 51
_FIELDS = ('image_id', 'category_id', 'keypoints', 'score')


def check_name(name: str) -> None:
    """Check that the server accepts the name of a submission.

    Args:
        name: Name of the method, which becomes part of the file name.

    Raises:
        ConfigError: If it has characters that the server does not accept.
    """
    if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9._-]*', name):
        raise ConfigError(
            f"--submission-name {name!r}: expected letters, digits, '.', '_' and '-', the first "
            'one a letter or digit'
        )


def submission_name(image_list: str, name: str) -> str:
    """Return the file name that the server expects, without suffix.

    Args:
        image_list: Annotation file whose name contains the split, such as
            `image_info_test-dev2017.json` or `person_keypoints_val2017.json`.
        name: Name of the method.

    Returns:
        The file name, such as `person_keypoints_test-dev2017_<name>_results`.

    Raises:
        ConfigError: If the file name contains no split.
    """
    match = re.fullmatch(r'(?:image_info|person_keypoints)_(.+)\.json', Path(image_list).name)
    if match is None:
        raise ConfigError(
            f'--format-only: the file name {image_list} (test_evaluator.ann_file) contains no '
            'split: expected image_info_<split>.json, such as image_info_test-dev2017.json, or '
            'person_keypoints_<split>.json'
        )
    # MMPose names its copy of the list ..._test-dev-2017.json.
    split = re.sub(r'-(\d+)$', r'\1', match[1])
    return f'person_keypoints_{split}_{name}_results'


def best_people(results: list[dict]) -> list[dict]:
    """Keep the results that the server evaluates.

    Args:
        results: Results in COCO's format.

    Returns:
        The 20 results of each image with the highest scores, in the order of `results`.
    """
    by_image = defaultdict(list)
    for index, result in enumerate(results):
        by_image[result['image_id']].append(index)
    kept = set()
    for indices in by_image.values():
        # The sort is stable: among equal scores, the first ones are kept.
        kept.update(sorted(indices, key=lambda i: -results[i]['score'])[:MOST_PEOPLE])
    return [result for index, result in enumerate(results) if index in kept]


def check_submission(path: str, results: list[dict], images: Collection[int]) -> None:
    """Check that the server accepts results.

    Args:
        path: File with the results, for the message.
        results: A list of `{image_id, category_id, keypoints, score}`.
        images: Ids of the images of the split.

    Raises:
        DatasetError: If the server would reject a result. The message names the first one.
    """
    check_entries(
        f'the server of COCO would reject {path}',
        'result',
        results,
        has_fields(*_FIELDS),
        _no_other_fields,
        one_of('image_id', images, 'expected the id of an image of the image list'),
        one_of('category_id', [PERSON], f'expected {PERSON}, a person'),
        keypoint_count(NUM_VALUES // 3),
    )
    counts = Counter(result['image_id'] for result in results)
    for image, count in counts.most_common(1):
        if count > MOST_PEOPLE:
            raise DatasetError(
                f'the server of COCO would reject {path}: image {image} has {count} people: '
                f'expected at most {MOST_PEOPLE}'
            )


def _no_other_fields(result: dict) -> Fault | None:
    """Check that there are no other fields."""
    if set(result) == set(_FIELDS):
        return None
    return f'the fields {", ".join(sorted(result))}', f'expected {", ".join(_FIELDS)}'


def write_submission(
    results_file: str, image_list: str, folder: str, name: str
) -> tuple[Path, int, int]:
    """Write the zip file that is uploaded to the server.

    Args:
        results_file: Results that `CocoMetric` has written.
        image_list: JSON file with the `images` of the split.
        folder: Folder of the zip file.
        name: Name of the method.

    Returns:
        The zip file, the number of results in it, and the number of results that were dropped
        because their image has more than 20 results.

    Raises:
        ConfigError: If the server does not accept the name, or the split is unknown.
        DatasetError: If the server would reject the results.
    """
    check_name(name)
    stem = submission_name(image_list, name)
    file = CocoFile(results_file, 'results')
    # The results are sorted by score.
    file.check('result', file.entries(), has_fields(*_FIELDS))
    all_results = [{field: result[field] for field in _FIELDS} for result in file.entries()]
    results = best_people(all_results)
    check_submission(file.path, results, CocoFile(image_list, 'image list').image_ids())
    path = Path(folder, f'{stem}.zip')
    text = json.dumps(results, separators=(',', ':'), allow_nan=False)
    with atomic_write(path) as draft, zipfile.ZipFile(draft, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f'{stem}.json', text)
    return path, len(results), len(all_results) - len(results)
