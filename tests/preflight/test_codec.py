"""The scale of whole images."""

import pose_backbones
from pose_backbones.preflight.codec import check_targets
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
