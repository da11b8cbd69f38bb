"""Tests of the releases of the self-supervised pretraining of ConvNeXt V2."""

import pytest
import torch

from pose_backbones.checkpoints.conversion import convert_state_dict, inspect_state_dict
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import ConvNeXt
from tests.helpers.releases import DEPTHS, DIMS, convnext_backbone, convnext_fcmae, with_prefix

CONVNEXT = dict(embed_dims=DIMS, depths=DEPTHS, use_grn=True)


def expected():
    """Return current names and values, converted from the release of the classifier."""
    done = convert_state_dict(convnext_backbone('original', v2=True))
    return {name: value for name, value in done.items() if not name.startswith('backbone.norm')}


@pytest.mark.parametrize('rank', [1, 2, 3, 4])
def test_response_norms_of_any_rank(rank):
    weights, _ = convnext_fcmae()
    for name, value in weights.items():
        if '.grn.' in name:
            weights[name] = value.reshape((1,) * (rank - 1) + (-1,))
    done = inspect_state_dict({'model': weights})
    assert (done.naming, done.left_out) == ('ImageNet release', {})
    assert done.weights.keys() == expected().keys()
    for name, value in expected().items():
        assert torch.equal(done.weights[name], value), name


def test_sparse_encoder_is_converted_to_dense():
    _, weights = convnext_fcmae()
    assert weights['encoder.stages.1.0.dwconv.kernel'].shape == (49, 16)
    assert weights['encoder.downsample_layers.1.1.kernel'].shape == (4, 8, 16)
    assert weights['encoder.downsample_layers.1.1.bias'].shape == (1, 16)
    done = inspect_state_dict({'model': weights})
    assert (done.family, done.naming) == ('ConvNeXt', 'ImageNet release')
    assert set(done.left_out.values()) == {'of the pretraining'}
    assert set(done.left_out) == {name for name in weights if not name.startswith('encoder.')}
    assert done.weights.keys() == expected().keys()
    for name, value in expected().items():
        assert torch.equal(done.weights[name], value), name


@pytest.mark.parametrize('sparse', [False, True])
def test_init_cfg_loads_pretraining(tmp_path, sparse):
    torch.save({'model': convnext_fcmae()[sparse]}, tmp_path / 'fcmae.pt')
    net = ConvNeXt(
        CONVNEXT, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'fcmae.pt'))
    )
    net.init_weights()
    for name, value in net.state_dict().items():
        if name.startswith('norm'):
            assert (value == float(name.endswith('weight'))).all(), name
        else:
            assert torch.equal(value, expected()[f'backbone.{name}']), name


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        ('encoder.stages.0.0.dwconv.kernel', (48, 8)),
        ('encoder.downsample_layers.1.1.kernel', (4, 1, 8, 16)),
    ],
)
def test_invalid_kernels_raise(tmp_path, name, shape):
    _, weights = convnext_fcmae()
    weights[name] = torch.ones(shape)
    torch.save(weights, tmp_path / 'net.pt')
    net = ConvNeXt(CONVNEXT, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pt')))
    with pytest.raises(CheckpointError, match='1 key with a mismatched shape'):
        net.init_weights()


def test_unknown_names_beside_an_encoder_raise():
    _, weights = convnext_fcmae()
    weights |= with_prefix('encoder', {'extra.ln.weight': torch.ones(1)})
    with pytest.raises(
        CheckpointError, match=(r'of a ConvNeXt\. Not recognised: backbone\.extra\.weight')
    ):
        convert_state_dict(weights)
