"""Tests of the tools with ensembles, following docs/ensemble.md with small models."""

import json
import pickle
import re
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import nn

from pose_backbones.cli import flops
from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.errors import CheckpointError, ConfigError
from pose_backbones.inference import fused_test
from tests.helpers.tools import ROOT, run_together

PAGE = (ROOT / 'docs/ensemble.md').read_text()
#: names on the page → replacements in these tests
NAMES = {
    'pose_backbones::moganet/td-hm_moganet-b_8xb32-210e_coco-384x288.py': 'large.py',
    'pose_backbones::uniformer/td-hm_uniformer-b_8xb128-210e_coco-256x192.py': 'small.py',
    'weights/moganet-b.pth': 'large.pth',
    'weights/uniformer-b.pth': 'small.pth',
}


def blocks(language: str) -> list[str]:
    return re.findall(f'```{language}\n(.*?)```', PAGE, re.DOTALL)


@pytest.fixture(scope='module')
def folder(tiny_config, tmp_path_factory):
    """Directory with the config of the page and a tiny MogaNet at 128x96 and at 64x48."""
    register_all_modules()
    folder = tmp_path_factory.mktemp('ensemble')
    (folder / 'large.py').write_text(f"_base_ = '{tiny_config}'\n")
    small = Config.fromfile(str(tiny_config))
    size = dict(input_size=(48, 64))
    small.merge_from_dict(
        {
            'model.head.decoder': dict(size, heatmap_size=(12, 16)),
            'test_dataloader.dataset.pipeline.2': size,
        }
    )
    small.dump(folder / 'small.py')
    for seed, name in enumerate(('large', 'small')):
        torch.manual_seed(seed)
        model = MODELS.build(Config.fromfile(folder / f'{name}.py').model)
        for value in model.head.parameters():
            nn.init.normal_(value, std=0.3)
        torch.save(model.state_dict(), folder / f'{name}.pth')
    text = blocks('python')[0]
    for page_name, replacement in NAMES.items():
        assert page_name in text
        text = text.replace(page_name, str(folder / replacement))
    (folder / 'ensemble.py').write_text(text)
    return folder


def arguments(synthetic, work) -> list[str]:
    """Arguments that all runs of tools/test.py share."""
    return [
        '--data-root',
        str(synthetic),
        '--work-dir',
        str(work),
        '--out',
        str(work / 'metrics.json'),
        '--dump',
        str(work / 'people.pkl'),
    ]


def results(work):
    """Metrics, and instances by ID, of a run."""
    with (work / 'people.pkl').open('rb') as file:
        people = {entry['id']: entry['pred_instances'] for entry in pickle.load(file)}
    return json.loads((work / 'metrics.json').read_text()), people


def evaluate(synthetic, work, config, checkpoint='none', batched=False):
    """Run a test, in which the model decodes the keypoints itself, as ensembles do."""
    is_patched = mock.patch.object(fused_test, 'BatchedEstimator', side_effect=ConfigError)
    with nullcontext() if batched else is_patched:
        test_api.main([str(config), str(checkpoint), *arguments(synthetic, work)])
    return results(work)


@pytest.fixture(scope='module')
def single(folder, synthetic, tmp_path_factory):
    """Results of a run in one process."""
    return evaluate(synthetic, tmp_path_factory.mktemp('single'), folder / 'ensemble.py')


def test_two_processes_give_equal_results(single, folder, synthetic, tmp_path):
    command = ('test.py', folder / 'ensemble.py', 'none', *arguments(synthetic, tmp_path))
    command += ('--launcher', 'pytorch')
    for done in run_together(command, command):
        assert done.returncode == 0, done.stdout
    metrics, people = results(tmp_path)
    assert 'coco/AP' in metrics
    assert metrics == pytest.approx(single[0], abs=1e-6)
    assert len(people) > 8
    assert set(people) == set(single[1])
    for number, person in single[1].items():
        np.testing.assert_allclose(
            people[number]['keypoint_scores'], person['keypoint_scores'], rtol=1e-4, atol=1e-6
        )
    close = [
        np.allclose(people[n]['keypoints'], p['keypoints'], atol=0.05) for n, p in single[1].items()
    ]
    assert np.mean(close) > 0.9  # two equal maxima may be decoded differently


def test_equal_members_give_the_results_of_one_member(folder, synthetic, tmp_path):
    """Two copies of the larger member give bit-identical results."""
    twice = tmp_path / 'twice.py'
    twice.write_text(
        (folder / 'ensemble.py')
        .read_text()
        .replace(str(folder / 'small'), str(folder / 'large'))
        .replace(', weight=2', '')
    )
    metrics, people = evaluate(synthetic, tmp_path / 'twice', twice)
    expected, single_result = evaluate(
        synthetic, tmp_path / 'alone', folder / 'large.py', folder / 'large.pth'
    )
    assert metrics == expected
    for number, person in single_result.items():
        for key in ('keypoints', 'keypoint_scores'):
            np.testing.assert_array_equal(people[number][key], person[key])


MSPN = """
_base_ = '{root}/configs/mspn/td-hm_mspn-1stg_8xb32-96k_coco-256x192.py'

model = dict(
    backbone=dict(
        num_blocks=(1, 1, 1, 1), base_channels=8, unit_channels=8,
        init_cfg=None),
    head=dict(unit_channels=8))
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='val/'),
        bbox_file=None))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file='data/coco/annotations/person_keypoints_val.json')
test_evaluator = val_evaluator
"""
OF_MSPN = """
_base_ = 'mspn.py'
member = dict(config='{folder}/mspn.py', checkpoint='{folder}/mspn.pth')

model = dict(
    _delete_=True,
    type='pose_backbones.HeatmapEnsemble',
    backbone=dict(type='pose_backbones.EnsembleMembers',
                  members=[member] * {count}),
    head=dict(type='HeatmapHead', decoder=_base_.codec))
"""


@pytest.fixture(scope='module')
def mspn(tmp_path_factory):
    """A small MSPN with the 96k config, and ensembles of one and two copies of it.

    The config enlarges boxes by different factors along x and y.
    """
    register_all_modules()
    folder = tmp_path_factory.mktemp('mspn')
    (folder / 'mspn.py').write_text(MSPN.format(root=ROOT))
    for count in (1, 2):
        (folder / f'ensemble{count}.py').write_text(OF_MSPN.format(folder=folder, count=count))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(folder / 'mspn.py').model)
    for value in model.head.parameters():
        nn.init.normal_(value, std=1.2)
    torch.save(model.state_dict(), folder / 'mspn.pth')
    return folder


@pytest.fixture(scope='module')
def mspn_alone(mspn, synthetic, tmp_path_factory):
    """Results of the MSPN itself."""
    return evaluate(
        synthetic, tmp_path_factory.mktemp('alone'), mspn / 'mspn.py', mspn / 'mspn.pth'
    )


@pytest.mark.parametrize('count', [1, 2])
def test_mspn_ensemble_gives_the_results_of_one_member(
    count, mspn, mspn_alone, synthetic, tmp_path
):
    """The results are bit-identical."""
    metrics, people = evaluate(synthetic, tmp_path, mspn / f'ensemble{count}.py')
    expected, single_result = mspn_alone
    if count == 1:
        own, batched = evaluate(
            synthetic, tmp_path / 'batched', mspn / 'mspn.py', mspn / 'mspn.pth', batched=True
        )
        assert own == pytest.approx(expected, abs=1e-6)
        for number, person in single_result.items():
            np.testing.assert_allclose(batched[number]['keypoints'], person['keypoints'], atol=1e-3)
    assert metrics == expected
    assert set(people) == set(single_result)
    assert len(single_result) > 8
    for number, person in single_result.items():
        for key in ('keypoints', 'keypoint_scores'):
            np.testing.assert_array_equal(people[number][key], person[key])
    assert len({person['keypoints'].tobytes() for person in single_result.values()}) == len(
        single_result
    )


@pytest.mark.parametrize('name', ['mspn', 'ensemble1'])
def test_badcase_by_keypoint_loss(name, mspn, synthetic, tmp_path):
    """Without a loss in the head, the loss is in squared pixels of labelled keypoints."""
    checkpoint = 'none' if name != 'mspn' else mspn / 'mspn.pth'
    test_api.main(
        [
            str(mspn / f'{name}.py'),
            str(checkpoint),
            '--badcase',
            '--cfg-options',
            'default_hooks.badcase.badcase_thr=1500',
            *arguments(synthetic, tmp_path),
        ]
    )
    with (tmp_path / 'people.pkl').open('rb') as file:
        people = pickle.load(file)
    errors = []
    for person in people:
        labels, predicted = person['gt_instances'], person['pred_instances']
        error = (labels['keypoints'] - predicted['keypoints']) ** 2
        errors.append((error * labels['keypoints_visible'][..., None]).mean())
    (report,) = tmp_path.glob('*/badcase/results.json')
    cases = json.loads(report.read_text())
    expected = [error for error in errors if error >= 1500]
    assert 0 < len(expected) < len(errors)
    assert sorted(case['KeypointMSELoss'] for case in cases) == pytest.approx(
        sorted(expected), rel=1e-4
    )
    images = list(report.parent.glob('*KeypointMSELoss*.jpg'))
    assert len(images) == len(cases)


@pytest.mark.parametrize(
    ('options', 'measure'),
    [
        ([], dict(type='KeypointMSELoss', use_target_weight=True)),
        (
            ['model.head.loss.type=KeypointMSELoss', 'model.head.loss.loss_weight=3'],
            dict(type='KeypointMSELoss', loss_weight=3),
        ),
        (
            ['model.head.loss.type=pose_backbones.VisibleKeypointsMSELoss'],
            dict(type='KeypointMSELoss', use_target_weight=True),
        ),
        (
            [
                'test_evaluator._delete_=True',
                'test_evaluator.type=PCKAccuracy',
                'default_hooks.badcase.metric_type=accuracy',
            ],
            dict(type='PCKAccuracy'),
        ),
        (['default_hooks.badcase.metric.type=MPJPELoss'], dict(type='MPJPELoss')),
    ],
)
def test_badcase_metric(options, measure, mspn, tmp_path):
    args = test_api.parse_args(
        [
            str(mspn / 'mspn.py'),
            'x.pth',
            '--badcase',
            '--work-dir',
            str(tmp_path),
            *(['--cfg-options', *options] if options else []),
        ]
    )
    cfg = Config.fromfile(mspn / 'mspn.py')
    test_api.merge_test_options(cfg, args)
    assert cfg.default_hooks.badcase.enable is True
    assert cfg.default_hooks.badcase.metric == measure


def test_badcase_requires_a_metric_of_single_instances(mspn, tmp_path):
    with pytest.raises(
        ConfigError,
        match=(
            r"metric_type='accuracy' .* test_evaluator is CocoMetric: "
            r"set default_hooks.badcase.metric=dict\(type='PCKAcc"
        ),
    ):
        test_api.main(
            [
                str(mspn / 'ensemble1.py'),
                'none',
                '--badcase',
                '--work-dir',
                str(tmp_path),
                '--cfg-options',
                'default_hooks.badcase.metric_type=accuracy',
            ]
        )


def test_training_raises_before_files_are_read(folder, tmp_path):
    """Data and checkpoints of the members need not exist."""
    config = tmp_path / 'ensemble.py'
    config.write_text((folder / 'ensemble.py').read_text().replace('.pth', '-missing.pth'))
    with pytest.raises(
        ConfigError,
        match=(
            'ensemble.py: model.type is pose_backbones.HeatmapEnsemble, and '
            'an ensemble cannot be trained: train each member'
        ),
    ):
        train_api.main(
            [
                str(config),
                '--work-dir',
                str(tmp_path / 'work'),
                '--data-root',
                str(tmp_path / 'missing'),
            ]
        )
    assert not (tmp_path / 'work').exists()


def test_inferencer_gives_the_results_of_the_tool(single, folder, synthetic):
    """Run the Python code of the page on the annotated boxes."""
    lines = blocks('python')[1]
    people = json.loads((synthetic / 'annotations/person_keypoints_val.json').read_text())
    person = next(person for person in people['annotations'] if person['id'] in single[1])
    name = next(
        image['file_name'] for image in people['images'] if image['id'] == person['image_id']
    )
    lines = lines.replace('ensemble.py', str(folder / 'ensemble.py'))
    lines = lines.replace("'image.jpg'", f"'{synthetic}/val/{name}', [box], bbox_format='xywh'")
    namespace = dict(box=person['bbox'])
    exec(lines, namespace)
    instances = namespace['people'][0].pred_instances
    # The box is float64 here and float32 in the dataset.
    np.testing.assert_allclose(
        instances.keypoint_scores, single[1][person['id']]['keypoint_scores'], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(instances.keypoints, single[1][person['id']]['keypoints'], atol=0.05)


def test_flops(folder, capsys):
    flops.main([str(folder / 'ensemble.py')])
    printed = capsys.readouterr().out
    assert 'Input: 128x96' in printed
    params = sum(
        flops.measure(Config.fromfile(folder / name), shape)[1]
        for name, shape in (('large.py', (128, 96)), ('small.py', (64, 48)))
    )
    assert f'Params: {params / 1e6:.2f} M' in printed
    assert params > 20000


@pytest.mark.parametrize(
    ('config', 'checkpoint', 'options', 'kind', 'text'),
    [
        (
            'ensemble.py',
            'large.pth',
            [],
            CheckpointError,
            'large.pth: the config of an ensemble contains the checkpoints .*: expected none',
        ),
        (
            'large.py',
            'none',
            [],
            CheckpointError,
            'CHECKPOINT is none, .* for ensembles: expected a checkpoint of TopdownPoseEstimator',
        ),
        (
            'ensemble.py',
            'none',
            ['--non-strict'],
            ConfigError,
            '--non-strict: the members of an ensemble always load strictly',
        ),
        (
            'ensemble.py',
            'none',
            ['--cfg-options', 'test_dataloader.dataset.pipeline.1.padding=1.0'],
            ConfigError,
            'crops are 1.0000 x 1.0000 times the bounding box .*large.py needs '
            '1.1000 x 1.1000 times: set padding to at least 1.1$',
        ),
        (
            'ensemble.py',
            'none',
            ['--cfg-options', 'model.head.decoder.type=MSRAHeatmap'],
            ConfigError,
            'use_udp=True, but model.head.decoder is MSRAHeatmap with input_size',
        ),
        (
            'ensemble.py',
            'none',
            ['--cfg-options', 'model.backbone.members.1.weight=-1'],
            ConfigError,
            r'members\[1\] has weight=-1',
        ),
        (
            'ensemble.py',
            'none',
            ['--cfg-options', 'model.backbone.members.1.checkpoint=smal.pth'],
            CheckpointError,
            'checkpoint not found: smal.pth',
        ),
        (
            'ensemble.py',
            'none',
            ['--cfg-options', 'model.backbone.members.1.config=smal.py'],
            ConfigError,
            'config not found: smal.py',
        ),
    ],
)
def test_mismatches_raise_before_the_run(
    config, checkpoint, options, kind, text, folder, synthetic, tmp_path, monkeypatch
):
    monkeypatch.setattr(PoseRunner, 'test', None)
    if checkpoint != 'none':
        checkpoint = folder / checkpoint
    with pytest.raises(kind, match=text):
        test_api.main(
            [
                str(folder / config),
                str(checkpoint),
                '--data-root',
                str(synthetic),
                '--work-dir',
                str(tmp_path),
                *options,
            ]
        )
