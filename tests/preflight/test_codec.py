"""The scale of whole images, and targets on the device."""

import pytest
from mmpose.datasets.transforms import TopdownAffine
from mmpose.evaluation.metrics import CocoMetric

import pose_backbones
from pose_backbones.configs import config_folder, load_config, type_name
from pose_backbones.errors import ConfigError
from pose_backbones.preflight.codec import check_device_targets, check_targets
from pose_backbones.zoo import get_config
from pose_backbones.zoo.models import without_weights

BOTTOM_UP = 'bu_hrcomer-atto_1xb2-demo_synthetic-384'


def test_scale_of_whole_images(mmengine_log):
    cfg = without_weights(get_config(BOTTOM_UP))
    model = pose_backbones.build(BOTTOM_UP)
    cfg.test_dataloader.dataset.pipeline[1].short_side = 768
    check_targets(cfg, model, ['test'])
    assert mmengine_log.messages == [
        'test_dataloader.dataset.pipeline[1].short_side is 768, but input_size of '
        'model.head.decoder is (384, 384): people are smaller or larger than in the training'
    ]


@pytest.mark.parametrize('kind', ['TopdownAffine', 'mmpose.TopdownAffine', TopdownAffine])
def test_input_size_of_a_transform_by_name_or_class(kind):
    """Configs that import their types contain classes."""
    name = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
    cfg = without_weights(get_config(name))
    (affine,) = [step for step in cfg.test_dataloader.dataset.pipeline if 'input_size' in step]
    affine.update(type=kind, input_size=(64, 64))
    with pytest.raises(ConfigError, match=r'input_size is \(64, 64\)'):
        check_targets(cfg, pose_backbones.build(name), ['test'])


def test_name_of_a_type():
    for kind, name in (
        ('CocoMetric', 'CocoMetric'),
        ('mmpose.evaluation.CocoMetric', 'CocoMetric'),
        (CocoMetric, 'CocoMetric'),
        (None, ''),
        (5, ''),
    ):
        assert type_name(dict(type=kind)) == name
    assert type_name({}) == ''


def test_targets_of_all_top_down_configs_can_be_made_on_the_device():
    bottom_up = []
    for path in sorted(config_folder().glob('*/*.py')):
        cfg = load_config(str(path))
        check_device_targets(cfg)  # The config has no hook.
        cfg.custom_hooks = [dict(type='pose_backbones.DeviceTargetHook')]
        if path.name.startswith('td-hm'):
            check_device_targets(cfg)
        elif path.name.startswith('bu_'):
            with pytest.raises(ConfigError, match='the codec MultiScaleJoints cannot be encoded'):
                check_device_targets(cfg)
            bottom_up.append(path)
    assert len(bottom_up) > 5
