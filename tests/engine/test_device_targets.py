"""Targets that are made on the device of the model equal those of the data workers."""

import copy
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, RepeatDataset
from mmengine.registry import init_default_scope
from mmpose.datasets import CocoDataset, CombinedDataset
from mmpose.datasets.transforms import GenerateTarget
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from mmpose.registry import MODELS
from torch import nn

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.engine.device_targets import DeviceTargetHook, TargetEncoder, defer_targets
from pose_backbones.errors import ConfigError
from tests.helpers.tools import ROOT, TINY, run_together, run_tool

SIZES = dict(input_size=(96, 128), heatmap_size=(24, 32))
MSRA = dict(type='MSRAHeatmap', **SIZES, sigma=2)
MSPN = dict(type='pose_backbones.CoarseToFineHeatmap', **SIZES)
SIMCC = dict(type='SimCCLabel', input_size=(96, 128))
LEVELS = [dict(type='MegviiHeatmap', **SIZES, kernel_size=size) for size in (11, 9, 7, 5)]
#: arguments of `GenerateTarget`
STEPS = {
    'msra': dict(encoder=MSRA),
    'weighted': dict(encoder=MSRA, use_dataset_keypoint_weights=True),
    'mspn': dict(encoder=MSPN, use_dataset_keypoint_weights=True),
    'simcc': dict(encoder=SIMCC),
    'levels': dict(encoder=LEVELS, multilevel=True),
    # MMPose does not multiply these weights.
    'weighted levels': dict(encoder=LEVELS, multilevel=True, use_dataset_keypoint_weights=True),
}


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmpose')


def pipeline(**step) -> Compose:
    return Compose(
        [dict(type='GenerateTarget', **step), dict(type='pose_backbones.PackPoseInputs')]
    )


def dataset(**step) -> SimpleNamespace:
    return SimpleNamespace(pipeline=pipeline(**step))


def make_results(seed: int, three_dims: bool = False) -> dict:
    """Return a sample before `GenerateTarget`."""
    rng = np.random.default_rng(seed)
    visible = rng.choice([0, 0.5, 1], (1, 17)).astype(np.float32)
    if three_dims:
        visible = np.stack((visible, np.ones_like(visible)), -1)
    return dict(
        img=rng.integers(0, 256, (128, 96, 3), np.uint8),
        keypoints=rng.uniform(0, 500, (1, 17, 2)).astype(np.float32),
        transformed_keypoints=rng.uniform(-20, 140, (1, 17, 2)).astype(np.float32),
        keypoints_visible=visible,
        dataset_keypoint_weights=rng.uniform(0.5, 1.5, 17).astype(np.float32),
        img_path=f'{seed}.jpg',
    )


def flat(data) -> dict[str, np.ndarray | list]:
    """Return the content of a data element by name; the levels of multi-level data are stacked."""
    content = {}
    for key, value in data.items():
        if hasattr(value, 'items'):
            content.update({f'{key}.{name}': array for name, array in flat(value).items()})
        else:
            value = torch.stack(value) if isinstance(value, list) else value
            content[key] = np.asarray(value)
    return content


def assert_equal(samples: list, expected: list) -> None:
    assert len(samples) == len(expected)
    for sample, other in zip(samples, expected):
        assert sample.metainfo.keys() == other.metainfo.keys()
        assert type(sample.get('gt_fields')) is type(other.get('gt_fields'))
        first, second = flat(sample), flat(other)
        assert first.keys() == second.keys()
        for key, value in second.items():
            peak = np.abs(value).max()
            np.testing.assert_allclose(first[key], value, rtol=0, atol=1e-6 * peak, err_msg=key)
            assert first[key].dtype == value.dtype, key


@pytest.mark.parametrize('three_dims', [False, True])
@pytest.mark.parametrize('name', STEPS)
def test_samples_are_those_of_the_data_workers(name, three_dims):
    results = [make_results(seed, three_dims) for seed in range(5)]
    data = dataset(**STEPS[name])
    expected = [data.pipeline(copy.deepcopy(result))['data_samples'] for result in results]
    original = data.pipeline.transforms[0]
    encoder = defer_targets(data)
    assert original is not data.pipeline.transforms[0]
    transforms = pickle.loads(pickle.dumps(data.pipeline))  # as for a spawned data worker
    samples = [transforms(result)['data_samples'] for result in results]
    sent = pickle.loads(pickle.dumps(samples))
    tensors = [key for key, value in sent[0].gt_instance_labels.items() if torch.is_tensor(value)]
    assert tensors == (['keypoint_weights'] if name in ('weighted', 'mspn') else [])
    encoder(sent)
    assert_equal(sent, expected)


def test_hook_makes_targets_before_batch_augmentations():
    seen = []

    @MODELS.register_module(force=True)
    class SeesTargets(nn.Module):
        def forward(self, inputs, samples):
            seen.append([sample.gt_fields.heatmaps.max() for sample in samples])
            return inputs, samples

    preprocessor = PoseDataPreprocessor(batch_augments=[dict(type='SeesTargets')])
    data = dataset(encoder=MSRA)
    runner = SimpleNamespace(
        model=SimpleNamespace(data_preprocessor=preprocessor),
        train_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=data, num_workers=2)),
    )
    hook = DeviceTargetHook()
    hook.before_train(runner)

    def batch() -> dict:
        packed = [data.pipeline(make_results(seed)) for seed in range(2)]
        return {key: [sample[key] for sample in packed] for key in packed[0]}

    for args, kwargs in (((batch(), True), {}), ((batch(),), dict(training=True))):
        samples = preprocessor(*args, **kwargs)['data_samples']
        assert samples[0].gt_fields.heatmaps.shape == (17, 32, 24)
    assert seen == [[1, 1], [1, 1]]
    assert 'gt_fields' not in preprocessor(batch(), False)['data_samples'][0]
    foreign = [pipeline(encoder=MSRA)(make_results(0))]
    with pytest.raises(ConfigError, match='a training sample has no keypoints to encode'):
        preprocessor({key: [sample[key] for sample in foreign] for key in foreign[0]}, True)
    hook.after_train(runner)
    assert not preprocessor._forward_pre_hooks


def test_data_workers_that_run_already_raise():
    loader = SimpleNamespace(dataset=dataset(encoder=MSRA), num_workers=1)
    loop = SimpleNamespace(dataloader=loader, dataloader_iterator=iter(()))
    with pytest.raises(ConfigError, match='has already started its data workers'):
        DeviceTargetHook().before_train(SimpleNamespace(train_loop=loop))


@pytest.mark.filterwarnings('ignore:The metainfo config file')
def test_wrappers_of_datasets(synthetic):
    part = dict(
        type='CocoDataset',
        data_root=str(synthetic),
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='train/'),
        pipeline=[dict(type='pose_backbones.LoadImage'), dict(type='GetBBoxCenterScale')],
    )
    crop = dict(type='TopdownAffine', input_size=(96, 128))
    target = dict(type='GenerateTarget', encoder=MSRA)
    pack = dict(type='pose_backbones.PackPoseInputs')
    meta = CocoDataset.METAINFO
    shared = CombinedDataset(meta, [part, part], [crop, target, pack])
    own = dict(part, pipeline=[*part['pipeline'], crop, target])
    for data in (
        RepeatDataset(shared, 2),
        CombinedDataset(meta, [own, dict(type='RepeatDataset', dataset=own, times=3)], [pack]),
    ):
        index = len(data) - 1
        expected = [data[index]['data_samples']]
        encoder = defer_targets(data)
        samples = [data[index]['data_samples']]
        assert 'gt_fields' not in samples[0]
        encoder(samples)
        assert_equal(samples, expected)


class OtherTarget(GenerateTarget):
    """A transform that may make other targets."""


REFUSED = {
    'expected GenerateTarget in the training pipelines': [],
    'the codec RegressionLabel cannot be encoded in batches: expected CoarseToFineHeatmap, ': [
        dict(encoder=dict(type='RegressionLabel', input_size=(96, 128)))
    ],
    'different settings of GenerateTarget': [dict(encoder=MSRA), dict(encoder=MSPN)],
    'combines several encoders: expected one, or multilevel=True': [dict(encoder=[MSRA, SIMCC])],
}


@pytest.mark.parametrize('message', REFUSED)
def test_unsupported_pipelines_raise(message):
    parts = [dataset(**step) for step in REFUSED[message]]
    transforms = [part.pipeline.transforms[0] for part in parts]
    with pytest.raises(ConfigError, match=f'^targets on the device: .*{message}') as caught:
        defer_targets(SimpleNamespace(datasets=parts))
    assert '\n' not in str(caught.value)
    assert [part.pipeline.transforms[0] for part in parts] == transforms


def test_subclasses_of_generate_target_raise():
    with pytest.raises(ConfigError, match='OtherTarget may make other targets than GenerateTarget'):
        TargetEncoder([OtherTarget(encoder=MSRA)])


def test_several_people_raise():
    data = dataset(encoder=MSRA)
    defer_targets(data)
    results = make_results(0)
    results['transformed_keypoints'] = np.zeros((2, 17, 2), np.float32)
    with pytest.raises(ValueError, match='keypoints are of 2 people: expected one person'):
        data.pipeline(results)


def read_log(work) -> list[dict]:
    """Return what a run has logged in each iteration."""
    files = sorted(work.glob('*/vis_data/scalars.json'))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [entry for entry in map(json.loads, lines) if 'loss' in entry]


def assert_equal_logs(work, expected) -> None:
    """Check losses, accuracies, and the norms of gradients, which steps of the optimizer have."""
    first, second = read_log(work), read_log(expected)
    assert [entry['step'] for entry in first] == [entry['step'] for entry in second] != []
    for key in ('loss', 'loss_kpt', 'acc_pose', 'grad_norm'):
        values = [[entry.get(key, np.nan) for entry in log] for log in (first, second)]
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-7)


class Runs:
    """Training runs in other processes.

    Args:
        data: Directory of the dataset.
        folder: Directory of the work dirs.
    """

    def __init__(self, data, folder) -> None:
        self.data, self.folder = data, folder

    def command(self, config, name: str, *options: str) -> tuple:
        work = self.folder / name
        options = ('--cfg-options', 'randomness.seed=3', *options)
        return ('train.py', config, '--data-root', self.data, '--work-dir', work, *options)

    def train(self, config, name: str, *options: str):
        """Train, and return the work dir."""
        done = run_tool(*self.command(config, name, *options))
        assert done.returncode == 0, done.stdout
        return self.folder / name


@pytest.fixture
def runs(synthetic, tmp_path) -> Runs:
    return Runs(synthetic, tmp_path)


@pytest.mark.slow
def test_training_with_workers_accumulation_and_averaged_weights(runs, tiny_config):
    options = (
        'train_dataloader.num_workers=2',
        'train_dataloader.persistent_workers=True',
        'optim_wrapper.accumulative_counts=2',
        "custom_hooks=[dict(type='EMAHook', ema_type='ExpMomentumEMA')]",
    )
    expected = runs.train(tiny_config, 'workers', *options)
    work = runs.train(tiny_config, 'device', *options, '--targets-on-device')
    assert_equal_logs(work, expected)
    saved, other = (read_checkpoint(path / 'iter_6.pth') for path in (work, expected))
    assert 'DeviceTargetHook' in saved['meta']['cfg']
    for key in ('state_dict', 'ema_state_dict'):
        assert saved[key].keys() == other[key].keys()


@pytest.mark.slow
def test_resumed_run_is_exact(runs, tiny_config):
    whole = runs.train(tiny_config, 'whole', '--targets-on-device')
    runs.train(tiny_config, 'part', 'train_cfg.max_iters=4', '--targets-on-device')
    part = runs.train(tiny_config, 'part', '--targets-on-device', '--resume')
    assert [entry['step'] for entry in read_log(part)] == [1, 2, 3, 4, 5, 6]
    first, second = (read_checkpoint(work / 'iter_6.pth') for work in (whole, part))
    for name, value in first['state_dict'].items():
        assert torch.equal(value, second['state_dict'][name]), name


@pytest.mark.slow
def test_training_in_two_processes(runs, tiny_config):
    for name, *flag in (('workers',), ('device', '--targets-on-device')):
        command = runs.command(tiny_config, name, *flag, '--launcher', 'pytorch')
        for done in run_together(command, command):
            assert done.returncode == 0, done.stdout
    assert_equal_logs(runs.folder / 'device', runs.folder / 'workers')


@pytest.mark.slow
def test_hook_in_a_config_of_mspn(runs, tmp_path):
    base = ROOT / 'configs/mspn/td-hm_mspn-2stg_1xb8-demo_synthetic-128x96.py'
    works = []
    for name, hooks in (
        ('workers', []),
        ('device', [dict(type='pose_backbones.DeviceTargetHook')]),
    ):
        config = tmp_path / f'{name}.py'
        config.write_text(
            f"_base_ = '{base}'\ncustom_hooks = {hooks}\ntrain_cfg = dict(max_iters=3)\n"
            'train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)\n'
            'default_hooks = dict(logger=dict(interval=1))\n'
        )
        works.append(runs.train(config, name, '--no-validate'))
    assert_equal_logs(works[1], works[0])


def test_unsupported_codec_stops_before_an_earlier_run_is_removed(runs, tmp_path):
    config = tmp_path / 'tiny.py'
    base = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py'
    config.write_text(TINY.format(root=ROOT, base=base, iters=6))
    earlier = tmp_path / 'work/iter_2.pth'
    earlier.parent.mkdir()
    earlier.touch()
    options = ('codec.heatmap_type=combined', '--targets-on-device', '--overwrite')
    done = run_tool(*runs.command(config, 'work', *options))
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == (
        "error: targets on the device: the codec UDPHeatmap with heatmap_type='combined' cannot be "
        "encoded in batches: expected 'gaussian'"
    )
    assert earlier.exists()
