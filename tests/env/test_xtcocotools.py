"""The replacement of xtcocotools gives the metrics of xtcocotools 1.14.3."""

import copy
import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from benchmarks.evaluation import import_replacement
from pose_backbones_env import finder
from tests.helpers.evaluation_cases import FIGURES, PART_APS, PARTS, write_case

#: the metrics are recorded with 6 digits, those of parts of CrowdPose with 4
EXACT = 5e-7
INDICES = {'coco': (0, 1, 2, 5), 'crowdpose': (0, 1, 2, 3, 6, 7, 8), 'wholebody': (0,)}
KINDS = dict(coco='keypoints', crowdpose='keypoints_crowd', wholebody='keypoints_wholebody')
METAINFO = dict(coco='coco', crowdpose='crowdpose', wholebody='coco_wholebody')


@pytest.fixture(scope='module')
def package():
    """Import the replacement, whether or not the real package is installed."""

    def loaded():
        return {
            name: module
            for name, module in sys.modules.items()
            if name.partition('.')[0] == 'xtcocotools'
        }

    real = loaded()
    module = import_replacement()
    for name in ('mask', 'coco', 'cocoeval'):
        importlib.import_module(f'xtcocotools.{name}')
    assert module.coco.__file__.startswith(finder.FOLDER)
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(real)
    return module


@pytest.fixture(params=['hotcoco', 'pycocotools'])
def evaluator(request, package, monkeypatch):
    """Compute the metrics with each evaluator."""
    if request.param == 'pycocotools':
        monkeypatch.setattr(package.cocoeval, 'evaluator', package.cocoeval.PYCOCOTOOLS)
    assert package.cocoeval.evaluator.__name__ == request.param
    return package.cocoeval


@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cases')
    return {name: write_case(name, folder) for name in FIGURES}


def sigmas_of(name: str) -> np.ndarray:
    path = f'configs/_base_/datasets/{METAINFO[name]}.py'
    return parse_pose_metainfo(dict(from_file=path))['sigmas']


def stats(package, truth, results, *args) -> np.ndarray:
    """Evaluate results, and return the metrics."""
    evaluation = package.cocoeval.COCOeval(truth, truth.loadRes(results), *args)
    evaluation.params.useSegm = None  # as MMPose does
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize('name', FIGURES)
def test_recorded_metrics(package, evaluator, cases, name):
    results, truth = cases[name]
    values = stats(
        package,
        package.coco.COCO(truth),
        results,
        KINDS[name],
        sigmas_of(name),
        name != 'crowdpose',
    )
    chosen = [values[index] for index in INDICES[name]]
    assert chosen == pytest.approx(list(FIGURES[name].values()), abs=EXACT)


@pytest.mark.filterwarnings('ignore:.*not found, use')
def test_recorded_metrics_of_parts(package, evaluator, cases):
    results, path = cases['wholebody']
    sigmas = sigmas_of('wholebody')
    ends = np.cumsum(list(PARTS.values()))
    for part, part_sigmas in zip(PART_APS, [*np.split(sigmas, ends[:-1]), sigmas], strict=True):
        values = stats(
            package, package.coco.COCO(path), results, f'keypoints_{part}', part_sigmas, True
        )
        assert values[0] == pytest.approx(PART_APS[part], abs=EXACT), part


def test_printed_metrics(package, evaluator, cases, capsys):
    results, path = cases['crowdpose']
    stats(
        package, package.coco.COCO(path), results, 'keypoints_crowd', sigmas_of('crowdpose'), False
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(' Average')]
    assert len(lines) == 9
    assert lines[0] == (
        ' Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets= 20 ] =  0.578'
    )
    assert lines[6] == (
        ' Average Precision  (AP) @[ IoU=0.50:0.95 | type=  easy | maxDets= 20 ] = 0.633'
    )


def random_case(seed: int, whole_body: bool = False) -> tuple[dict, list[dict], int]:
    """Return annotations and results with equal scores, crowds, and entries that are ignored."""
    rng = np.random.default_rng(seed)
    count = sum(PARTS.values()) if whole_body else int(rng.choice([3, 14, 17]))
    named = rng.random() < 0.3  # image IDs are strings
    truth = dict(images=[], annotations=[], categories=[])
    truth['categories'] = [dict(id=number, name=str(number)) for number in (1, 6)]
    results = []
    for number in range(int(rng.integers(1, 8))):
        image = f'image {number}' if named else 3 * number + 1
        truth['images'].append(dict(id=image, width=300, height=300, crowdIndex=rng.random()))
        for _ in range(rng.integers(0, 5)):
            points = rng.uniform(0, 200, (count, 2))
            labels = rng.choice([0, 1, 2], count) * (rng.random() < 0.8)
            box = [*rng.uniform(0, 100, 2), *rng.uniform(5, 150, 2)]
            person = dict(
                id=len(truth['annotations']),
                image_id=image,
                category_id=int(rng.choice([1, 6])),
                keypoints=np.c_[points, labels].ravel().tolist(),
                num_keypoints=int((labels == 2).sum()),
                bbox=box,
                area=rng.uniform(20, 15000),
                segmentation=[_corners(box)],
                iscrowd=int(rng.random() < 0.15),
            )
            truth['annotations'].append(person)
            for _ in range(rng.integers(0, 4)):
                noise = rng.normal(0, rng.choice([0, 2, 10, 40]), points.shape)
                scores = rng.uniform(-0.1, 1, count) * (rng.random() < 0.9)
                moved = np.clip(box + rng.normal(0, 3, 4), 0, None).tolist()
                results.append(
                    dict(
                        image_id=image,
                        category_id=person['category_id'],
                        keypoints=np.c_[points + noise, scores].ravel().tolist(),
                        score=float(rng.choice([0.1, 0.5, 0.9, rng.random()])),
                        bbox=moved,
                        segmentation=[_corners(moved)],
                    )
                )
    if whole_body:
        for entry in (*truth['annotations'], *results):
            _split_keypoints(entry)
        for number, result in enumerate(results):
            if number % 2:
                result['wholebody_score'] = result['score'] / 2
    return truth, results if rng.random() > 0.05 else [], count


def _corners(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _split_keypoints(entry: dict) -> None:
    """Distribute keypoints to the fields of COCO-WholeBody."""
    ends = 3 * np.cumsum(list(PARTS.values()))
    for field, values in zip(PARTS, np.split(np.array(entry['keypoints']), ends[:-1])):
        entry[field] = values.tolist()


def kinds_and_sizes() -> list[tuple[str, slice]]:
    """Return each kind of evaluation and the slice of the keypoints that it uses."""
    kinds = [(kind, slice(None)) for kind in ('keypoints', 'keypoints_crowd', 'bbox', 'segm')]
    kinds.append(('keypoints_wholebody', slice(None)))
    start = 0
    for field, size in PARTS.items():
        part = 'body' if field == 'keypoints' else field.removesuffix('_kpts')
        kinds.append((f'keypoints_{part}', slice(start, start + size)))
        start += size
    return kinds


@pytest.mark.filterwarnings('ignore:.*not found, use')
@pytest.mark.parametrize('use_area', [True, False])
@pytest.mark.parametrize(('kind', 'part'), kinds_and_sizes())
def test_evaluators_agree(package, monkeypatch, kind, part, use_area):
    whole_body = kind not in ('keypoints', 'keypoints_crowd', 'bbox', 'segm')
    for seed in range(6 if whole_body else 25):
        truth, results, count = random_case(seed, whole_body)
        sigmas = np.random.default_rng(seed).uniform(0.02, 0.1, count)[part]
        values = []
        for evaluator in (package.cocoeval.evaluator, package.cocoeval.PYCOCOTOOLS):
            with monkeypatch.context() as patch:
                patch.setattr(package.cocoeval, 'evaluator', evaluator)
                coco = package.coco.COCO()
                coco.dataset = copy.deepcopy(truth)
                coco.createIndex()
                values.append(stats(package, coco, copy.deepcopy(results), kind, sigmas, use_area))
        assert values[0].tolist() == values[1].tolist(), seed


@pytest.mark.filterwarnings('ignore:.*not found, use')
@pytest.mark.parametrize('use_area', [True, False])
@pytest.mark.parametrize(('kind', 'part'), kinds_and_sizes())
def test_equals_installed_xtcocotools(package, tmp_path, kind, part, use_area):
    real = pytest.importorskip('xtcocotools.cocoeval', reason='xtcocotools is not installed')
    if real.__file__.startswith(finder.FOLDER):
        pytest.skip('xtcocotools is not installed')
    from xtcocotools.coco import COCO

    whole_body = kind not in ('keypoints', 'keypoints_crowd', 'bbox', 'segm')
    for seed in range(6 if whole_body else 25):
        truth, results, count = random_case(seed, whole_body)
        path = tmp_path / f'{seed}.json'
        path.write_text(json.dumps(truth))
        sigmas = np.random.default_rng(seed).uniform(0.02, 0.1, count)[part]
        values = [
            stats(modules, coco(str(path)), copy.deepcopy(results), kind, sigmas, use_area)
            for modules, coco in (
                (package, package.coco.COCO),
                (SimpleNamespace(cocoeval=real), COCO),
            )
        ]
        assert values[0].tolist() == values[1].tolist(), seed


def test_masks_of_polygons_and_boxes(package):
    box = package.mask.frPyObjects([[10.0, 10.0, 30.0, 10.0, 30.0, 20.0, 10.0, 20.0]], 40, 50)
    assert package.mask.area(box).tolist() == [200]
    assert package.mask.decode(box).sum() == 200
    assert package.mask.toBbox(box).tolist() == [[10, 10, 20, 10]]
    assert package.mask.iou(box, box, [0]).tolist() == [[1]]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda truth, _: truth['annotations'][0].pop('area'), 'has no area: expected one, or'),
        (
            lambda truth, _: truth['annotations'][0]['keypoints'].append(0.0),
            r'keypoints of the entry 1 has 52 numbers: expected 3 \* 17',
        ),
        (
            lambda _, results: results[0].update(image_id='a'),
            "the image ID 'a', which the annotations do not have",
        ),
    ],
)
def test_invalid_entries_raise(package, cases, tmp_path, change, message):
    results, truth = (json.loads(open(path).read()) for path in cases['coco'])
    change(truth, results)
    coco = package.coco.COCO('annotations.json', ann_data=truth)
    with pytest.raises(ValueError, match=message):
        stats(package, coco, results, 'keypoints')


def test_selected_keypoints(package, cases):
    full = package.coco.COCO(cases['coco'][1])
    part = package.coco.COCO(cases['coco'][1], test_index=[0, 5])
    for number, person in part.anns.items():
        points = np.reshape(full.anns[number]['keypoints'], (-1, 3))
        assert person['keypoints'] == points[[0, 5]].ravel().tolist()
