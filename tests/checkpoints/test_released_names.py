"""Tests of the conversion of all supported releases: names, values and removed weights."""

import pytest
import torch
from torch.nn import functional as F

from pose_backbones.checkpoints.conversion import Conversion, convert_state_dict, inspect_state_dict
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import ConvNeXt, MogaNet, UniFormer
from tests.helpers import golden_values
from tests.helpers.releases import (
    DEPTHS,
    DIMS,
    convnext_backbone,
    fill,
    old_head,
    original_swin,
    uniformer_imagenet,
    with_prefix,
)

MOGANET = dict(embed_dims=DIMS, depths=DEPTHS, ffn_ratios=(2, 2, 2, 2))
UNIFORMER = dict(embed_dims=DIMS, depths=DEPTHS, conv_stem=False)
CONVNEXT = dict(embed_dims=DIMS, depths=DEPTHS, use_grn=False)


def backbone_part(weights):
    """Return the weights of the backbone, without prefix; assert that there are no others."""
    assert all(name.startswith('backbone.') for name in weights)
    return {name[len('backbone.') :]: weights[name] for name in weights}


def assert_same_values(converted, original):
    """Assert that both have the same tensors, without loss and without duplicates."""

    def contents(weights):
        return sorted((value.numel(), *value.flatten()[:64].tolist()) for value in weights.values())

    assert contents(converted) == contents(original)


@pytest.mark.parametrize(
    ('case', 'build'),
    [
        ('moganet_x-tiny', lambda: MogaNet('x-tiny')),
        ('uniformer_small', lambda: UniFormer('small')),
        ('uniformer_small_hybrid', lambda: UniFormer('small', attention='hybrid')),
        ('convnext_tiny', lambda: ConvNeXt('tiny')),
        ('convnext_v2_atto', lambda: ConvNeXt('v2-atto')),
    ],
)
def test_every_name_of_golden_files_is_converted(case, build):
    record = golden_values.load(case)
    weights = fill(dict(record['state']))
    done = inspect_state_dict({record['wrap']: weights})
    assert done.left_out == {}
    assert done.added == ()
    assert_same_values(done.weights, weights)

    today, net = backbone_part(done.weights), build()
    net.load_state_dict(backbone_part(weights), strict=True)
    assert net.state_dict().keys() == today.keys()
    for name, value in net.state_dict().items():
        assert torch.equal(value, today[name]), name


def test_converted_weights_give_original_outputs():
    """The outputs of a converted file are those of the original."""
    record = golden_values.load('convnext_v2_atto')
    weights = convert_state_dict(golden_values.weights(record))
    net = ConvNeXt('v2-atto').eval()
    net.load_state_dict(backbone_part(weights), strict=True)
    with torch.no_grad():
        outputs = net(golden_values.image(record))
    golden_values.assert_reproduced(outputs, record)


def test_imagenet_release_of_moganet():
    torch.manual_seed(0)
    state = MogaNet(MOGANET).state_dict()
    classifier = {'head.weight': torch.ones(10, 32), 'head.bias': torch.ones(10)}
    done = inspect_state_dict(
        {'arch': 'moganet', 'state_dict': {**state, **classifier}, 'metric': 1.0}
    )
    assert (done.family, done.naming) == ('MogaNet', 'ImageNet release')
    assert done.left_out == dict.fromkeys(classifier, 'of the classifier')
    assert backbone_part(done.weights).keys() == state.keys()
    for name, value in state.items():
        assert done.weights[f'backbone.{name}'] is value


@pytest.mark.parametrize('token_labels', [False, True])
@pytest.mark.parametrize(
    ('layer_scale', 'conv_stem'), [(False, False), (True, False), (False, True)]
)
def test_imagenet_releases_of_uniformer(token_labels, layer_scale, conv_stem):
    weights = uniformer_imagenet(layer_scale, token_labels, conv_stem)
    done = inspect_state_dict({'model': weights})
    assert (done.family, done.naming) == ('UniFormer', 'ImageNet release')
    classifier = {name for name in weights if name.startswith(('norm.', 'head.', 'aux_head.'))}
    assert len(classifier) == (9 if token_labels else 7)
    assert set(done.left_out) == classifier
    assert set(done.added) == {
        f'backbone.norm{stage}.{leaf}' for stage in range(1, 5) for leaf in ('weight', 'bias')
    }
    for name in weights.keys() - classifier:
        assert done.weights[f'backbone.{name}'] is weights[name]
    net = UniFormer(
        {**UNIFORMER, 'conv_stem': conv_stem},
        head_dim=8,
        layer_scale_init_value=1e-6 if layer_scale else None,
    )
    net.load_state_dict(backbone_part(done.weights), strict=True)


@pytest.mark.parametrize('v2', [False, True])
@pytest.mark.parametrize(('naming', 'label'), [('original', 'ImageNet release'), ('timm', 'timm')])
def test_releases_of_convnext(naming, label, v2):
    weights = convnext_backbone(naming, v2)
    done = inspect_state_dict(weights)
    assert (done.family, done.naming) == ('ConvNeXt', label)
    head = 'head.fc' if naming == 'timm' else 'head'
    assert set(done.left_out) == {f'{head}.weight', f'{head}.bias'}
    kept = {name: value for name, value in weights.items() if name not in done.left_out}
    assert_same_values(done.weights, kept)
    net = ConvNeXt({**CONVNEXT, 'use_grn': v2})
    result = net.load_state_dict(backbone_part(done.weights), strict=False)
    assert result.unexpected_keys == []
    assert set(result.missing_keys) == {
        f'norm{stage}.{leaf}' for stage in range(3) for leaf in ('weight', 'bias')
    }


@pytest.mark.parametrize('v2', [False, True])
def test_namings_of_convnext_agree(v2):
    results = [
        convert_state_dict(weights)
        for weights in (
            convnext_backbone('timm', v2),
            convnext_backbone('original', v2),
            {
                **with_prefix('backbone', convnext_backbone('mmpretrain', v2)),
                'head.fc.weight': torch.ones(10, 32),
            },
        )
    ]
    for weights in results[1:]:
        assert weights.keys() == results[0].keys()
        for name, value in results[0].items():
            assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize('v2', [False, True])
def test_converted_timm_convnext_gives_the_same_maps(v2):
    from timm.models.convnext import ConvNeXt as TimmConvNeXt

    torch.manual_seed(0)
    timm_model = TimmConvNeXt(
        dims=DIMS, depths=DEPTHS, num_classes=5, use_grn=v2, ls_init_value=None if v2 else 1.0
    ).eval()
    for value in timm_model.parameters():
        value.data += 0.2 * torch.rand_like(value)
    net = ConvNeXt({**CONVNEXT, 'use_grn': v2}, out_indices=(3,)).eval()
    done = inspect_state_dict(timm_model.state_dict())
    assert done.naming == 'timm'
    net.load_state_dict(backbone_part(done.weights), strict=False)
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = timm_model.forward_features(image).permute(0, 2, 3, 1)
        norm = timm_model.head.norm
        expected = F.layer_norm(expected, (32,), norm.weight, norm.bias, norm.eps).permute(
            0, 3, 1, 2
        )
        torch.testing.assert_close(net(image)[0], expected, rtol=1e-5, atol=1e-5)


def test_classifier_of_mmpretrain():
    weights = with_prefix('backbone', convnext_backbone('mmpretrain'))
    head = {'head.fc.weight': torch.ones(10, 32), 'head.fc.bias': torch.ones(10)}
    done = inspect_state_dict({'state_dict': {**weights, **head}})
    assert done.naming == 'mmpretrain'
    assert done.left_out == dict.fromkeys(head, 'of the classifier')
    last = done.weights['backbone.norm3.weight']
    assert last is weights['backbone.norm3.weight']


@pytest.mark.parametrize('timm', [False, True])
def test_releases_of_swin(timm):
    """Merging orders channels differently in MMPose; the outputs are equal."""
    from mmpose.models.backbones import SwinTransformer

    net, weights = original_swin()
    if timm:
        weights = net.state_dict()
    done = inspect_state_dict({'model': weights})
    assert (done.family, done.naming) == ('SwinTransformer', 'timm' if timm else 'ImageNet release')
    assert set(done.left_out) == (
        {'head.fc.weight', 'head.fc.bias'}
        if timm
        else {'head.weight', 'head.bias', 'layers.0.blocks.1.attn_mask'}
    )
    assert len(done.added) == (4 if timm else 0)
    host = SwinTransformer(
        embed_dims=16,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=4,
        strides=(4, 2),
        out_indices=(1,),
    )
    host.eval()
    host.load_state_dict(backbone_part(done.weights), strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            host(image)[0], net.forward_features(image).permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('convs', [0, 1, 2])
def test_heads_of_mmpose_0x(convs):
    """The last convolution becomes the final layer, for any number of convolutions."""
    head = old_head(32, convs)
    done = inspect_state_dict(
        {'state_dict': {**with_prefix('backbone', convnext_backbone('mmpretrain')), **head}}
    )
    assert done.naming == 'MMPose 0.x'
    numbered = f'.{3 * convs}' if convs else ''
    for name, value in head.items():
        today = name.replace('keypoint_head', 'head')
        if today.startswith(f'head.final_layer{numbered}.'):
            today = today.replace(f'final_layer{numbered}', 'final_layer')
        else:
            today = today.replace('final_layer', 'conv_layers')
        assert done.weights[today] is value, name


def every_release():
    """Return the content of a file for each release."""
    moganet = MogaNet(MOGANET).state_dict()
    yield 'moganet', moganet
    yield 'moganet 0.x', {**with_prefix('backbone', moganet), **old_head(32, 1)}
    yield 'uniformer', uniformer_imagenet(True, True)
    for naming in ('original', 'timm', 'mmpretrain'):
        yield f'convnext {naming}', convnext_backbone(naming, v2=True)
    yield 'swin', original_swin()[1]
    yield (
        'timm model',
        {'backbone.model.conv1.weight': torch.ones(1), 'head.final_layer.weight': torch.ones(1)},
    )


@pytest.mark.parametrize('name', [name for name, _ in every_release()])
def test_converting_twice_changes_nothing(name):
    once = convert_state_dict(dict(every_release())[name])
    done = inspect_state_dict(once)
    assert (done.left_out, done.added) == ({}, ())
    assert done.weights.keys() == once.keys()
    for key, value in once.items():
        assert torch.equal(done.weights[key], value), key


def test_lightning_prefix_is_removed():
    """The prefix is `model.`, which is also the prefix of `TimmBackbone`."""
    weights = uniformer_imagenet(token_labels=True)
    done = inspect_state_dict({'state_dict': with_prefix('model', weights), 'epoch': 3})
    without_prefix = inspect_state_dict(weights)
    assert (done.family, done.naming) == ('UniFormer', 'ImageNet release')
    assert done.weights.keys() == without_prefix.weights.keys()
    kept = [name for name in weights if f'backbone.{name}' in done.weights]
    assert len(kept) > len(weights) // 2
    assert all(done.weights[f'backbone.{name}'] is weights[name] for name in kept)
    assert done.left_out == with_prefix('model', without_prefix.left_out)

    whole_model = {**with_prefix('backbone', convnext_backbone('mmpretrain')), **old_head(32)}
    done = inspect_state_dict(with_prefix('model', whole_model))
    assert (done.family, done.naming) == ('ConvNeXt', 'MMPose 0.x')
    assert done.weights.keys() == convert_state_dict(whole_model).keys()

    timm_weights = {'backbone.model.conv1.weight': torch.ones(1)}
    done = inspect_state_dict(with_prefix('model', timm_weights))
    assert (done.family, done.weights) == ('TimmBackbone', timm_weights)


def test_mmpose_1x_names_are_unchanged():
    weights = {
        **with_prefix('backbone', convert_backbone_of('timm')),
        'neck.conv.weight': torch.ones(1),
        'head.cls_x.weight': torch.ones(1),
    }
    constants = {'data_preprocessor.mean': torch.ones(3, 1, 1)}
    done = inspect_state_dict({'state_dict': {**weights, **constants}})
    assert done.naming == 'MMPose 1.x'
    assert done.weights.keys() == weights.keys()
    assert all(done.weights[name] is weights[name] for name in weights)
    assert done.left_out == {'data_preprocessor.mean': 'constant, from the config'}


def convert_backbone_of(naming):
    return backbone_part(convert_state_dict(convnext_backbone(naming)))


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        (
            {'conv1.weight': 1, 'layer1.0.bn1.weight': 1},
            'a backbone of no known family (MogaNet, UniFormer, ConvNeXt, '
            'SwinTransformer, MSPN, HRCoMer, TimmBackbone). Not recognised: '
            'conv1.weight, layer1.0.bn1.weight. Weights of a timm model need no '
            "conversion: model.backbone=dict(type='TimmBackbone', model_name=NAME, "
            "init_cfg=dict(type='Pretrained', checkpoint=FILE)) takes them",
        ),
        (
            {'model.foo.weight': 1},
            'no known family (MogaNet, UniFormer, ConvNeXt,'
            ' SwinTransformer, MSPN, HRCoMer, TimmBackbone). Not recognised: '
            'model.foo.weight. ',
        ),
        (
            {'model.foo.weight': 1, 'head.final_layer.weight': 1},
            'Not recognised: model.foo.weight, head.final_layer.weight',
        ),
        (
            {'model.stages.0.0.dwconv.weight': 1, 'model.new.weight': 1},
            'of a ConvNeXt. Not recognised: backbone.new.weight',
        ),
        (
            {'model.backbone.foo.weight': 1, 'model.loss.weight': 1},
            'Not recognised: model.backbone.foo.weight, model.loss.weight',
        ),
        (
            {'backbone.conv1.weight': 1, 'head.final_layer.weight': 1},
            'no known family (MogaNet, UniFormer, ConvNeXt, SwinTransformer, '
            'MSPN, HRCoMer, TimmBackbone). Not recognised: backbone.conv1.weight',
        ),
        (
            {'stages.0.0.dwconv.weight': 1, 'stages.0.0.new.weight': 1},
            '1 of 2 names are known, of a ConvNeXt. Not recognised: '
            'backbone.stages.0.blocks.0.new.weight',
        ),
        (
            {'backbone.stages.0.0.dwconv.weight': 1, 'extra.weight': 1},
            '1 of 2 names are known, of a ConvNeXt. Not recognised: extra.weight',
        ),
        (
            {'stages.0.0.dwconv.weight': 1, 'stages.0.blocks.0.conv_dw.weight': 1},
            'Different names stand for one and the same weight',
        ),
    ],
)
def test_unknown_releases_raise(weights, message):
    weights = {name: torch.ones(1) for name in weights}
    with pytest.raises(CheckpointError) as caught:
        convert_state_dict(weights)
    assert str(caught.value).startswith('weights of an unknown release: ')
    assert message in str(caught.value)


def test_conversion_lists_entries_of_the_file():
    weights = convnext_backbone('timm')
    averaged = {name: value + 1 for name, value in weights.items()}
    content = {'state_dict_ema': averaged, 'state_dict': weights}
    done = inspect_state_dict(content)
    assert isinstance(done, Conversion)
    assert done.entries == ('state_dict', 'state_dict_ema')
    assert done.weights['backbone.stem.0.bias'] is weights['stem.0.bias']
    done = inspect_state_dict(content, key='state_dict_ema')
    assert done.entries == ('state_dict_ema', 'state_dict')
    assert done.weights['backbone.stem.0.bias'] is averaged['stem.0.bias']
