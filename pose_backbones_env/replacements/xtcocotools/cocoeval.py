"""Metrics of detections and keypoints, with the interface of `xtcocotools.cocoeval`.

hotcoco matches detections with annotations and accumulates precision and recall. If it is not
installed, pycocotools does, which takes much longer and gives the same metrics. Both support only
COCO's keypoints and areas; `_annotations` and `_detections` convert the other kinds of evaluation
to them.
"""

import contextlib
import copy
import io
import json
import warnings
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

from .coco import COCO

#: the classes of pycocotools in one place, as in hotcoco
PYCOCOTOOLS = SimpleNamespace(
    __name__='pycocotools', COCO=pycocotools.coco.COCO, COCOeval=pycocotools.cocoeval.COCOeval
)

try:
    import hotcoco as evaluator
except ImportError:
    evaluator = PYCOCOTOOLS

__all__ = ['COCOeval', 'Params']

#: standard deviations of COCO's 17 keypoints
_COCO_SIGMAS = (
    np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], float) / 1000
)
#: parts of COCO-WholeBody → their fields
_PARTS = dict(
    foot='foot_kpts', face='face_kpts', lefthand='lefthand_kpts', righthand='righthand_kpts'
)
_BOX_SHARE = 0.53  # area of a person relative to the bounding box, if it is not annotated
_EASY, _HARD = 0.2, 0.8  # crowd indices that divide the images of CrowdPose


class Params:
    """Parameters of an evaluation.

    Args:
        iouType: `'keypoints'`, `'keypoints_crowd'`, `'keypoints_wholebody'`, `'keypoints_foot'`,
            `'keypoints_face'`, `'keypoints_lefthand'`, `'keypoints_righthand'`, `'bbox'` or
            `'segm'`.
    """

    def __init__(self, iouType: str = 'segm'):
        areas = {'all': (0, 1e5**2), 'small': (0, 32**2), 'medium': (32**2, 96**2)}
        areas['large'] = (96**2, 1e5**2)
        if 'keypoints' in iouType:
            del areas['small']
        elif iouType not in ('bbox', 'segm'):
            raise ValueError(f'iouType is {iouType!r}: expected keypoints, bbox or segm')
        self.iouType = iouType
        self.imgIds: list = []
        self.catIds: list = []
        self.iouThrs = np.linspace(0.5, 0.95, 10)
        self.recThrs = np.linspace(0.0, 1.0, 101)
        self.maxDets = [20] if 'keypoints' in iouType else [1, 10, 100]
        self.areaRng = [list(limits) for limits in areas.values()]
        self.areaRngLbl = list(areas)
        self.useCats = 1
        self.useSegm = None


class COCOeval:
    """Average precision and recall of detections.

    Args:
        cocoGt: Index of the annotations.
        cocoDt: Index of the detections, from `cocoGt.loadRes`.
        iouType: Kind of evaluation, see `Params`.
        sigmas: (K,), standard deviation of each keypoint's labels. Default: COCO's.
        use_area: Whether distances are scaled by the annotated `area`; otherwise, by 0.53 of the
            area of the bounding box.

    Attributes:
        params: The parameters.
        eval: After `accumulate`: `precision` (T, R, C, A, M), `recall` (T, C, A, M) and `scores`
            (T, R, C, A, M) for T thresholds of similarity, R of recall, C categories, A ranges of
            areas and M maximum numbers of detections, -1 without annotations; `counts` and
            `params`.
        stats: After `summarize`: the metrics in the order in which they are printed.
    """

    def __init__(
        self,
        cocoGt: COCO | None = None,
        cocoDt: COCO | None = None,
        iouType: str = 'keypoints',
        sigmas: np.ndarray | None = None,
        use_area: bool = True,
    ):
        self.cocoGt, self.cocoDt = cocoGt, cocoDt
        self.sigmas = _COCO_SIGMAS if sigmas is None else np.asarray(sigmas, float)
        self.use_area = use_area
        self.params = Params(iouType)
        self.eval: dict[str, Any] = {}
        self.stats: np.ndarray | list = []
        if cocoGt is not None:
            self.params.imgIds = sorted(cocoGt.getImgIds())
            self.params.catIds = sorted(cocoGt.getCatIds())
        self._evaluation: Any = None

    @property
    def score_key(self) -> str:
        """Field of the detections by which they are sorted."""
        part = self.params.iouType.partition('_')[2]
        return f'{part}_score' if part == 'wholebody' or part in _PARTS else 'score'

    def evaluate(self) -> None:
        """Match the detections with the annotations of each image."""
        p = self.params
        if p.useSegm is not None:
            p.iouType = 'segm' if p.useSegm == 1 else 'bbox'
        p.imgIds = np.unique(p.imgIds).tolist()
        if p.useCats:
            p.catIds = np.unique(p.catIds).tolist()
        p.maxDets = sorted(p.maxDets)
        print(f'Evaluating {p.iouType} of {len(p.imgIds)} images with {evaluator.__name__}')
        self._evaluation = self._match(p.imgIds)

    def _match(self, image_ids: Sequence) -> Any:
        """Return the evaluation of some images."""
        p = self.params
        images = {image: number for number, image in enumerate(image_ids, 1)}
        categories = {category: number for number, category in enumerate(p.catIds, 1)}
        if not p.useCats:  # all are one category
            categories = dict.fromkeys(self.cocoGt.cats, 1)
        head = dict(
            images=[
                {**self.cocoGt.imgs[image], 'id': number}
                if p.iouType == 'segm'
                else dict(id=number)
                for image, number in images.items()
            ],
            categories=[
                dict(id=number, name=str(number)) for number in sorted(set(categories.values()))
            ],
        )
        annotations = self._annotations(_select(self.cocoGt, images, categories))
        detections = self._detections(_select(self.cocoDt, images, categories))
        for entry in (*annotations, *detections):
            entry['image_id'] = images[entry['image_id']]
            entry['category_id'] = categories[entry['category_id']]
        kind = p.iouType.partition('_')[0]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = evaluator.COCOeval(
                _index(head, annotations), _index(head, detections), kind
            )
            settings = evaluation.params
            if kind == 'keypoints':
                settings.kpt_oks_sigmas = self.sigmas
            settings.imgIds = list(images.values())
            settings.catIds = sorted(set(categories.values()))
            settings.iouThrs, settings.recThrs = np.array(p.iouThrs), np.array(p.recThrs)
            settings.maxDets = list(p.maxDets)
            settings.areaRng = [list(map(float, limits)) for limits in p.areaRng]
            settings.areaRngLbl = list(p.areaRngLbl)
            evaluation.evaluate()
        return evaluation

    def _annotations(self, annotations: Iterable[dict]) -> list[dict]:
        """Convert annotations to COCO's keypoints and areas."""
        kind = self.params.iouType
        entries = []
        for annotation in annotations:
            entry = dict(annotation, iscrowd=int(bool(annotation.get('iscrowd'))))
            entries.append(entry)
            if not self.use_area or 'area' not in annotation:
                entry['area'] = annotation['bbox'][2] * annotation['bbox'][3] * _BOX_SHARE
            if not kind.startswith('keypoints'):
                continue
            points = self._points(annotation)
            if kind == 'keypoints_crowd':  # CrowdPose counts only the visible ones
                count = annotation['num_keypoints']
            else:
                count = np.count_nonzero(points[2::3] > 0)
            entry.update(keypoints=points.tolist(), num_keypoints=int(count))
            if self.use_area and 'area' not in annotation:
                raise ValueError(
                    f'the annotation {annotation["id"]} has no area: expected one, or '
                    'use_area=False'
                )
        return [_plain(entry) for entry in entries]

    def _detections(self, detections: Iterable[dict]) -> list[dict]:
        """Convert detections likewise; leave out those without any keypoint of a positive score."""
        if not self.params.iouType.startswith('keypoints'):
            return [_plain(dict(detection)) for detection in detections]
        key, entries = self.score_key, []
        for detection in detections:
            points = self._points(detection)
            if not (points[2::3] > 0).any():
                continue
            if key not in detection:
                warnings.warn(f"'{key}' not found, use 'score' instead.", stacklevel=4)
            entries.append(
                dict(
                    detection,
                    keypoints=points.tolist(),
                    num_keypoints=len(points) // 3,
                    score=detection[key] if key in detection else detection['score'],
                )
            )
        return [_plain(entry) for entry in entries]

    def _points(self, entry: dict) -> np.ndarray:
        """Return x, y and the label of each keypoint of a part, (3 K,)."""
        part = self.params.iouType.partition('_')[2]
        if part == 'wholebody':
            fields = ['keypoints', *_PARTS.values()]
        else:
            fields = [_PARTS.get(part, 'keypoints')]
        points = np.concatenate([np.asarray(entry[field], float) for field in fields])
        if len(points) != 3 * len(self.sigmas):
            raise ValueError(
                f'{" + ".join(fields)} of the entry {entry["id"]} has {len(points)} numbers: '
                f'expected 3 * {len(self.sigmas)}, for each of the sigmas'
            )
        return points

    def accumulate(self, p: Params | None = None) -> None:
        """Compute precision and recall over all images.

        Args:
            p: Other parameters. Default: those of `evaluate`.
        """
        if p is not None and p is not self.params:
            self.params = p
            self.evaluate()
        if self._evaluation is None:
            raise RuntimeError('call evaluate() first')
        self.eval = self._accumulated(self._evaluation)

    def _accumulated(self, evaluation: Any) -> dict[str, Any]:
        p = self.params
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        shape = (len(p.iouThrs), len(p.catIds) if p.useCats else 1, len(p.areaRng), len(p.maxDets))
        with_recall = (shape[0], len(p.recThrs), *shape[1:])
        values = evaluation.eval
        return dict(
            params=copy.deepcopy(p),
            counts=list(with_recall),
            precision=np.asarray(values['precision'], float).reshape(with_recall),
            recall=np.asarray(values['recall'], float).reshape(shape),
            scores=np.asarray(values['scores'], float).reshape(with_recall),
        )

    def summarize(self) -> None:
        """Print the metrics, and store them in `stats`.

        Raises:
            RuntimeError: If `accumulate` was not called before.
        """
        if not self.eval:
            raise RuntimeError('call accumulate() first')
        kind, most = self.params.iouType, self.params.maxDets[-1]
        if kind == 'keypoints_crowd':
            rows = [(rate, thr, 'all', most) for rate in ('AP', 'AR') for thr in (None, 0.5, 0.75)]
        elif kind.startswith('keypoints'):
            rows = [
                (rate, *row, most)
                for rate in ('AP', 'AR')
                for row in (
                    (None, 'all'),
                    (0.5, 'all'),
                    (0.75, 'all'),
                    (None, 'medium'),
                    (None, 'large'),
                )
            ]
        else:
            sizes = ('small', 'medium', 'large')
            rows = [('AP', None, 'all', most), ('AP', 0.5, 'all', most), ('AP', 0.75, 'all', most)]
            rows += [('AP', None, size, most) for size in sizes]
            rows += [('AR', None, 'all', count) for count in self.params.maxDets]
            rows += [('AR', None, size, most) for size in sizes]
        values = [self._mean(*row) for row in rows]
        if kind == 'keypoints_crowd':
            values += self._crowd_levels(most)
        self.stats = np.array(values)

    def _mean(self, rate: str, threshold: float | None, area: str, count: int) -> float:
        """Print and return a metric; -1 without annotations."""
        p = self.params
        values = self.eval['precision' if rate == 'AP' else 'recall']
        if threshold is not None:
            values = values[np.isclose(p.iouThrs, threshold)]
        values = values[..., p.areaRngLbl.index(area), p.maxDets.index(count)]
        values = values[values > -1]
        value = float(values.mean()) if values.size else -1.0
        _print_row(rate, self._thresholds(threshold), f'area={area:>6s}', count, f'{value: 0.3f}')
        return value

    def _thresholds(self, threshold: float | None = None) -> str:
        limits = self.params.iouThrs[[0, -1]] if threshold is None else [threshold]
        return ':'.join(f'{limit:0.2f}' for limit in limits)

    def _crowd_levels(self, count: int) -> list[float]:
        """Return the AP of the easy, the medium and the hard images of CrowdPose."""
        levels: dict[str, list] = dict(easy=[], medium=[], hard=[])
        for image in self._crowd_images():
            index = image['crowdIndex']
            level = 'easy' if index < _EASY else 'medium' if index < _HARD else 'hard'
            levels[level].append(image['id'])
        values = []
        for level, images in levels.items():
            value = -1.0
            if images:
                precision = self._accumulated(self._match(sorted(images)))['precision']
                value = round(float(precision[:, :, :, 0].mean()), 4)
            values.append(value)
            _print_row('AP', self._thresholds(), f'type={level:>6s}', count, f'{value:0.3f}')
        return values

    def _crowd_images(self) -> list[dict]:
        """Return the images with their crowd indices, of the annotation file if there is one."""
        path = self.cocoGt.anno_file[0]
        if path is None:
            return self.cocoGt.dataset['images']
        with open(path) as file:
            return json.load(file)['images']


def _select(coco: COCO, images: dict, categories: dict) -> list[dict]:
    """Return the entries of some images and categories, in the order of the index."""
    return [
        entry
        for image in images
        for entry in coco.imgToAnns.get(image, ())
        if entry['category_id'] in categories
    ]


def _plain(entry: dict) -> dict:
    """Convert the numbers of an entry to Python's, and drop all other fields."""
    plain = {
        key: entry[key]
        for key in ('id', 'image_id', 'category_id', 'num_keypoints', 'iscrowd', 'segmentation')
        if key in entry and (key != 'segmentation' or entry[key])
    }
    plain.update((key, float(entry[key])) for key in ('area', 'score') if key in entry)
    if 'bbox' in entry:
        plain['bbox'] = [float(value) for value in entry['bbox']]
    if 'keypoints' in entry:
        plain['keypoints'] = entry['keypoints']
    return plain


def _index(head: dict, entries: list[dict]) -> Any:
    """Return the evaluator's index of the entries, whose IDs become 1, 2, …"""
    coco = evaluator.COCO()
    coco.dataset = dict(
        head, annotations=[dict(entry, id=number) for number, entry in enumerate(entries, 1)]
    )
    coco.createIndex()
    return coco


def _print_row(rate: str, thresholds: str, subset: str, count: int, value: str) -> None:
    title = 'Average Precision' if rate == 'AP' else 'Average Recall'
    print(
        f' {title:<18} ({rate}) @[ IoU={thresholds:<9} | {subset} | maxDets={count:>3d} ] = {value}'
    )
