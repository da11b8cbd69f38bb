"""The metrics of the configs give the values of xtcocotools.

The configs choose the metric, its settings, and the dataset class, which has the keypoints and
sigmas. The metric classes are from MMPose, and compute AP with xtcocotools. xtcocotools is also
called directly, to show whether a difference comes from it or from the configs. The metric of MPII
is tested in test_mpii_metric.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.evaluation.metrics import coco_wholebody_metric
from mmpose.registry import DATASETS, METRICS
from mmpose.utils import register_all_modules
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from pose_backbones.configs import load_config
from tests.helpers.evaluation_cases import FIGURES, PART_APS, PARTS, write_case
from tests.helpers.tools import ROOT

CONFIGS = {'coco': 'coco', 'crowdpose': 'crowdpose', 'wholebody': 'coco-wholebody'}
EXACT = 5e-7  # the figures are written with six decimals


@pytest.fixture(autouse=True, scope='module')
def _mmpose():
    register_all_modules()
    init_default_scope('mmpose')


@pytest.fixture(scope='module')
def cases(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """Case → paths of its results and annotations."""
    folder = tmp_path_factory.mktemp('cases')
    return {name: write_case(name, folder) for name in CONFIGS}


def results_of(files: tuple[str, str]) -> list[dict]:
    return json.loads(Path(files[0]).read_text())


def points_of(result: dict) -> np.ndarray:
    """Return (K, 3): x, y and score of the keypoints of all parts."""
    return np.concatenate(
        [np.reshape(result[field], (-1, 3)) for field in PARTS if field in result]
    )


def config_of(name: str):
    return load_config(
        str(ROOT / f'configs/moganet/td-hm_moganet-s_8xb32-210e_{CONFIGS[name]}-256x192.py')
    )


def metainfo_of(name: str) -> dict:
    return DATASETS.get(config_of(name).val_dataloader.dataset.type)._load_metainfo()


def evaluate(name: str, files: tuple[str, str], box_score, **settings) -> dict:
    """Compute the metric of a config on results, which are passed like outputs of a model.

    Args:
        name: Name of the case.
        files: Paths of the results and annotations of the case.
        box_score: Function that returns the score of the bounding box of a result.
        settings: Settings of the metric that replace those of the config.

    Returns:
        Name → value, without the prefix of the metric.
    """
    metric = METRICS.build({**config_of(name).val_evaluator, 'ann_file': files[1], **settings})
    metric.dataset_meta = metainfo_of(name)
    results = results_of(files)
    for number, result in enumerate(results):
        points = points_of(result)
        sample = dict(
            id=number,
            img_id=result['image_id'],
            category_id=result['category_id'],
            gt_instances=dict(
                bbox_scores=np.array([box_score(result)]),
                bbox_scales=200 * np.array([result['scale']]),
            ),
            pred_instances=dict(keypoints=points[None, :, :2], keypoint_scores=points[None, :, 2]),
        )
        metric.process([], [sample])
    figures = metric.evaluate(len(results))
    return {key.removeprefix(f'{CONFIGS[name]}/'): value for key, value in figures.items()}


def score_before_rescoring(result: dict) -> float:
    """Return the box score, which the metric multiplies by the mean score of the keypoints."""
    scores = points_of(result)[:, 2]
    return result['score'] / scores[scores > 0.2].mean()


def final_score(result: dict) -> float:
    return result['score']


FINAL = dict(score_mode='bbox', nms_mode='none')


@pytest.mark.parametrize('name', CONFIGS)
def test_settings_of_the_configs(cases, name):
    """Results are rescored by their keypoints, and filtered by OKS NMS."""
    metrics = evaluate(name, cases[name], score_before_rescoring)
    values = {figure: metrics[figure] for figure in FIGURES[name]}
    assert values == pytest.approx(FIGURES[name], abs=EXACT)


@pytest.mark.parametrize('name', CONFIGS)
def test_final_results_are_unchanged(cases, name, tmp_path):
    """Without rescoring and NMS, all numbers are passed to the evaluator."""
    metrics = evaluate(
        name, cases[name], final_score, outfile_prefix=str(tmp_path / 'out'), **FINAL
    )
    values = {figure: metrics[figure] for figure in FIGURES[name]}
    assert values == pytest.approx(FIGURES[name], abs=EXACT)
    written = json.loads((tmp_path / 'out.keypoints.json').read_text())
    read = results_of(cases[name])
    assert len(written) == len(read) > 50
    for result_written, result_read in zip(written, read, strict=True):
        np.testing.assert_allclose(points_of(result_written), points_of(result_read))
        assert result_written['score'] == pytest.approx(result_read['score'])


def test_constant_scores_change_ap(cases):
    """AP depends on the scores, so the other tests would fail if scores were lost."""
    metrics = evaluate('coco', cases['coco'], lambda result: 1.0, **FINAL)
    assert metrics['AP'] < FIGURES['coco']['AP'] - 0.01


@pytest.mark.parametrize(
    ('score', 'settings'), [(score_before_rescoring, {}), (final_score, FINAL)]
)
def test_wholebody_parts(cases, monkeypatch, score, settings):
    """The AP of the parts is recorded from the evaluator; the metric returns only the total."""
    values = {}

    class Recording(COCOeval):
        def summarize(self):
            super().summarize()
            values[self.params.iouType.removeprefix('keypoints_')] = self.stats[0]

    monkeypatch.setattr(coco_wholebody_metric, 'COCOeval', Recording)
    evaluate('wholebody', cases['wholebody'], score, **settings)
    assert values == pytest.approx(PART_APS, abs=EXACT)


def stats_of_xtcocotools(files, kind: str, sigmas, use_area: bool = True) -> list[float]:
    truth = COCO(files[1])
    evaluation = COCOeval(truth, truth.loadRes(files[0]), kind, sigmas, use_area)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


@pytest.mark.parametrize(
    ('name', 'kind', 'columns'),
    [
        ('coco', 'keypoints', (0, 1, 2, 5)),
        ('crowdpose', 'keypoints_crowd', (0, 1, 2, 3, 6, 7, 8)),
        ('wholebody', 'keypoints_wholebody', (0,)),
    ],
)
def test_xtcocotools_directly(cases, name, kind, columns):
    """xtcocotools gives the expected values with the sigmas of the datasets."""
    sigmas = metainfo_of(name)['sigmas']
    stats = stats_of_xtcocotools(cases[name], kind, sigmas, name != 'crowdpose')
    assert [stats[column] for column in columns] == pytest.approx(
        list(FIGURES[name].values()), abs=EXACT
    )


def test_xtcocotools_directly_on_parts(cases):
    sigmas = metainfo_of('wholebody')['sigmas']
    ends = np.cumsum(list(PARTS.values()))
    for part, part_sigmas in zip(PART_APS, [*np.split(sigmas, ends[:-1]), sigmas], strict=True):
        stats = stats_of_xtcocotools(cases['wholebody'], f'keypoints_{part}', part_sigmas)
        assert stats[0] == pytest.approx(PART_APS[part], abs=EXACT), part
