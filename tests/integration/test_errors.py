"""Tests of user errors: one message, exit status 2, and no lost files."""

import json
import os
import pickle
import re
import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmpose.datasets.transforms import common_transforms

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import flops as flops_api
from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api
from pose_backbones.engine.runner import load_dataset
from pose_backbones.errors import DatasetError
from pose_backbones.structures import coco_checker
from tests.helpers.hostile_images import png
from tests.helpers.tools import run_tool


@pytest.fixture
def fail_training(fail, tiny_config, synthetic, tmp_path):
    """Function that trains with changed config entries, which must fail; returns the error line."""

    def run(*overrides: str) -> str:
        options = ['--data-root', synthetic, '--work-dir', tmp_path / 'work']
        return fail(train_api.main, tiny_config, *options, '--cfg-options', *overrides)

    return run


def test_missing_data_set_in_a_new_process(root, tmp_path):
    name = 'td-hm_moganet-s_8xb32-210e_coco-256x192.py'
    done = run_tool(
        'train.py',
        root / 'configs/moganet' / name,
        '--data-root',
        tmp_path / 'nothing',
        '--work-dir',
        tmp_path / 'work',
    )
    assert done.returncode == 2
    errors = [line for line in done.stdout.splitlines() if 'rror' in line]
    assert len(errors) == 1
    assert errors[0].startswith(
        'error: train annotations not found: '
        f'{tmp_path}/nothing/annotations/person_keypoints_train2017.json.'
    )
    for hint in ('cocodataset.org', 'make_synthetic_coco.py', '--data-root'):
        assert hint in errors[0]
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(
    ('missing', 'message'),
    [
        ('train', 'train images not found: there is no folder .*/data/train'),
        ('annotations/person_keypoints_val.json', 'val annotations not found'),
    ],
)
def test_missing_parts_of_a_data_set(fail, tiny_config, data, tmp_path, missing, message):
    path = data / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    line = fail(train_api.main, tiny_config, '--data-root', data, '--work-dir', tmp_path / 'work')
    assert re.search(message, line)
    assert not (tmp_path / 'work').exists()


def test_missing_detections(fail, tiny_config, synthetic, weights):
    line = fail(
        test_api.main,
        tiny_config,
        weights,
        '--data-root',
        synthetic,
        '--cfg-options',
        'test_dataloader.dataset.bbox_file=none.json',
    )
    assert 'test detections not found: none.json' in line
    assert "test_dataloader.dataset.bbox_file=''" in line


def test_missing_head_boxes(fail, tiny_config, synthetic, weights):
    line = fail(
        test_api.main,
        tiny_config,
        weights,
        '--data-root',
        synthetic,
        '--cfg-options',
        'test_dataloader.dataset.headbox_file=none.mat',
    )
    assert 'test head boxes not found: none.mat' in line


def test_detections_of_other_images(fail, tiny_config, synthetic, weights, tmp_path):
    boxes = tmp_path / 'boxes.json'
    good = dict(image_id=2, category_id=1, bbox=[1, 1, 9, 9], score=1)
    for content, message in (
        (
            json.dumps([good, {**good, 'image_id': 424242}]),
            'detection at index 1, of image 424242, has the image_id 424242: expected the id of',
        ),
        ('{}', 'is not a COCO detections file: expected a list of objects with'),
        ('[]', 'has no detections, so there is nothing to predict'),
        ('[{', 'cannot read the detections'),
    ):
        boxes.write_text(content)
        line = fail(
            test_api.main,
            tiny_config,
            weights,
            '--data-root',
            synthetic,
            '--cfg-options',
            f'test_dataloader.dataset.bbox_file={boxes}',
        )
        assert str(boxes) in line
        assert message in line


def test_missing_checkpoint_lists_similar_files(fail, tiny_config, weights, synthetic):
    line = fail(
        test_api.main, tiny_config, weights.with_name('weihts.pth'), '--data-root', synthetic
    )
    assert 'checkpoint not found' in line
    assert 'did you mean weights.pth?' in line


def test_truncated_checkpoint_in_a_new_process(tiny_config, weights, synthetic, tmp_path):
    half = tmp_path / 'half.pth'
    content = weights.read_bytes()
    half.write_bytes(content[: len(content) // 2])
    out = tmp_path / 'metrics.json'
    done = run_tool(
        'test.py',
        tiny_config,
        half,
        '--data-root',
        synthetic,
        '--out',
        out,
        '--work-dir',
        tmp_path / 'work',
    )
    assert done.returncode == 2
    assert f'error: checkpoint unreadable: {half} (' in done.stdout
    assert 'is truncated or damaged: ' in done.stdout
    assert 'Traceback' not in done.stdout
    assert not out.exists()


def test_checkpoint_of_another_model(fail, tiny_config, weights, synthetic, tmp_path):
    content = read_checkpoint(weights)['state_dict']
    content['backbone.extra'] = torch.ones(1)
    name = 'backbone.patch_embed1.projection.0.weight'
    content[name] = content[name][:2]
    del content['head.final_layer.bias']
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': content}, other)
    arguments = (tiny_config, other, '--data-root', synthetic, '--work-dir', tmp_path / 'work')
    line = fail(test_api.main, *arguments)
    assert 'is not a checkpoint of this model' in line
    for part in (
        '1 missing key: head.final_layer.bias',
        '1 unexpected key: backbone.extra',
        f'1 key with a mismatched shape: {name} is (2, 3, 3, 3) in the file',
        '--non-strict',
    ):
        assert part in line


def test_non_strict_loads_matching_keys_and_logs_the_others(
    tiny_config, weights, synthetic, tmp_path
):
    content = read_checkpoint(weights)['state_dict']
    content['backbone.extra'] = torch.ones(1)
    content.pop('head.final_layer.bias')
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': content}, other)
    work = tmp_path / 'work'
    test_api.main(
        [
            str(a)
            for a in (
                tiny_config,
                other,
                '--data-root',
                synthetic,
                '--work-dir',
                work,
                # A separate logger, since MMEngine names loggers by the second.
                '--non-strict',
                '--cfg-options',
                'experiment_name=non_strict',
            )
        ]
    )
    log = next(work.glob('*/*.log')).read_text()
    assert 'unexpected key: backbone.extra' in log
    assert 'missing key: head.final_layer.bias' in log


def test_non_strict_requires_matching_keys(fail, tiny_config, synthetic, tmp_path):
    path = tmp_path / 'alien.pth'
    torch.save({'state_dict': {'a.b': torch.ones(1)}}, path)
    line = fail(
        test_api.main,
        tiny_config,
        path,
        '--data-root',
        synthetic,
        '--non-strict',
        '--work-dir',
        tmp_path / 'work',
    )
    assert '0 of ' in line


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, 'no weights in the checkpoint'),
        ([1, 2], 'holds a list, not a checkpoint'),
        ({'optimizer': {'lr': 1}}, 'it has the keys optimizer'),
    ],
)
def test_files_without_weights(fail, tiny_config, synthetic, tmp_path, content, message):
    path = tmp_path / 'strange.pth'
    torch.save(content, path)
    line = fail(
        test_api.main, tiny_config, path, '--data-root', synthetic, '--work-dir', tmp_path / 'work'
    )
    assert message in line


@pytest.mark.parametrize(
    ('option', 'place', 'near'),
    [
        ('model.backbone.type=MogaNett', 'model.backbone: unknown model', 'pose_backbones.MogaNet'),
        ('model.head.type=HeatMapHead', 'model.head: unknown model', 'HeatmapHead'),
        (
            'model.head.decoder.type=MSRAHeatMaps',
            'model.head.decoder: unknown keypoint codec',
            'MSRAHeatmap',
        ),
        (
            'train_dataloader.dataset.type=CocoDataSets',
            'train_dataloader.dataset: unknown dataset',
            'CocoDataset',
        ),
        ('val_evaluator.type=CocoMetrik', 'val_evaluator: unknown metric', 'CocoMetric'),
        (
            'optim_wrapper.optimizer.type=Adamm',
            'optim_wrapper.optimizer: unknown optimizer',
            'Adam',
        ),
        (
            'optim_wrapper.constructor=DefaultOptimWrapperConstructer',
            'optim_wrapper.constructor: unknown optimizer wrapper constructor',
            'DefaultOptimWrapperConstructor',
        ),
        (
            'param_scheduler.0.type=LinearLRs',
            'param_scheduler: unknown parameter scheduler',
            'LinearLR',
        ),
        ('default_hooks.logger.type=LogerHook', 'default_hooks.logger: unknown hook', 'LoggerHook'),
    ],
)
def test_unknown_names_show_suggestions(fail_training, tmp_path, option, place, near):
    line = fail_training(option)
    assert place in line
    assert 'did you mean' in line
    assert near in line
    assert not (tmp_path / 'work').exists()


def test_unknown_model_argument(fail_training):
    line = fail_training('model.backbone.frozen_stages=9')
    assert 'cannot be built' in line
    assert 'frozen_stages is 9: expected -1 (none)' in line


ALBUMENTATION = """
step = dict(type='Albumentation', transforms=[dict(type='Blur', p=1.0)])
train_dataloader = dict(dataset=dict(pipeline=[step]))
"""
OPERATOR = """
custom_imports = dict(imports=['missing_operator'])
model = dict(neck=dict(type='MissingOperator'))
"""
MISSING_OPERATOR = """
import torch
from mmcv.ops import Correlation
from mmpose.registry import MODELS

@MODELS.register_module(force=True)
class MissingOperator(torch.nn.Module):
    def forward(self, maps):
        return [Correlation()(maps[-1], maps[-1])]
"""


@pytest.mark.parametrize(
    ('addition', 'message'),
    [
        (ALBUMENTATION, 'requires albumentations .*: pip install albumentations==2.0.8'),
        (
            "custom_imports = dict(imports=['some_package'])",
            "config unreadable: .*ModuleNotFoundError: No module named 'some_package'",
        ),
        (
            "model = dict(backbone=dict(_delete_=True, type='mmdet.ResNet', depth=18, "
            "dcn=dict(type='DCNv2'), stage_with_dcn=(True,) * 4))",
            'config.py cannot be built: AssertionError: Not implemented yet',
        ),
        (
            "model = dict(_delete_=True, type='DWPoseDistiller', teacher_cfg='configs/none.py', "
            "student_cfg='configs/none.py')",
            'config.py: model.teacher_cfg is configs/none.py, which does not exist',
        ),
        (OPERATOR, "the operator 'correlation_forward' requires mmcv's compiled extension"),
    ],
)
def test_missing_packages_and_operators(
    fail, tiny_config, synthetic, tmp_path, monkeypatch, addition, message
):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'albumentations', None)
    monkeypatch.setattr(common_transforms, 'albumentations', None)
    (tmp_path / 'missing_operator.py').write_text(MISSING_OPERATOR)
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(tiny_config)!r}\n{addition}')
    arguments = ('--data-root', synthetic, '--work-dir', tmp_path / 'work')
    assert re.search(message, fail(train_api.main, config, *arguments))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({}, 'no person is annotated in a.npz$'),
        ({'seq_len': 27}, 'no video of 27 frames in a.npz'),
        ({'seq_len': 1, 'multiple_target': 243}, 'no video of 243 frames in a.npz'),
        ({'sample_interval': 1000}, 'no person is left in a.npz with sample_interval=1000$'),
        (
            {'filter_cfg': {'bbox_score_thr': 2}},
            "no person is left in a.npz with filter_cfg={'bbox_score_thr': 2}$",
        ),
    ],
)
def test_empty_datasets(settings, message):
    """Datasets of 3D lifters, such as MotionBERT, omit videos that are too short."""

    class Runner:
        cfg = Config(dict(train_dataloader=dict(dataset=dict(ann_file='a.npz', **settings))))

        @property
        def train_loop(self):
            return np.concatenate([])

    with pytest.raises(DatasetError, match=f'the train data is empty: {message}'):
        load_dataset(Runner(), 'train')


def test_unsupported_image_size_of_the_backbone(fail, tiny_config, synthetic, weights, tmp_path):
    config = tmp_path / 'patches.py'
    config.write_text(
        f'_base_ = {str(tiny_config)!r}\n'
        "model = dict(backbone=dict(_delete_=True, type='pose_backbones."
        "TimmBackbone', model_name='vit_tiny_patch16_224', "
        'img_size=(64, 64), model_args=dict(depth=3, embed_dim=48)), '
        'head=dict(in_channels=48))\n'
    )
    line = fail(train_api.main, config, '--data-root', synthetic, '--work-dir', tmp_path / 'work')
    assert 'the input of 128x96' in line
    assert 'does not fit the model' in line
    assert not list((tmp_path / 'work').glob('*.pth'))
    line = fail(flops_api.main, config, '--shape', '50', '64')
    assert 'cannot take an image of 50x64' in line


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            '{}_dataloader.dataset.pipeline.{}.input_size=(64,64)',
            'input_size is (64, 64), but input_size of model.head.decoder is (96, 128)',
        ),
        (
            'model.head.decoder.heatmap_size=(48,64)',
            'encoder.heatmap_size is (24, 32), but heatmap_size of model.head.decoder is (48, 64)',
        ),
    ],
)
def test_pipeline_and_decoder_sizes_differ(
    fail_training, fail, tiny_config, synthetic, weights, tmp_path, option, message
):
    config = Config.fromfile(str(tiny_config))
    steps = [step.type for step in config.train_pipeline]
    line = fail_training(option.format('train', steps.index('TopdownAffine')))
    number = steps.index('TopdownAffine' if 'input' in option else 'GenerateTarget')
    assert f'train_dataloader.dataset.pipeline[{number}].' in line
    assert message in line
    assert not list((tmp_path / 'work').glob('*.pth'))
    if 'input' in option:
        steps = [step.type for step in config.val_pipeline]
        line = fail(
            test_api.main,
            tiny_config,
            weights,
            '--data-root',
            synthetic,
            '--work-dir',
            tmp_path / 'work',
            '--cfg-options',
            option.format('test', steps.index('TopdownAffine')),
        )
        assert message in line


def test_too_few_kernel_sizes_for_the_units(fail, root, synthetic, tmp_path):
    name = 'td-hm_mspn-2stg_1xb8-demo_synthetic-128x96.py'
    line = fail(
        train_api.main,
        root / 'configs/mspn' / name,
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        'train_dataloader.dataset.pipeline.5.encoder.kernel_sizes=(9,5)',
    )
    assert 'encoder.kernel_sizes is (9, 5): expected at least 5 sizes' in line
    assert not list((tmp_path / 'work').glob('*.pth'))


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        (
            'td-hm_moganet-s_8xb32-210e_coco-256x193.py',
            'td-hm_moganet-s_8xb32-210e_coco-256x192.py',
        ),
        ('qqq.py', ''),
    ],
)
def test_missing_config(fail, root, name, hint):
    line = fail(train_api.main, root / 'configs/moganet' / name)
    assert f'config not found: {root}/configs/moganet/{name}' in line
    assert hint in line


def test_broken_config(fail, tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text('model = dict(\n')
    assert f'config unreadable: {path} (SyntaxError' in fail(train_api.main, path)


def test_wrong_number_of_keypoints_of_the_model(fail_training, tmp_path):
    line = fail_training('model.head.out_channels=16')
    assert 'the model predicts 16 keypoints' in line
    assert 'has 17' in line
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_wrong_number_of_keypoints_of_the_data(fail, tiny_config, data, tmp_path):
    path = data / 'annotations/person_keypoints_train.json'
    content = json.loads(path.read_text())
    for person in content['annotations']:
        person['keypoints'] = person['keypoints'][:-3]
    arguments = (tiny_config, '--data-root', data, '--work-dir', tmp_path / 'work')
    path.write_text(json.dumps(content))
    line = fail(train_api.main, *arguments)
    assert 'has 48 numbers in keypoints' in line
    assert 'expected 51, three for each of the 17 keypoints of the category' in line
    content['categories'][0]['keypoints'].pop()
    for person in content['annotations']:
        person['num_keypoints'] = sum(label > 0 for label in person['keypoints'][2::3])
    path.write_text(json.dumps(content))
    line = fail(train_api.main, *arguments)
    assert 'has 16 keypoints per person' in line
    assert 'but CocoDataset has 17' in line


def test_empty_combined_data_set(fail, tiny_config, synthetic, tmp_path):
    config = tmp_path / 'combined.py'
    combined = "dict(type='CombinedDataset', metainfo={}, datasets=[], _delete_=True)"
    config.write_text(
        f'_base_ = {str(tiny_config)!r}\ntrain_dataloader = dict(dataset={combined})\n'
    )
    options = ['--data-root', synthetic, '--work-dir', tmp_path / 'work']
    line = fail(train_api.main, config, *options)
    assert 'train_dataloader.dataset.datasets is empty: expected at least one dataset' in line


def test_empty_data_set(fail, tiny_config, data, tmp_path):
    path = data / 'annotations/person_keypoints_train.json'
    content = json.loads(path.read_text())
    content['annotations'] = []
    path.write_text(json.dumps(content))
    line = fail(train_api.main, tiny_config, '--data-root', data, '--work-dir', tmp_path / 'work')
    assert 'is empty: no person is annotated' in line


@pytest.mark.parametrize(
    ('workers', 'damage'),
    [(0, 'missing'), (1, 'missing'), (0, 'text'), (1, 'text'), (1, 'fifo'), (0, 'wide')],
)
def test_unreadable_image(fail, tiny_config, data, weights, tmp_path, workers, damage, monkeypatch):
    # The images are read before the test as well, but not all images of a large dataset.
    monkeypatch.setattr(coco_checker, 'check_image_files', lambda *_: [])
    from xtcocotools.coco import COCO

    coco = COCO(str(data / 'annotations/person_keypoints_val.json'))
    person = next(a for a in coco.anns.values() if a['num_keypoints'])
    path = data / 'val' / coco.imgs[person['image_id']]['file_name']
    path.unlink()
    if damage == 'text':
        path.write_text('not an image')
    elif damage == 'fifo':
        os.mkfifo(path)
    elif damage == 'wide':
        path.write_bytes(png(40000, 8))
    line = fail(
        test_api.main,
        tiny_config,
        weights,
        '--data-root',
        data,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        f'test_dataloader.num_workers={workers}',
    )
    what = {
        'missing': 'there is no such file',
        'text': 'not a format that OpenCV supports',
        'fifo': 'it is a named pipe (FIFO)',
    }
    if damage == 'wide':
        assert f'cannot use the image {path}: it has 40000 x 8' in line
    else:
        assert f'cannot read the image {path}: {what[damage]}' in line


def test_images_are_checked_before_the_test(fail, tiny_config, data, weights, tmp_path):
    (data / 'val/000000000002.jpg').write_text('not an image')
    line = fail(
        test_api.main, tiny_config, weights, '--data-root', data, '--work-dir', tmp_path / 'work'
    )
    assert "image 2 ('000000000002.jpg') has a file that cannot be read (" in line
    assert 'person_keypoints_val.json' in line


def _pretend_run(folder, config):
    folder.mkdir()
    (folder / config).write_text("launcher = 'none'\nmodel = dict()\nwork_dir = 'w'\n")
    (folder / 'iter_4.pth').write_bytes(b'kept')


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        ('other.py', (), 'contains a run of another config, other.py'),
        ('other.py', ('--resume',), 'contains a run of another config'),
        ('tiny.py', (), 'Continue it with --resume'),
        ('tiny.py', ('--resume',), 'whose saved config has another model or cannot'),
    ],
)
def test_work_dir_with_an_earlier_run(
    fail, tiny_config, synthetic, tmp_path, config, options, message
):
    work = tmp_path / 'work'
    _pretend_run(work, config)
    line = fail(train_api.main, tiny_config, '--data-root', synthetic, '--work-dir', work, *options)
    assert message in line
    assert '--overwrite' in line
    assert (work / 'iter_4.pth').read_bytes() == b'kept'
    assert sorted(p.name for p in work.iterdir()) == sorted(['iter_4.pth', config])


def test_work_dir_that_is_a_file(fail, tiny_config, synthetic, tmp_path):
    (tmp_path / 'work').write_text('')
    line = fail(
        train_api.main, tiny_config, '--data-root', synthetic, '--work-dir', tmp_path / 'work'
    )
    assert 'is a file: expected a directory' in line


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--out', 'results.txt'), '--out results.txt: expected a file name'),
        (('--dump', 'p.json'), '--dump p.json: expected a file name that ends with'),
        (('--eval', 'PCKh'), '--eval PCKh: the config has no such metric, only CocoMetric'),
    ],
)
def test_invalid_options(fail, tiny_config, weights, synthetic, options, message):
    line = fail(test_api.main, tiny_config, weights, '--data-root', synthetic, *options)
    assert message in line


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_without_a_gpu(fail, tiny_config, weights):
    for arguments in ((train_api.main, tiny_config), (test_api.main, tiny_config, weights)):
        line = fail(*arguments, '--amp')
        assert '--amp: mixed precision needs a GPU' in line


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_mixed_precision_on_a_gpu(tiny_config, weights, synthetic, tmp_path):
    """Scores change, but only slightly."""
    scores = []
    for name, options in (('full', ()), ('half', ('--amp',))):
        dump = tmp_path / f'{name}.pkl'
        test_api.main(
            [
                str(a)
                for a in (
                    tiny_config,
                    weights,
                    '--data-root',
                    synthetic,
                    '--work-dir',
                    tmp_path / name,
                    '--dump',
                    dump,
                    *options,
                )
            ]
        )
        with dump.open('rb') as file:
            scores.append(
                np.array(
                    [entry['pred_instances']['keypoint_scores'] for entry in pickle.load(file)]
                )
            )
    assert 0 < abs(scores[0] - scores[1]).max() < 0.05 * abs(scores[0]).max()


def test_resuming_from_weights_only(fail, tiny_config, weights, synthetic, tmp_path):
    line = fail(
        train_api.main,
        tiny_config,
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--resume',
        weights,
    )
    assert 'contains weights but no training state' in line


def test_data_root_requires_data_root_in_the_config(fail, tmp_path):
    path = tmp_path / 'bare.py'
    path.write_text('model = dict()\n')
    line = fail(train_api.main, path, '--data-root', tmp_path)
    assert "the config has no top-level 'data_root'" in line


def test_data_root_requires_paths_with_the_old_data_root(fail, tiny_config, tmp_path):
    config = tmp_path / 'elsewhere.py'
    config.write_text(f"_base_ = {str(tiny_config)!r}\ndata_root = 'none'\n")
    line = fail(train_api.main, config, '--data-root', tmp_path)
    assert f'--data-root {tmp_path}: no path of the config starts with its data_root, none/' in line


def test_resume_and_overwrite_exclude_each_other(fail, tiny_config):
    line = fail(train_api.main, tiny_config, '--resume', '--overwrite')
    assert '--resume and --overwrite exclude each other' in line


@pytest.mark.parametrize('option', ['--load-from', 'init_cfg'])
def test_overwrite_keeps_the_initial_weights(
    fail, tiny_config, synthetic, weights, tmp_path, option
):
    work = tmp_path / 'work'
    work.mkdir()
    start = shutil.copy(weights, work / 'iter_4.pth')
    content = weights.read_bytes()
    options = ['--load-from', start]
    config = tiny_config
    if option == 'init_cfg':
        config, options = tmp_path / 'start.py', []
        config.write_text(
            f'_base_ = {str(tiny_config)!r}\nmodel = dict(backbone=dict('
            f"init_cfg=dict(_delete_=True, type='Pretrained', "
            f'checkpoint={str(start)!r})))'
        )
    line = fail(
        train_api.main,
        config,
        '--data-root',
        synthetic,
        '--work-dir',
        work,
        '--overwrite',
        *options,
    )
    assert f'--overwrite would remove {start}' in line
    assert start.read_bytes() == content


def test_overwrite_removes_the_earlier_run(tiny_config, synthetic, tmp_path):
    work = tmp_path / 'work'
    _pretend_run(work, 'other.py')
    (work / 'last_checkpoint').write_text('iter_4.pth')
    (work / 'notes.txt').write_text('mine')
    (work / 'notes.py').write_text('mine = 1')
    train_api.main(
        [
            str(a)
            for a in (
                tiny_config,
                '--data-root',
                synthetic,
                '--work-dir',
                work,
                '--overwrite',
                '--no-validate',
                '--cfg-options',
                'train_cfg.max_iters=2',
            )
        ]
    )
    names = {p.name for p in work.iterdir() if p.is_file()}
    assert names == {'iter_2.pth', 'last_checkpoint', 'tiny.py', 'notes.txt', 'notes.py'}


def test_option_names_of_mmpose_0_x(tiny_config, weights, synthetic, tmp_path):
    content = read_checkpoint(weights)['state_dict']
    old = {name.replace('head.', 'keypoint_head.', 1): value for name, value in content.items()}
    torch.save({'state_dict': old}, tmp_path / 'old.pth')
    results = []
    for path in (weights, tmp_path / 'old.pth'):
        out = tmp_path / 'metrics.yml'
        test_api.main(
            [
                str(a)
                for a in (
                    tiny_config,
                    path,
                    '--data-root',
                    synthetic,
                    '--work-dir',
                    tmp_path / path.stem,
                    '--out',
                    out,
                    '--dump',
                    tmp_path / f'{path.stem}.pkl',
                )
            ]
        )
        results.append(yaml.safe_load(out.read_text()))
        with (tmp_path / f'{path.stem}.pkl').open('rb') as file:
            results.append(pickle.load(file)[0]['pred_instances'])
    assert results[0] == results[2]
    assert (results[1]['keypoints'] == results[3]['keypoints']).all()


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('slurm', 'the environment variable SLURM_PROCID is not set'),
        ('mpi', 'the environment variable OMPI_COMM_WORLD_RANK is not set'),
        ('pytorch', 'was not started by torchrun'),
    ],
)
def test_launcher_without_environment_variables(
    fail, tiny_config, synthetic, tmp_path, monkeypatch, name, expected
):
    for variable in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(variable, raising=False)
    line = fail(
        train_api.main,
        tiny_config,
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--launcher',
        name,
    )
    assert expected in line


def merged(config, *options: str) -> Config:
    cfg = Config.fromfile(str(config))
    train_api.merge_train_options(
        cfg, train_api.parse_args([str(config), '--cfg-options', *options])
    )
    return cfg


def test_cfg_options_of_the_codec_change_its_copies(tiny_config):
    before = Config.fromfile(str(tiny_config))
    cfg = merged(tiny_config, 'codec.sigma=9', 'model.head.decoder.blur_kernel_size=7')
    encoder = cfg.train_dataloader.dataset.pipeline[4].encoder
    assert encoder == dict(before.codec, sigma=9)
    assert cfg.model.head.decoder == dict(before.codec, sigma=9, blur_kernel_size=7)
    assert (before.codec.sigma, before.codec.blur_kernel_size) == (4 / 3, 5)
    assert cfg.val_dataloader == before.val_dataloader

    cfg = merged(tiny_config, 'codec.input_size=[192,256]', 'codec.heatmap_size=[48,64]')
    for split in ('train', 'val', 'test'):
        (step,) = (
            step
            for step in cfg[f'{split}_dataloader'].dataset.pipeline
            if step['type'] == 'TopdownAffine'
        )
        assert step['input_size'] == [192, 256]
    assert cfg.model.head.decoder == cfg.codec

    cfg = merged(tiny_config, 'codec.type=MegviiHeatmap', 'codec.sigma=2')
    assert {cfg.codec.type, cfg.model.head.decoder.type} == {'MegviiHeatmap'}


def test_cfg_options_of_a_pipeline_change_its_copies(tiny_config, fail, tmp_path):
    before = Config.fromfile(str(tiny_config))
    (name,) = (
        key
        for key, value in before.items()
        if key.endswith('_pipeline') and value == before.train_dataloader.dataset.pipeline
    )
    cfg = merged(tiny_config, f'{name}.0.to_float32=True', 'codec.sigma=9')
    assert cfg.train_dataloader.dataset.pipeline[0].to_float32 is True
    assert cfg.train_dataloader.dataset.pipeline[4].encoder.sigma == 9
    assert cfg.val_dataloader == before.val_dataloader
    config = tmp_path / 'other.py'
    config.write_text(f"_base_ = '{tiny_config}'\nother_pipeline = [dict(type='LoadImage')]\n")
    line = fail(train_api.main, config, '--cfg-options', 'other_pipeline.0.to_float32=True')
    assert '--cfg-options other_pipeline: no dataset has this pipeline' in line


def test_cfg_options_of_a_codec_without_copies(tiny_config, fail, tmp_path):
    config = tmp_path / 'other.py'
    config.write_text(
        f"_base_ = '{tiny_config}'\n"
        "codec = dict(type='UDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.0)\n"
    )
    line = fail(train_api.main, config, '--cfg-options', 'codec.sigma=9')
    assert '--cfg-options codec.sigma: the model and the pipelines have another codec' in line
    assert 'set model.head.decoder' in line


def test_cfg_options_set_entries_of_none(tiny_config):
    """As an error message of a backbone advises; init_cfg is None in the config."""
    args = train_api.parse_args(
        [
            str(tiny_config),
            '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            'model.backbone.init_cfg.checkpoint=x.pth',
        ]
    )
    cfg = Config.fromfile(str(tiny_config))
    assert cfg.model.backbone.init_cfg is None
    train_api.merge_train_options(cfg, args)
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='x.pth')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('a=1,2', [1, 2]),
        ('a=[0,3]', [0, 3]),
        ('a="[(1,2),x]"', [(1, 2), 'x']),
        ('a=b=c', 'b=c'),
        (
            "a=[dict(type='LinearLR', end=5), {'type': 'X'}]",
            [dict(type='LinearLR', end=5), dict(type='X')],
        ),
        ('a=dict(b=[1, -2.5], c=None)', dict(b=[1, -2.5], c=None)),
        ("a={'b': (1, 2)}", dict(b=(1, 2))),
    ],
)
def test_values_of_cfg_options(tiny_config, text, value):
    args = train_api.parse_args([str(tiny_config), '--cfg-options', text])
    assert args.cfg_options == {'a': value}


@pytest.mark.parametrize(
    'option', ['a=[dict(type=LinearLR)]', 'a=[{"b": 1}', 'a=[1,2', "a=[dict(b=open('x'))]"]
)
def test_values_of_cfg_options_that_cannot_be_read(tiny_config, fail, option):
    line = fail(train_api.main, tiny_config, '--cfg-options', option)
    assert f'--cfg-options {option}: the value cannot be read (' in line


def test_deterministic_option(tiny_config):
    cfg = Config.fromfile(str(tiny_config))
    train_api.merge_train_options(cfg, train_api.parse_args([str(tiny_config), '--deterministic']))
    assert cfg.randomness.deterministic


@pytest.mark.parametrize(
    'option', ['model.type.a=1', 'param_scheduler.9.end=1', 'param_scheduler.x=1']
)
def test_invalid_cfg_options(tiny_config, fail, option):
    line = fail(train_api.main, tiny_config, '--cfg-options', option)
    assert '--cfg-options are not valid for the config: ' in line


def test_heatmap_size_that_the_model_does_not_predict(fail, tiny_config, synthetic, tmp_path):
    cfg = Config.fromfile(str(tiny_config))
    codec = dict(type='MSRAHeatmap', input_size=(70, 96), heatmap_size=(17, 24), sigma=2)
    cfg.codec = cfg.model.head.decoder = codec
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step.type == 'TopdownAffine':
                step.input_size = codec['input_size']
            elif step.type == 'GenerateTarget':
                step.encoder = codec
    config = tmp_path / 'size.py'
    cfg.dump(config)
    line = fail(train_api.main, config, '--data-root', synthetic, '--work-dir', tmp_path / 'work')
    assert 'the model predicts heatmaps of 18x24 for an input of 70x96' in line
    assert 'codec.heatmap_size is 17x24' in line


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('test_evaluator.nms_thr=a', "test_evaluator.nms_thr='a': expected a number from 0 to 1"),
        ('test_evaluator.nms_thr=-1', 'test_evaluator.nms_thr=-1: expected a number from 0 to 1'),
        ('test_evaluator.keypoint_score_thr=nan', 'score_thr=nan: expected a finite number'),
        ('test_evaluator.iou_type=nope', "iou_type='nope': expected one of 'keypoints', 'keypoin"),
        ('test_evaluator.iou_type=bbox', "iou_type='bbox': expected one of 'keypoints', 'keypoin"),
        ('test_evaluator.prefix=7', 'test_evaluator.prefix=7: expected a string'),
        ('test_evaluator.collect_device=nope', "device='nope': expected one of 'cpu', 'gpu'"),
        ('test_evaluator.use_area=7', 'test_evaluator.use_area=7: expected True or False'),
        ('test_evaluator=7', 'test_evaluator=7: expected a dict'),
        (
            'test_evaluator.type=CocoWholeBodyMetric',
            'needs the keypoints of the whole body, but the people in',
        ),
        ('test_dataloader.drop_last=True', 'test_dataloader.drop_last=True: the last samples wou'),
        ('test_evaluator=[]', 'test_evaluator=[]: expected at least one metric'),
        (
            'test_dataloader.dataset.pipeline.0.color_type=grayscale',
            "color_type='grayscale', but model.data_preprocessor.mean has three values: expected",
        ),
    ],
)
def test_wrong_values_of_a_test(fail, tiny_config, synthetic, tmp_path, option, message):
    """The checkpoint does not exist, so the values are checked before it is read."""
    options = ['--data-root', synthetic, '--work-dir', tmp_path / 'work']
    line = fail(test_api.main, tiny_config, 'none.pth', *options, '--cfg-options', option)
    assert message in line


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_dataloader.batch_size=None', 'expected an integer of at least 1'),
        ('train_dataloader.num_workers=-1', 'expected an integer of at least 0'),
        ('train_dataloader.dataset.ann_file=5', 'expected a string'),
        ('train_dataloader.dataset.data_prefix=5', 'expected a dict'),
        ('train_dataloader.dataset.pipeline=None', 'expected a list of transforms'),
        ('train_dataloader.dataset.pipeline=[]', 'expected a list of transforms'),
        ('optim_wrapper.optimizer.lr=-1', 'lr=-1: expected a number of at least 0'),
        ('optim_wrapper.optimizer.lr=nan', 'lr=nan: expected a number of at least 0'),
        ('optim_wrapper.optimizer.lr=a', "lr='a': expected a number of at least 0"),
        ('optim_wrapper.optimizer.typo=3', "unexpected keyword argument 'typo'"),
        ('optim_wrapper.optimizer.betas=[2,3]', 'Invalid beta parameter at index 0: 2'),
        ('optim_wrapper.clip_grad.max_norm=a', "max_norm='a': expected a positive number"),
        ('optim_wrapper.accumulative_counts=0', 'expected an integer of at least 1'),
        ('param_scheduler=5', 'expected a dict or a list of dicts'),
        ('param_scheduler.0.end=-1', 'end should be larger than begin'),
        ('param_scheduler.0.start_factor=0', 'start_factor=0: expected a positive number'),
        ('model=5', 'model=5: expected a dict'),
        ('model.head.in_channels=5', 'got 4 feature maps, but in_channels is (5,): expected'),
        ('model.head.out_channels=0', 'expected an integer of at least 1'),
        ('codec.sigma=0', 'codec.sigma=0: expected a positive number'),
        ('codec.sigma=1e9', 'codec.sigma=1000000000.0: expected at most 32, the longer side of'),
        ('codec.blur_kernel_size=4', 'blur_kernel_size=4: expected an odd integer of at least 1'),
        ('codec.input_size=[128]', 'expected integers of at least 1'),
        ('codec.input_size=[-96,128]', 'expected integers of at least 1'),
        ('custom_hooks=5', 'expected a dict or a list of dicts'),
        ('load_from=5', 'load_from=5: expected a string'),
        ('strict_load=a', "strict_load='a': expected True or False"),
        ('resume=5', "resume=5: expected one of True, False, 'auto'"),
        ('auto_scale_lr.base_batch_size=0', 'expected an integer of at least 1'),
        ('log_processor.window_size=0', 'expected an integer of at least 1'),
        ('model.test_cfg.flip_test=a', "flip_test='a': expected True or False"),
        (
            'model.test_cfg.flip_mode=nope',
            "flip_mode='nope': expected one of 'heatmap', 'udp_combined', 'offset'",
        ),
        ('model.test_cfg.flip_mode=offset', "flip_mode='offset', but the codec is "),
        ('model.head.decoder=None', 'model.head has no decoder'),
        ('train_cfg.type=Nope', "train_cfg: unknown loop 'Nope'"),
        ('default_hooks.timer=7', 'default_hooks.timer=7: expected a dict'),
        ('default_hooks=[1]', 'default_hooks=[1]: expected a dict'),
        ('model.train_cfg=7', 'model.train_cfg=7: expected a dict'),
        ('model.init_cfg.type=Nope', "model.init_cfg: unknown weight initializer 'Nope'"),
        ('model.head.init_cfg.type=Nope', "model.head.init_cfg: unknown weight initializer 'Nope'"),
        ('model.data_preprocessor=None', 'model.data_preprocessor=None: expected a dict'),
        ('model.head=None', 'model.head=None: expected a dict'),
        ('env_cfg=None', 'env_cfg=None: expected a dict'),
        ('randomness.seed=abc', "randomness.seed='abc': expected an integer from 0 to"),
        ('optim_wrapper.clip_grad.nope=1', 'clip_grad.nope=1: expected some of max_norm, norm_ty'),
        ('optim_wrapper.clip_grad.type=nope', "clip_grad.type='nope': expected one of 'norm', 'v"),
        (
            'train_dataloader.dataset.max_refetch=-1',
            'train_dataloader.dataset.max_refetch=-1: expected an integer of at least 0',
        ),
        ('train_dataloader.dataset.indices=0', 'dataset.indices=0: expected a number of samples'),
        ('train_dataloader.dataset.filter_cfg.bbox_score_thr=a', "thr='a': expected a finite numb"),
        ('train_dataloader.dataset.data_prefix.nope=val', "'nope': 'val'}: expected dict(img="),
        ('val_dataloader.drop_last=True', 'the last samples would not be evaluated: set it to Fal'),
        ('param_scheduler.0.by_epoch=True', 'param_scheduler.0: the run trains by iterations, so'),
        ('model.head.loss.loss_weight=0', 'loss_weight=0: expected a positive number'),
        ('model.head.loss.loss_weight=nan', 'loss_weight=nan: expected a positive number'),
        ('log_level=nope', "log_level='nope': expected one of 'CRITICAL', 'ERROR', 'WARNING', 'IN"),
        ('model.data_preprocessor.std=[-1,1,1]', 'std=[-1, 1, 1]: expected a positive number'),
        ('model.data_preprocessor.std=[0,1,1]', 'std=[0, 1, 1]: expected a positive number'),
        ('custom_imports.imports=[nope]', "custom_imports.imports=['nope']: Failed to import nope"),
        ('custom_imports.imports=5', 'custom_imports.imports=[5]: '),
        (
            'train_dataloader.dataset.type=MpiiDataset',
            'MpiiDataset cannot read the train annotations ',
        ),
        ('train_dataloader.dataset.type=CocoWholeBodyDataset', 'CocoWholeBodyDataset'),
    ],
)
def test_wrong_values_of_the_config(fail_training, tmp_path, option, message):
    line = fail_training(option)
    assert message in line
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_dataset_without_a_complete_batch(fail, tiny_config, synthetic, tmp_path):
    options = ['--data-root', synthetic, '--work-dir', tmp_path / 'work', '--cfg-options']
    loader = 'train_dataloader'
    changes = [f'{loader}.batch_size=5000', f'{loader}.drop_last=True']
    sampler = f'{loader}.sampler.type=DefaultSampler'
    line = fail(train_api.main, tiny_config, *options, *changes, sampler)
    assert (
        'train_dataloader.batch_size=5000 and drop_last=True, but the training dataset has' in line
    )
    assert 'samples for 1 process: expected at most as many, or drop_last=False' in line


def test_windows_without_a_display(fail, tiny_config, synthetic, tmp_path, monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'):
        monkeypatch.delenv(name, raising=False)
    line = fail(test_api.main, tiny_config, 'none.pth', '--data-root', synthetic, '--show')
    assert '--show: there is no display (DISPLAY is not set): use --show-dir DIR' in line
