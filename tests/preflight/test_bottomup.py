"""Tests of the tools with bottom-up configs: checks, and evaluation of known predictions.

The model of these tests predicts the annotations. Its predictions pass through the pipelines and
the batches, and back to image coordinates.
"""

import json
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from mmpose.models.pose_estimators import BottomupPoseEstimator
from mmpose.utils import register_all_modules

from pose_backbones import preflight as checks
from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api
from pose_backbones.configs import load_config
from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.registry import MODELS
from pose_backbones.structures import coco_checker
from pose_backbones.synthetic import make_synthetic_coco, make_synthetic_crowdpose
from tests.helpers.tools import ROOT

RECORDED_BATCHES = []
COCO = 'annotations/person_keypoints_val2017.json'
LIST = 'annotations/image_info_test-dev2017.json'
CROWDPOSE = 'annotations/mmpose_crowdpose_{}.json'
CONFIG = """
_base_ = [
    '{root}/configs/_base_/schedules/hrcomer_70e.py',
    '{root}/configs/_base_/datasets/bu_{data}.py',
]
model = dict(
    type='pose_backbones.LabelReader',
    data_preprocessor=dict(type='pose_backbones.PyramidDataPreprocessor'),
    backbone=dict(
        type='pose_backbones.MogaNet',
        arch=dict(embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1),
                  ffn_ratios=(1, 1, 1, 1))))
pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='pose_backbones.ResizeAlign', short_side=64, size_divisor=16),
    dict(type='pose_backbones.PackBottomupInputs'),
]
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=3,
    dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
"""


@MODELS.register_module()
class LabelReader(BottomupPoseEstimator):
    """Estimator that predicts the annotated keypoints.

    It predicts one person in an image without annotations, and no people if `blind` is set.
    """

    blind = False

    def __init__(self, backbone, head=None, data_preprocessor=None, init_cfg=None):
        BaseModel.__init__(self, data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.metainfo = None

    def predict(self, inputs, data_samples):
        instances = []
        for sample in data_samples:
            meta = sample.metainfo
            people = [
                p['keypoints'] for p in meta['raw_ann_info'] or () if any(p['keypoints'][2::3])
            ]
            if meta['raw_ann_info'] is None:
                people = [[5.0, 6.0, 2] * 17]
            people = [] if self.blind else people
            points = np.zeros((0, 17, 2))
            if people:
                points = np.reshape(people, (len(people), -1, 3))[..., :2]
            size, scale = meta['input_size'], meta['input_scale']
            points = (points - meta['input_center'] + scale / 2) / scale * size
            instances.append(
                InstanceData(keypoints=points, keypoint_scores=np.full(points.shape[:2], 0.8))
            )
        shapes = (
            [tuple(x.shape) for x in inputs] if isinstance(inputs, tuple) else tuple(inputs.shape)
        )
        RECORDED_BATCHES.append((shapes, [s.metainfo for s in data_samples]))
        return self.add_pred_to_datasample(instances, None, data_samples)


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """COCO and CrowdPose data in the layouts of the configs."""
    root = tmp_path_factory.mktemp('data')
    make_synthetic_crowdpose(root / 'crowdpose', 3, 8, seed=4)
    coco = root / 'coco'
    make_synthetic_coco(coco, 3, 8, seed=4)
    for split in ('train', 'val'):
        (coco / f'{split}2017').symlink_to(coco / split)
        source = coco / f'annotations/person_keypoints_{split}.json'
        (coco / f'annotations/person_keypoints_{split}2017.json').write_text(source.read_text())
    (coco / 'test2017').symlink_to(coco / 'val')
    images = json.loads((coco / COCO).read_text())
    del images['annotations']
    (coco / LIST).write_text(json.dumps(images))
    return root


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """Configs for both datasets, and weights of their model."""
    folder = tmp_path_factory.mktemp('configs')
    for name in ('coco', 'crowdpose'):
        (folder / f'{name}.py').write_text(CONFIG.format(root=ROOT, data=name))
    (folder / 'test_dev.py').write_text(
        f"_base_ = ['./coco.py', '{ROOT}/configs/_base_/datasets/"
        "bu_coco_test-dev.py']\n"
        'test_dataloader = dict(dataset=_base_.test_dev_dataset)\n'
        'test_evaluator = _base_.test_dev_evaluator\n'
    )
    model = MODELS.build(load_config(str(folder / 'coco.py')).model)
    torch.save({'state_dict': model.state_dict()}, folder / 'weights.pth')
    return folder


@pytest.fixture
def tool(data, configs, tmp_path):
    """Function that runs tools/test.py in this process."""

    def run(name, *options, root=None):
        RECORDED_BATCHES.clear()
        test_api.main(
            [
                str(configs / f'{name}.py'),
                str(configs / 'weights.pth'),
                '--data-root',
                str(data / (root or name.split('_')[0])),
                '--work-dir',
                str(tmp_path / 'work'),
                *map(str, options),
            ]
        )
        return tmp_path / 'work'

    return run


@pytest.mark.parametrize('factors', [None, (1, 0.75, 1.25)])
@pytest.mark.parametrize('name', ['coco', 'crowdpose'])
def test_annotated_keypoints_have_ap_1(tool, tmp_path, name, factors):
    out = tmp_path / 'ap.json'
    options = (
        ()
        if factors is None
        else ('--cfg-options', 'test_dataloader.dataset.pipeline.1.scale_factors=(1,.75,1.25)')
    )
    tool(name, '--out', out, *options)
    metrics = json.loads(out.read_text())
    levels = ['AP', 'AR'] + (['AP(E)', 'AP(M)', 'AP(H)'] if name == 'crowdpose' else [])
    for level in levels:
        assert metrics[f'{name}/{level}'] == pytest.approx(1)
    assert sum(len(samples) for _, samples in RECORDED_BATCHES) == 8
    several = 0
    for shapes, samples in RECORDED_BATCHES:
        height, width = samples[0]['batch_input_shape']
        sizes = [sample['input_size'] for sample in samples]
        several += len(set(sizes)) > 1
        assert (width, height) == tuple(np.max(sizes, 0))
        count = len(samples)
        input_shape = (count, 3, height, width)
        assert shapes == (
            input_shape
            if factors is None
            else [(count, 3, int(f * height), int(f * width)) for f in factors]
        )
    assert several  # images of different shapes in one batch


def test_test_dev_needs_no_detections(tool, data):
    work = tool('test_dev', '--format-only', '--submission-name', 'us', root='coco')
    path = work / 'person_keypoints_test-dev2017_us_results.zip'
    with zipfile.ZipFile(path) as archive:
        people = json.loads(archive.read(f'{path.stem}.json'))
    images = json.loads((data / 'coco' / LIST).read_text())['images']
    assert sorted(person['image_id'] for person in people) == sorted(
        image['id'] for image in images
    )
    for person in people:
        np.testing.assert_allclose(
            np.reshape(person['keypoints'], (17, 3)), [[5, 6, 0.8]] * 17, atol=1e-4
        )
        assert person['score'] == pytest.approx(0.8)
        assert person['category_id'] == 1


def test_images_without_people_are_evaluated(tool, data, tmp_path, monkeypatch):
    """Images without annotated people count, and a prediction there is a false positive."""
    content = json.loads((data / 'coco' / COCO).read_text())
    unlabelled_image = content['images'][0]['id']
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] != unlabelled_image
    ]
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    tool(
        'coco',
        '--out',
        tmp_path / 'ap.json',
        '--cfg-options',
        f'test_dataloader.dataset.ann_file={path}',
        f'test_evaluator.ann_file={path}',
    )
    assert (
        sum(
            sample['img_id'] == unlabelled_image
            for _, samples in RECORDED_BATCHES
            for sample in samples
        )
        == 1
    )
    # The person that is always predicted there is a false positive.
    metrics = json.loads((tmp_path / 'ap.json').read_text())
    assert metrics['coco/AR'] == 1
    assert metrics['coco/AP'] < 1


@pytest.mark.parametrize('name', ['coco', 'crowdpose'])
def test_no_predictions_at_all(tool, tmp_path, monkeypatch, name):
    monkeypatch.setattr(LabelReader, 'blind', True)
    out = tmp_path / 'ap.json'
    tool(name, '--out', out)
    metrics = json.loads(out.read_text())
    assert metrics[f'{name}/AP'] == metrics[f'{name}/AR'] == 0
    if name == 'coco':
        work = tool('test_dev', '--format-only', root='coco')
        with zipfile.ZipFile(next(work.glob('*.zip'))) as archive:
            assert json.loads(archive.read(archive.namelist()[0])) == []


OTHER = {
    'coco': (
        f'test_dataloader.dataset.ann_file={CROWDPOSE.format("test")}',
        'test_dataloader.dataset.data_prefix.img=images/',
    ),
    'crowdpose': (
        f'test_dataloader.dataset.ann_file={COCO}',
        'test_dataloader.dataset.data_prefix.img=val2017/',
    ),
}


@pytest.mark.parametrize(
    ('name', 'other', 'lacks'),
    [
        (
            'coco',
            'crowdpose',
            r'annotation \d+ has no area \(\d+ of \d+ are like this\): .* have 14 '
            'keypoints.* CocoDataset reads, or set use_area=False',
        ),
        (
            'crowdpose',
            'coco',
            r'image \d+ .* has no crowdIndex \(8 of 8 are like this\): .* have 17 '
            "keypoints.* CrowdPoseDataset reads, or set iou_type='keypoints'",
        ),
    ],
)
def test_annotations_with_other_keypoints_raise(tool, data, monkeypatch, name, other, lacks):
    """The message names the missing fields of the metric, or else the number of keypoints."""
    truth = data / other / OTHER[name][0].partition('=')[2]
    with monkeypatch.context() as patch:
        patch.setattr(test_api, 'build_runner', None)  # not reached
        with pytest.raises(DatasetError, match=lacks):
            tool(
                name, '--cfg-options', *OTHER[name], f'test_evaluator.ann_file={truth}', root=other
            )
    count = {'coco': (14, 17), 'crowdpose': (17, 14)}[name]
    number = json.loads(truth.read_text())['annotations'][0]['id']
    with pytest.raises(
        DatasetError,
        match=(
            rf'has {count[0]} keypoints per person \(annotation {number}\), '
            rf'but C.*Dataset has {count[1]}'
        ),
    ):
        tool(
            name,
            '--cfg-options',
            *OTHER[name],
            f'test_evaluator.ann_file={truth}',
            'test_evaluator.use_area=False',
            'test_evaluator.iou_type=keypoints',
            root=other,
        )
    assert not RECORDED_BATCHES


def test_crowdpose_has_no_evaluation_server(tool):
    with pytest.raises(
        ConfigError,
        match=("test_evaluator.iou_type is 'keypoints_crowd': .* COCO takes 'keypoints'"),
    ):
        tool('crowdpose', '--format-only')
    assert not RECORDED_BATCHES


@pytest.mark.parametrize(
    ('factors', 'message'),
    [
        ('(.75,1)', r'pipeline\[1\]: scale_factors is .*0.75, 1.* first is 1'),
        ('()', 'scale_factors is .* first is 1'),
    ],
)
def test_scale_factors_must_start_with_1(tool, monkeypatch, factors, message):
    monkeypatch.setattr(test_api, 'build_runner', None)
    with pytest.raises(ConfigError, match=message):
        tool('coco', '--cfg-options', f'test_dataloader.dataset.pipeline.1.scale_factors={factors}')


def test_too_large_image_raises(tool, data, tmp_path, monkeypatch):
    """The check before the run raises; if the annotated size is wrong, the run itself raises."""
    limit = ('--cfg-options', 'test_dataloader.dataset.pipeline.1.max_pixels=4096')
    content = json.loads((data / 'coco' / COCO).read_text())
    for image in content['images']:
        image.update(width=64, height=64)
    path = tmp_path / 'square.json'
    path.write_text(json.dumps(content))
    # It would find that the sizes are wrong.
    monkeypatch.setattr(coco_checker, 'check_annotations', lambda *_, **__: [])
    with pytest.raises(
        DatasetError,
        match=(
            r'val2017/000000000002.jpg of \d+x\d+ pixels .* more than '
            'max_pixels=4096'
        ),
    ):
        tool('coco', *limit, f'test_dataloader.dataset.ann_file={path}')
    monkeypatch.setattr(test_api, 'build_runner', None)
    with pytest.raises(
        DatasetError,
        match=(
            r'the image 000000000002.jpg of \d+x\d+ pixels .* more than '
            'max_pixels=4096'
        ),
    ):
        tool('coco', *limit)


def test_one_too_large_image_of_many_raises(tool, data, tmp_path, monkeypatch):
    content = json.loads((data / 'coco' / COCO).read_text())
    content['images'][5].update(width=2, height=900, file_name='strip.png')
    path = tmp_path / 'strip.json'
    path.write_text(json.dumps(content))
    options = (
        f'test_dataloader.dataset.ann_file={path}',
        'test_dataloader.dataset.pipeline.1.max_pixels=100_000',
    )
    monkeypatch.setattr(test_api, 'build_runner', None)
    with pytest.raises(
        DatasetError, match=('strip.png of 2x900 .* resized to 64x28800 .* 1843200 pixels')
    ):
        tool('coco', '--cfg-options', *options)


def test_badcase_raises_for_bottomup_models(tool, monkeypatch):
    monkeypatch.setattr(test_api, 'build_runner', None)
    for options in (['--badcase'], ['--cfg-options', 'default_hooks.badcase.enable=True']):
        with pytest.raises(
            ConfigError,
            match='--badcase .*a bottom-up model are not matched to people: use --show-dir',
        ):
            tool('coco', *options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ('test_dataloader.dataset.bbox_file=boxes.json',),
            "bbox_file is 'boxes.json': a bottom-up model detects the people itself",
        ),
        (
            ('test_dataloader.dataset.data_mode=topdown',),
            "data_mode is 'topdown', whose samples are single people; "
            'pose_backbones.LabelReader takes whole images',
        ),
        (
            ('model.type=TopdownPoseEstimator',),
            "data_mode is 'bottomup', .* TopdownPoseEstimator takes single people",
        ),
        (
            (
                'model.data_preprocessor.type=PoseDataPreprocessor',
                'test_dataloader.dataset.pipeline.1.scale_factors=(1,2)',
            ),
            r"scale_factors=\(1, 2\) gives several inputs .* is 'PoseDataPreprocessor'",
        ),
    ],
)
def test_mismatched_data_mode_raises(tool, monkeypatch, options, message):
    monkeypatch.setattr(test_api, 'build_runner', None)
    with pytest.raises(ConfigError, match=message):
        tool('coco', '--cfg-options', *options)


def test_single_scale_works_with_the_preprocessor_of_mmpose(configs):
    config = load_config(str(configs / 'coco.py'))
    config.model.data_preprocessor.type = 'PoseDataPreprocessor'
    checks.check_data_mode(config, ['train', 'val', 'test'])
    config.test_dataloader.dataset.pipeline[1].scale_factors = (1, 2)
    with pytest.raises(ConfigError, match=r'scale_factors=\(1, 2\) gives several inputs'):
        checks.check_data_mode(config, ['train', 'val', 'test'])


def test_training_runs_the_same_checks(configs, data, tmp_path, monkeypatch):
    monkeypatch.setattr(train_api, 'build_runner', None)
    argv = [
        str(configs / 'coco.py'),
        '--data-root',
        str(data / 'coco'),
        '--work-dir',
        str(tmp_path),
        '--cfg-options',
    ]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(
        ConfigError, match=("optim_wrapper.type is 'AmpOptimWrapper'.* needs a GPU")
    ):
        train_api.main([*argv, 'default_scope=mmpose'])
    with pytest.raises(ConfigError, match="data_mode is 'topdown'"):
        train_api.main(
            [*argv, 'optim_wrapper.type=OptimWrapper', 'train_dataloader.dataset.data_mode=topdown']
        )


def test_sigmas_of_another_number_of_keypoints_raise(configs):
    config = load_config(str(configs / 'crowdpose.py'))
    config.codec = dict(
        type='pose_backbones.MultiScaleJoints',
        input_size=(64, 64),
        heatmap_size=(16, 16),
        sigmas='configs/_base_/datasets/coco.py',
    )

    class Data:
        metainfo = dict(num_keypoints=14, sigmas=np.full(14, 0.05))

        def __len__(self):
            return 0

    with pytest.raises(
        DatasetError, match=r'codec.sigmas=.* is for 17 keypoints, but test data .* has 14'
    ):
        checks.check_keypoints(config, Data(), 'test')
    config.codec.sigmas = 'configs/_base_/datasets/crowdpose.py'
    config.model.head = dict(type='pose_backbones.HRCoMerHead', num_keypoints=17)
    with pytest.raises(DatasetError, match='model.head.num_keypoints=14'):
        checks.check_keypoints(config, Data(), 'test')
    config.model.head.num_keypoints = 14
    checks.check_keypoints(config, Data(), 'test')
    config.codec.sigmas = [0.0]
    with pytest.raises(ConfigError, match='sigmas'):
        checks.check_keypoints(config, Data(), 'test')


def test_schedules_equal_the_original():
    base = ROOT / 'configs/_base_/schedules'
    main = Config.fromfile(str(base / 'hrcomer_70e.py'))
    assert main.optim_wrapper.type == 'AmpOptimWrapper'
    assert main.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=1e-4)
    keys = main.optim_wrapper.paramwise_cfg.custom_keys
    assert keys == {'backbone.base_net': dict(lr_mult=0.1)}
    warmup, steps = main.param_scheduler
    assert (warmup.end, warmup.start_factor, warmup.by_epoch) == (500, 0.001, False)
    assert steps.milestones == [40, 60]
    assert main.train_cfg.max_epochs == 70
    assert main.auto_scale_lr.base_batch_size == 96
    flip = Config.fromfile(str(base / 'hrcomer_flip_2e.py'))
    assert flip.optim_wrapper.get('type', 'OptimWrapper') == 'OptimWrapper'
    assert flip.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4)
    (step,) = flip.param_scheduler
    assert step.milestones == [1]
    assert flip.train_cfg.max_epochs == 2
