"""Tests of the HRCoMer configs: recipe of the original, training and prediction."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.apis import MMPoseInferencer
from mmpose.registry import DATASETS, MODELS
from mmpose.utils import register_all_modules

from pose_backbones import preflight as checks
from pose_backbones.cli import flops
from pose_backbones.cli.options import set_data_root
from pose_backbones.configs import as_list
from pose_backbones.registry import MODELS as OURS
from pose_backbones.synthetic import make_synthetic_crowdpose
from pose_backbones.zoo import get_config, read_families, read_models
from pose_backbones.zoo.models import without_weights
from tests.helpers.golden_values import published_figures
from tests.helpers.half_precision import check_bfloat16

#: without dataset and size: arch, learning rate, images a GPU, epochs
RECIPES = {
    'b_8xb12-70e': ('base', 1e-3, 12, 70),
    'l_8xb8-70e': ('large', 5e-4, 8, 70),
    'l-flip_8xb16-2e': ('large', 1e-4, 16, 2),
    'l-flip-ms_8xb16-2e': ('large', 1e-4, 16, 2),
}
NAMES = [f'bu_hrcomer-{recipe}_{data}-768' for data in ('coco', 'crowdpose') for recipe in RECIPES]
SIZE = 64  # of the inputs in tests


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()
    init_default_scope('mmpose')


def steps_of(config, split: str) -> dict:
    """Return the transforms of a pipeline by type."""
    pipeline = config[f'{split}_dataloader'].dataset.pipeline
    return {step.type: step for step in pipeline}


def test_configs_of_all_source_models_exist():
    assert [name for name in read_models() if 'hrcomer' in name and 'demo' not in name] == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_backbone_and_head_match(name):
    config = get_config(name)
    checks.check_types(config)
    checks.check_data_mode(config, ['train', 'val', 'test'])
    side = int(name.rpartition('-')[2])
    assert flops.input_shape(config) == (side, side)
    train = steps_of(config, 'train')
    affine = train['pose_backbones.RandomAffine']
    head = config.model.head
    assert head.decoder == train['GenerateTarget'].encoder == config.codec
    for size in (config.codec, affine):
        assert tuple(size.input_size) == (side, side)
        assert tuple(size.heatmap_size) == (side // 4, side // 4)
    scales = (1, 0.75, 1.25) if '-ms_' in name else (1,)
    for split in ('val', 'test'):
        resize = steps_of(config, split)['pose_backbones.ResizeAlign']
        assert (resize.short_side, resize.size_divisor) == (side, 64)
        assert tuple(resize.get('scale_factors', (1,))) == scales
    crowd = 'crowdpose' in name
    assert config.default_hooks.checkpoint.save_best == ('crowdpose/AP' if crowd else 'coco/AP')
    assert head.num_keypoints == (14 if crowd else 17)
    with torch.device('meta'):
        model = MODELS.build(without_weights(config).model)
    assert len(model.head.decoder.sigmas) == head.num_keypoints
    losses = model.head.loss_modules
    assert losses['oks'].area_factor == (0.53 if crowd else 1)
    if 'limb' in losses:
        assert losses['limb'].limbs.shape == (9 if crowd else 12, 2)


@pytest.mark.parametrize('name', NAMES)
def test_recipe_matches_original(name):
    recipe = name.removeprefix('bu_hrcomer-').rpartition('_')[0]
    arch, rate, batch, epochs = RECIPES[recipe]
    config, flip = get_config(name), 'flip' in recipe
    backbone, wrapper = config.model.backbone, config.optim_wrapper
    assert backbone.arch == arch
    assert wrapper.get('type', 'OptimWrapper') == ('OptimWrapper' if flip else 'AmpOptimWrapper')
    assert (wrapper.optimizer.type, wrapper.optimizer.lr) == ('AdamW', rate)
    assert config.train_dataloader.batch_size == batch
    assert config.auto_scale_lr.base_batch_size == 8 * batch
    assert config.train_cfg.max_epochs == epochs
    assert config.model.test_cfg.flip_test == flip
    assert config.model.get('finetune_flip', False) == flip
    assert config.val_dataloader.batch_size == 1
    assert config.val_evaluator.nms_mode == 'none'
    assert config.val_evaluator.score_mode == 'keypoint'
    assert config.sync_bn == 'torch'
    affine = steps_of(config, 'train')['pose_backbones.RandomAffine']
    assert tuple(affine.get('scale_factor', (0.75, 1.5))) == (0.75, 1.5)
    if flip:
        (step,) = config.param_scheduler
        assert list(step.milestones) == [1]
        folder = name.replace('-flip-ms', '-flip').replace('-flip_8xb16-2e', '_8xb8-70e')
        assert config.load_from == f'work_dirs/{folder}/epoch_70.pth'
        return
    assert wrapper.optimizer.weight_decay == 1e-4
    assert wrapper.paramwise_cfg.custom_keys == {'backbone.base_net': dict(lr_mult=0.1)}
    warmup, step = config.param_scheduler
    assert (warmup.end, warmup.start_factor) == (500, 0.001)
    assert list(step.milestones) == [40, 60]
    assert tuple(backbone.drop_path_rate) == (0.1, 0.3)
    assert backbone.dropout_after_downsampling
    assert backbone.freeze_every_second_block
    assert backbone.frozen_stages == 3
    assert backbone.base_init_cfg.checkpoint.endswith(f'/convnextv2_{arch}_22k_384_ema.pt')
    assert (
        backbone.adapter_init_cfg.checkpoint.rpartition('/')[2]
        == dict(base='hrnet_w32-36af842e.pth', large='hrnet_w48-8ef0771d.pth')[arch]
    )


def test_loss_weights_match_original():
    """The weights of all five losses, also in fine-tuning for the flip test."""
    weights = dict(confidence=2.25 / 4, joint=2e-3, limb=1e-3, oks=1e-3, heatmap=1e-3)
    for name in NAMES:
        with torch.device('meta'):
            model = MODELS.build(without_weights(get_config(name)).model)
        found = {key: loss.loss_weight for key, loss in model.head.loss_modules.items()}
        names = ('oks', 'heatmap') if 'flip' in name else weights
        assert found == {key: weights[key] for key in names}


def shrink(value):
    """Set the input size of a part of a config to that of the tests."""
    sizes = {'input_size': (SIZE, SIZE), 'heatmap_size': (SIZE // 4,) * 2, 'short_side': SIZE}
    if isinstance(value, dict):
        return type(value)({key: sizes.get(key, shrink(one)) for key, one in value.items()})
    if isinstance(value, (list, tuple)):
        return [shrink(one) for one in value]
    return value


@pytest.fixture(scope='module')
def folders(synthetic, tmp_path_factory) -> dict:
    """Write files in the formats of COCO and CrowdPose, with synthetic people."""
    coco = tmp_path_factory.mktemp('coco') / 'data'
    (coco / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (coco / f'{split}2017').symlink_to(synthetic / split)
        (coco / f'annotations/person_keypoints_{split}2017.json').symlink_to(
            synthetic / f'annotations/person_keypoints_{split}.json'
        )
    crowd = tmp_path_factory.mktemp('crowd') / 'data'
    make_synthetic_crowdpose(crowd, 4, 2, seed=1)
    return {'coco': coco, 'crowdpose': crowd, 'synthetic': synthetic}


def cut(backbone: ConfigDict) -> None:
    """Reduce each stage and module to one or two blocks, and the width of the base network.

    The width of the adapter, which must match the head, is unchanged.
    """
    settings = OURS.get(backbone.type).arch_settings[backbone.arch]
    backbone.arch = dict(
        settings,
        num_modules=(1, 1, 1, 1),
        depths=(1, 1, 1, 1),
        base_net=dict(embed_dims=(16, 24, 32, 48), depths=(1, 2, 2, 1), use_grn=True),
    )


@pytest.mark.parametrize('name', NAMES)
def test_config_trains_and_predicts(name, folders):
    """Uses synthetic people, and the pipelines and the optimizer of the config."""
    config = get_config(name)
    for key in ('model', 'train_dataloader', 'val_dataloader'):
        config[key] = ConfigDict(shrink(config[key].to_dict()))
    set_data_root(config, str(folders[name.split('_')[-1].split('-')[0]]))
    cut(without_weights(config).model.backbone)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    train, val = (
        DATASETS.build(config[f'{split}_dataloader'].dataset) for split in ('train', 'val')
    )
    config.optim_wrapper.type = 'OptimWrapper'  # no GPU, no mixed precision
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = copy.deepcopy(model.state_dict())
    model.train()
    log = model.train_step(pseudo_collate([train[0], train[1]]), wrapper)
    assert all(value > 0 and value.isfinite() for value in log.values()), log
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    learned = {key for key, value in model.named_parameters() if value.requires_grad}
    assert len(learned & changed) > 0.9 * len(learned)
    if 'flip' in name:
        assert changed <= learned  # and no statistics of norms
        assert {key.split('.')[1] for key in changed} == {'heatmaps_head', 'refine_head'}
    frozen = {key for key in changed - learned if key in dict(model.named_parameters())}
    assert not frozen

    model.eval()
    model.head.decoder.score_threshold = -1.0  # of one step, all are unsure
    with torch.no_grad():
        (result,) = model.val_step(pseudo_collate([val[0]]))
    found = result.pred_instances
    assert 30 <= len(found.keypoints) <= (90 if '-ms_' in name else 30)
    assert found.keypoints.shape[1:] == (config.model.head.num_keypoints, 2)
    assert np.isfinite(found.keypoints).all()
    batch = model.data_preprocessor(pseudo_collate([train[0], train[1]]), training=True)
    check_bfloat16(model, batch, pseudo_collate([val[0]]))


@pytest.mark.parametrize('name', [NAMES[0], NAMES[-1]])
def test_mmpose_inferencer_matches_testing(name, folders, tmp_path):
    """MMPose's inferencer predicts the same poses as testing."""
    config = get_config(name)
    for key in ('model', 'val_dataloader', 'test_dataloader'):
        config[key] = ConfigDict(shrink(config[key].to_dict()))
    set_data_root(config, str(folders[name.split('_')[-1].split('-')[0]]))
    cut(without_weights(config).model.backbone)
    config.model.head.decoder.update(score_threshold=-1.0, max_num_people=3)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    weights = str(tmp_path / 'model.pth')
    torch.save({'state_dict': model.state_dict()}, weights)
    inferencer = MMPoseInferencer(pose2d=config, pose2d_weights=weights, device='cpu')
    dataset = DATASETS.build(config.val_dataloader.dataset)
    sample = dataset[0]
    path = sample['data_samples'].img_path
    with torch.no_grad():
        expected = model.eval().val_step(pseudo_collate([sample]))[0]
    for image in (path, cv2.imread(path)):
        (found,) = next(
            inferencer(image, draw_heatmap=True, return_vis=True, vis_out_dir=str(tmp_path))
        )['predictions']
        np.testing.assert_allclose(
            [person['keypoints'] for person in found],
            expected.pred_instances.keypoints,
            rtol=1e-4,
            atol=1e-3,
        )
    assert len(found) >= 3
    assert cv2.imread(str(tmp_path / path.rpartition('/')[2])) is not None


@pytest.mark.parametrize('data', ['coco', 'crowdpose'])
def test_metric_of_correct_and_shifted_poses(data, folders):
    """Correct keypoints, and keypoints that are shifted by half a head."""
    config = get_config(f'bu_hrcomer-l-flip-ms_8xb16-2e_{data}-768')
    config.val_dataloader = ConfigDict(shrink(config.val_dataloader))
    set_data_root(config, str(folders[data]))
    dataset = DATASETS.build(config.val_dataloader.dataset)
    found = []
    for move in (0, 20):
        metric = Evaluator(as_list(config.val_evaluator))
        metric.dataset_meta = dataset.metainfo
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples'].to_dict()
            truth = sample['gt_instances']
            if 'keypoints' not in truth:
                continue  # nobody in the image
            seen = (truth['keypoints_visible'] > 0).any(1)
            points = truth['keypoints'][seen] + [move, 0]
            sample['pred_instances'] = dict(
                keypoints=points, keypoint_scores=np.ones(points.shape[:2])
            )
            metric.process([sample])
        found.append(metric.evaluate(len(dataset))[config.default_hooks.checkpoint.save_best])
    right, wrong = found
    assert right > 0.99
    assert wrong < 0.5


def test_published_figures():
    places = {
        'Results on COCO val2017': ('coco', 'val'),
        'Results on COCO test-dev2017': ('coco', 'test-dev'),
        'Results on CrowdPose test': ('crowdpose', 'test'),
    }
    recipes = {'ConvNeXt-Base': 'b_8xb12-70e', 'ConvNeXt-Large': 'l_8xb8-70e'}
    (collection,) = (
        item
        for family in read_families()
        for item in family.collections
        if item['Name'] == 'HRCoMer'
    )
    results, rows = collection['Upstream Results'], published_figures('hrcomer')
    assert len(rows) == 9
    for row in rows:
        data, split = places[row['section']]
        recipe = 'l-flip-ms_8xb16-2e' if row['multi_scale'] else recipes[row['model']]
        stated = results[f'bu_hrcomer-{recipe}_{data}-768'].pop(split)
        assert {key: round(100 * value, 1) for key, value in stated.items()} == row['figures']
    assert not any(results.values())
