"""Published results of real models, evaluated to their known figures.

Ours are the configs: the metric and its settings, and the data set class
whose key points and sigmas it uses. The metric classes are the host's
(MMPose), the AP underneath is xtcocotools'. xtcocotools is also asked alone,
so that a difference shows on which side it arises. Skipped where the shared
results are not at hand. MPII's are in test_mpii_metric.py.
"""

import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.evaluation.metrics import coco_wholebody_metric
from mmpose.registry import DATASETS, METRICS
from mmpose.utils import register_all_modules
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from pose_backbones.configs import load_config
from tests.helpers.tools import ROOT

DATA = ROOT.parent / 'shared' / 'data'
CONFIG = str(ROOT / 'configs/moganet/td-hm_moganet-s_8xb32-210e_{}.py')
FACTS = 5e-7  # the figures are known to six decimals

#: evaluator's example → config, and the figures of its SOURCES.md
ROWS = {
    'coco': (
        'coco-256x192',
        {'coco/AP': 0.860890, 'coco/AP .5': 0.993145, 'coco/AP .75': 0.910891, 'coco/AR': 0.875},
    ),
    'crowdpose': (
        'crowdpose-256x192',
        {
            'crowdpose/AP': 0.787722,
            'crowdpose/AP .5': 0.988119,
            'crowdpose/AP .75': 0.731436,
            'crowdpose/AR': 0.822222,
            'crowdpose/AP(E)': 1.0,
            'crowdpose/AP(M)': 0.9802,
            'crowdpose/AP(H)': 0.4116,
        },
    ),
    'wholebody': ('coco-wholebody-256x192', {'coco-wholebody/AP': 0.642076}),
}
#: COCO-WholeBody's parts in the metric's order: their field of the results,
#: how many key points, AP
PARTS = {
    'body': ('keypoints', 17, 0.853922),
    'foot': ('foot_kpts', 6, 0.957105),
    'face': ('face_kpts', 68, 0.727013),
    'lefthand': ('lefthand_kpts', 21, 0.548743),
    'righthand': ('righthand_kpts', 21, 0.497841),
    'wholebody': (None, 133, 0.642076),
}
FIELDS = [field for field, _, _ in PARTS.values() if field]


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()
    init_default_scope('mmpose')


def path(name: str, kind: str) -> str:
    file = DATA / f'evaluator/example_{name}_{kind}.json'
    if not file.is_file():
        pytest.skip(f'{file.name} is not at hand')
    return str(file)


def results_of(name: str) -> list[dict]:
    with open(path(name, 'preds')) as file:
        return json.load(file)


def points_of(result: dict) -> np.ndarray:
    """(K, 3): x, y and score of all parts."""
    return np.concatenate(
        [np.reshape(result[field], (-1, 3)) for field in FIELDS if field in result]
    )


def metainfo_of(config) -> dict:
    dataset = DATASETS.get(config.val_dataloader.dataset.type)
    return dataset._load_metainfo()


def evaluate(name: str, box_score, **settings) -> dict:
    """The config's metric on the results, as a model would hand them over.

    Args:
        name: Of the example.
        box_score: Result → score of the box that it was predicted in.
        settings: In place of the config's.
    """
    config = load_config(CONFIG.format(ROWS[name][0]))
    metric = METRICS.build({**config.val_evaluator, 'ann_file': path(name, 'val'), **settings})
    metric.dataset_meta = metainfo_of(config)
    results = results_of(name)
    for number, result in enumerate(results):
        points = points_of(result)
        sample = dict(
            id=number,
            img_id=result['image_id'],
            category_id=result['category_id'],
            gt_instances=dict(bbox_scores=np.array([box_score(result)])),
            pred_instances=dict(keypoints=points[None, :, :2], keypoint_scores=points[None, :, 2]),
        )
        if 'scale' in result:  # the box's size, in units of 200 pixels
            sample['gt_instances']['bbox_scales'] = 200 * np.array([result['scale']])
        metric.process([], [sample])
    return metric.evaluate(len(results))


def score_before_rescoring(result: dict) -> float:
    """What the metric multiplies with the mean of the good key points."""
    scores = points_of(result)[:, 2]
    good = scores[scores > 0.2]
    return result['score'] / good.mean() if len(good) else 0.0


@pytest.mark.parametrize('name', ROWS)
def test_the_settings_of_the_configs(name):
    """Rescoring by key points and OKS suppression, as evaluation runs."""
    metrics = evaluate(name, score_before_rescoring)
    for figure, value in ROWS[name][1].items():
        assert metrics[figure] == pytest.approx(value, abs=FACTS), figure


@pytest.mark.parametrize('name', ROWS)
def test_results_that_are_final_pass_unchanged(name, tmp_path):
    """Neither rescored nor suppressed, every number reaches the evaluator."""
    metrics = evaluate(
        name,
        lambda result: result['score'],
        score_mode='bbox',
        nms_mode='none',
        outfile_prefix=str(tmp_path / 'out'),
    )
    for figure, value in ROWS[name][1].items():
        assert metrics[figure] == pytest.approx(value, abs=FACTS), figure
    written = json.loads((tmp_path / 'out.keypoints.json').read_text())
    read = sorted(results_of(name), key=lambda result: result['score'])
    written.sort(key=lambda result: result['score'])
    assert len(written) == len(read)
    for ours, theirs in zip(written, read):
        np.testing.assert_allclose(points_of(ours), points_of(theirs))
        assert ours['score'] == pytest.approx(theirs['score'])


def test_scores_matter():
    """The figures would show it if scores did not arrive."""
    flat = evaluate('coco', lambda result: 1.0, score_mode='bbox', nms_mode='none')
    assert flat['coco/AP'] < ROWS['coco'][1]['coco/AP'] - 0.01


@pytest.mark.parametrize('settings', [{}, dict(score_mode='bbox', nms_mode='none')])
def test_parts_of_the_whole_body(monkeypatch, settings):
    """The metric reports the whole; each part's AP is what it printed."""
    found = {}

    class Recording(COCOeval):
        def summarize(self):
            super().summarize()
            found[self.params.iouType] = self.stats[0]

    monkeypatch.setattr(coco_wholebody_metric, 'COCOeval', Recording)
    score = score_before_rescoring if not settings else (lambda result: result['score'])
    evaluate('wholebody', score, **settings)
    assert list(found) == [f'keypoints_{part}' for part in PARTS]
    for part, (_, _, value) in PARTS.items():
        assert found[f'keypoints_{part}'] == pytest.approx(value, abs=FACTS)


def run_xtcocotools(name: str, kind: str, sigmas, use_area: bool = True):
    truth = COCO(path(name, 'val'))
    evaluation = COCOeval(truth, truth.loadRes(path(name, 'preds')), kind, sigmas, use_area)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def test_xtcocotools_alone():
    """With the sigmas of the configs' data sets."""
    for name, kind, columns in (
        ('coco', 'keypoints', (0, 1, 2, 5)),
        ('crowdpose', 'keypoints_crowd', (0, 1, 2, 3, 6, 7, 8)),
    ):
        row, figures = ROWS[name]
        sigmas = metainfo_of(load_config(CONFIG.format(row)))['sigmas']
        stats = run_xtcocotools(name, kind, sigmas, name != 'crowdpose')
        assert [stats[c] for c in columns] == pytest.approx(list(figures.values()), abs=FACTS)
    sigmas = metainfo_of(load_config(CONFIG.format('coco-wholebody-256x192')))['sigmas']
    start = 0
    for part, (field, count, value) in PARTS.items():
        own = sigmas[start : start + count] if field else sigmas
        stats = run_xtcocotools('wholebody', f'keypoints_{part}', own)
        assert stats[0] == pytest.approx(value, abs=FACTS)
        start += count
