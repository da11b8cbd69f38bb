"""Train and test a small MSPN on synthetic people with the tools."""

import re

import pytest

from pose_backbones.synthetic import make_synthetic_coco
from tests.helpers.tools import ROOT, run_tool

pytestmark = pytest.mark.slow

CONFIG = ROOT / 'configs/mspn/td-hm_mspn-2stg_1xb8-demo_synthetic-128x96.py'
STEPS = 120
#: on images that are not in the training set; .30 was measured on two CPU cores
AP = 0.15


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp('people') / 'data'
    make_synthetic_coco(folder, 240, 40, seed=0)
    return folder


@pytest.mark.timeout(900)
def test_small_two_stage_model_reaches_expected_ap(people, tmp_path):
    """Uses the config of the demo with half the width and fewer iterations."""
    done = run_tool(
        'train.py',
        CONFIG,
        '--data-root',
        people,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'model.backbone.base_channels=16',
        'model.backbone.unit_channels=32',
        'model.head.unit_channels=32',
        f'train_cfg.max_iters={STEPS}',
        f'train_cfg.val_interval={STEPS}',
        'optim_wrapper.optimizer.lr=0.005',
        'param_scheduler.0.end=20',
        'param_scheduler.1.begin=20',
        f'param_scheduler.1.end={STEPS}',
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    (reached,) = re.findall(r'coco/AP: ([\d.]+)', done.stdout)
    assert float(reached) > AP, reached
    losses = [float(loss) for loss in re.findall(r'loss_kpt: ([\d.]+)', done.stdout)]
    assert len(losses) == STEPS / 20
    assert losses[-1] < 0.98 * losses[0]
    assert list(tmp_path.glob(f'best_coco_AP_iter_{STEPS}.pth'))
