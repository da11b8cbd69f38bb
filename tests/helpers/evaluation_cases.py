"""Random annotations and results for evaluators, with the metrics that xtcocotools computes.

No images are needed, since only the distances between results and labels matter.
"""

import json
from pathlib import Path

import numpy as np

from tests.helpers.report_cases import NAMES

#: fields of COCO-WholeBody's keypoints, and the number of keypoints in each
PARTS = {
    'keypoints': 17,
    'foot_kpts': 6,
    'face_kpts': 68,
    'lefthand_kpts': 21,
    'righthand_kpts': 21,
}
COUNTS = {'coco': 17, 'crowdpose': 14, 'wholebody': 133}

#: metrics of the cases, computed with xtcocotools 1.14.3
FIGURES = {
    'coco': {'AP': 0.488784, 'AP .5': 0.700418, 'AP .75': 0.509493, 'AR': 0.535443},
    'crowdpose': {
        'AP': 0.578496,
        'AP .5': 0.753038,
        'AP .75': 0.571674,
        'AR': 0.605556,
        'AP(E)': 0.6333,
        'AP(M)': 0.5465,
        'AP(H)': 0.6544,
    },
    'wholebody': {'AP': 0.158052},
}
#: AP of each part of the case `wholebody`
PART_APS = {
    'body': 0.446194,
    'foot': 0.561091,
    'face': 0.086573,
    'lefthand': 0.219899,
    'righthand': 0.224164,
    'wholebody': 0.158052,
}


def write_case(name: str, folder: Path, images: int = 30) -> tuple[str, str]:
    """Write the results and annotations of a case, and return their paths.

    Args:
        name: `'coco'`, `'crowdpose'` or `'wholebody'`.
        folder: Output directory.
        images: Number of images.
    """
    rng = np.random.default_rng(sorted(COUNTS).index(name))
    truth = dict(
        images=[], annotations=[], categories=[dict(id=1, name='person', **_keypoints(name))]
    )
    results = []
    for image in range(1, images + 1):
        entry = dict(id=image, file_name=f'{image}.jpg', width=640, height=480)
        if name == 'crowdpose':
            entry['crowdIndex'] = round(float(rng.random()), 3)
        truth['images'].append(entry)
        for _ in range(rng.integers(1, 5)):
            width, height = np.exp(rng.uniform(*np.log([(20, 250), (50, 400)]).T))
            box = np.array([*rng.uniform(0, [640 - width, 480 - height]), width, height])
            points = rng.uniform(box[:2], box[:2] + box[2:], (COUNTS[name], 2))
            person = dict(
                id=len(truth['annotations']) + 1,
                image_id=image,
                category_id=1,
                iscrowd=0,
                bbox=box.round(2).tolist(),
                **_fields(name, points, rng.choice([0, 1, 2], len(points), p=[0.2, 0.2, 0.6])),
            )
            person['num_keypoints'] = int(np.count_nonzero(person['keypoints'][2::3]))
            if name != 'crowdpose':
                person['area'] = round(0.53 * width * height, 2)
            truth['annotations'].append(person)
            if rng.random() < 0.1:
                continue  # a missed person
            spread = rng.exponential(0.06)
            noise = rng.normal(0, spread * np.sqrt(width * height), points.shape)
            score = np.exp(-5 * spread) * 0.7 + rng.uniform(0, 0.3)
            results.append(_result(name, image, box, points + noise, score, rng))
        if rng.random() < 0.4:  # a false positive
            box = np.array([*rng.uniform(0, 300, 2), *rng.uniform(40, 200, 2)])
            points = rng.uniform(box[:2], box[:2] + box[2:], (COUNTS[name], 2))
            results.append(_result(name, image, box, points, rng.uniform(0, 0.7), rng))
    paths = []
    for kind, content in (('results', results), ('truth', truth)):
        path = folder / f'{name}_{kind}.json'
        path.write_text(json.dumps(content))
        paths.append(str(path))
    return tuple(paths)


def _keypoints(name: str) -> dict:
    names = [*NAMES[5:], 'top_head', 'neck'] if name == 'crowdpose' else list(NAMES)
    return dict(keypoints=names, skeleton=[[1, 2]])


def _fields(name: str, points: np.ndarray, third: np.ndarray) -> dict:
    """Return the keypoints (K, 2) with their third column, in the fields of the dataset."""
    rows = np.c_[points.round(2) * (third > 0)[:, None], third]
    if name != 'wholebody':
        return dict(keypoints=rows.ravel().tolist())
    ends = np.cumsum(list(PARTS.values()))[:-1]
    fields = {
        field: part.ravel().tolist()
        for field, part in zip(PARTS, np.split(rows, ends), strict=True)
    }
    for part in ('foot', 'face', 'lefthand', 'righthand'):
        fields[f'{part}_valid'] = True
    return fields


def _result(name, image, box, points, score, rng) -> dict:
    result = dict(
        image_id=image,
        category_id=1,
        score=round(float(score), 4),
        scale=(box[2:] / 200).round(4).tolist(),
        **_fields(name, points, rng.uniform(0.25, 1, len(points)).round(3)),
    )
    return {key: value for key, value in result.items() if not key.endswith('_valid')}
