"""The codec of a config, its copies in the pipelines and the head, and the scale of images."""

import pytest

import pose_backbones
from pose_backbones.errors import ConfigError
from pose_backbones.preflight.codec import check_targets
from pose_backbones.zoo import get_config
from pose_backbones.zoo.models import without_weights

TOP_DOWN = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
BOTTOM_UP = 'bu_hrcomer-atto_1xb2-demo_synthetic-384'


@pytest.mark.parametrize('name', [TOP_DOWN, BOTTOM_UP])
@pytest.mark.parametrize('entry', ['input_size', 'heatmap_size'])
def test_codec_without_its_copies(name, entry, mmengine_log):
    cfg = without_weights(get_config(name))
    model = pose_backbones.build(name)
    check_targets(cfg, model, ['train', 'val', 'test'])
    assert mmengine_log.messages == []
    used = tuple(cfg.codec[entry])
    cfg.codec[entry] = (512, 512)
    with pytest.raises(ConfigError) as error:
        check_targets(cfg, model, ['test'])
    assert str(error.value) == (
        f'codec.{entry} is (512, 512), but {entry} of model.head.decoder is {used} (width, '
        'height): the two must be equal'
    )


def test_scale_of_whole_images(mmengine_log):
    cfg = without_weights(get_config(BOTTOM_UP))
    model = pose_backbones.build(BOTTOM_UP)
    cfg.test_dataloader.dataset.pipeline[1].short_side = 768
    check_targets(cfg, model, ['test'])
    assert mmengine_log.messages == [
        'test_dataloader.dataset.pipeline[1].short_side is 768, but input_size of '
        'model.head.decoder is (384, 384): people are smaller or larger than in the training'
    ]
