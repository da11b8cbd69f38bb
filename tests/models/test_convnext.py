"""ConvNeXt V1 and V2: values, names of all releases, options and errors.

What it shares with every backbone is in test_contract.py.
"""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from torch import nn

from pose_backbones.checkpoints.names.convnext import convert_backbone
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import ConvNeXt
from tests.helpers import golden_values
from tests.helpers.random_weights import randomize

WIDTHS, DEPTHS = (8, 16, 24, 32), (1, 2, 4, 1)


def small(use_grn: bool) -> dict:
    """Return an architecture with 60,000 parameters."""
    return dict(embed_dims=WIDTHS, depths=DEPTHS, use_grn=use_grn)


def random_net(use_grn=False, seed=0, **kwargs) -> ConvNeXt:
    return randomize(ConvNeXt(small(use_grn), **kwargs), seed)


@pytest.mark.parametrize(
    ('case', 'arch'), [('convnext_tiny', 'tiny'), ('convnext_v2_atto', 'v2-atto')]
)
def test_outputs_match_pose_releases(case, arch):
    record = golden_values.load(case)
    net = ConvNeXt(arch).eval()
    converted = convert_backbone(golden_values.weights(record, 'backbone.'))
    assert set(converted) == set(net.state_dict())
    net.load_state_dict(converted, strict=True)
    assert sum(p.numel() for p in net.parameters()) == record['params']
    with torch.no_grad():
        outputs = net(golden_values.image(record))
    assert len(outputs) == 4
    golden_values.assert_reproduced(outputs, record)


@pytest.mark.parametrize('use_grn', [False, True])
def test_maps_match_timm(use_grn):
    timm_model = randomize(
        TimmConvNeXt(
            num_classes=7,
            depths=DEPTHS,
            dims=WIDTHS,
            use_grn=use_grn,
            ls_init_value=None if use_grn else 1.0,
        ),
        seed=1,
    ).eval()
    net = random_net(use_grn, seed=2).eval()
    weights = convert_backbone(timm_model.state_dict())
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert {name.split('.')[0] for name in missing} == {'norm0', 'norm1', 'norm2'}
    assert not unexpected
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = timm_model.forward_intermediates(image, intermediates_only=True)
        normed = net(image)
        for stage in range(4):
            setattr(net, f'norm{stage}', nn.Identity())
        net_maps = net(image)
    assert torch.equal(weights['norm3.bias'], timm_model.head.norm.bias)
    for feature_map, expected_map in zip(net_maps, expected):
        torch.testing.assert_close(feature_map, expected_map, rtol=1e-5, atol=1e-5)
    last = F.layer_norm(
        expected[3].permute(0, 2, 3, 1),
        (32,),
        timm_model.head.norm.weight,
        timm_model.head.norm.bias,
        1e-6,
    ).permute(0, 3, 1, 2)
    torch.testing.assert_close(normed[3], last, rtol=1e-4, atol=1e-5)


# Millions of parameters of the ImageNet classifiers, as the papers and the
# repositories state them.
@pytest.mark.parametrize(
    ('arch', 'millions', 'digits'),
    [
        ('tiny', 28.6, 1),
        ('small', 50.2, 1),
        ('base', 88.6, 1),
        ('large', 197.8, 1),
        ('xlarge', 350.2, 1),
        ('v2-atto', 3.7, 1),
        ('v2-femto', 5.2, 1),
        ('v2-pico', 9.1, 1),
        ('v2-nano', 15.6, 1),
        ('v2-tiny', 28.6, 1),
        ('v2-base', 89, 0),
        ('v2-large', 198, 0),
        ('v2-huge', 660, 0),
    ],
)
def test_parameter_counts(arch, millions, digits):
    """Return the number of parameters of the norm and the 1000-class layer after the stages."""
    with torch.device('meta'):
        net = ConvNeXt(arch)
    params = sum(
        value.numel() for name, value in net.named_parameters() if not re.match('norm[012]', name)
    )
    params += 1000 * (net.embed_dims[-1] + 1)
    assert round(params / 1e6, digits) == millions
    assert net.guess_arch(net.state_dict()) == arch


def test_every_architecture_has_an_expected_parameter_count():
    marks = test_parameter_counts.pytestmark
    assert {row[0] for row in marks[0].args[1]} == set(ConvNeXt.arch_settings)


def test_arch_aliases():
    with torch.device('meta'):
        assert ConvNeXt('XL').embed_dims == ConvNeXt('xlarge').embed_dims


def released(net: ConvNeXt, naming: str) -> dict[str, torch.Tensor]:
    """Return the weights of a backbone in the naming of an ImageNet release.

    ImageNet releases do not have the norms of the first three maps.
    """
    inner, outer, last = {
        'original': (('dwconv', 'pwconv'), 'downsample_layers', 'norm'),
        'mmpretrain': (('depthwise_conv', 'pointwise_conv'), 'downsample_layers', 'norm3'),
        'timm': (('conv_dw', 'mlp.fc'), 'stages', 'head.norm'),
    }[naming]
    weights = {'head.fc.weight' if naming == 'timm' else 'head.weight': torch.ones(10, 32)}
    for name, value in net.state_dict().items():
        if re.match('norm[012]', name):
            continue
        name = name.replace('norm3.', f'{last}.')
        if naming != 'timm':
            name = (
                name.replace('stem.', f'{outer}.0.')
                .replace('blocks.', '')
                .replace('mlp.grn.weight', 'grn.gamma')
                .replace('mlp.grn.bias', 'grn.beta')
            )
            name = re.sub(r'stages\.(\d)\.downsample', rf'{outer}.\1', name)
        name = name.replace('conv_dw', inner[0]).replace('mlp.fc', inner[1])
        if naming == 'original' and '.grn.' in name:
            value = value[None, None, None]
        if naming == 'mmpretrain' and value.ndim == 2:
            value = value[..., None, None]  # its linear_pw_conv=False
        weights[name] = value
    return weights


@pytest.mark.parametrize('use_grn', [False, True])
@pytest.mark.parametrize('naming', ['original', 'mmpretrain', 'timm'])
def test_init_cfg_loads_imagenet_releases(tmp_path, naming, use_grn):
    source = random_net(use_grn, seed=3)
    weights = released(source, naming)
    assert (naming == 'timm') == ('stem.0.weight' in weights)
    torch.save({'model': weights}, tmp_path / 'release.pth')
    net = ConvNeXt(
        small(use_grn), init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'release.pth'))
    )
    net.init_weights()
    for name, value in net.state_dict().items():
        if re.match('norm[012]', name):
            fresh = float(name.endswith('weight'))
            assert (value == fresh).all(), name
        else:
            assert torch.equal(value, source.state_dict()[name]), name


def test_only_norms_may_be_missing_in_imagenet_releases(tmp_path):
    weights = released(random_net(), 'original')
    del weights['stages.2.1.gamma']
    torch.save({'model': weights}, tmp_path / 'release.pth')
    net = ConvNeXt(
        small(False), init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'release.pth'))
    )
    with pytest.raises(CheckpointError, match=r'1 missing key: stages\.2\.blocks\.1\.gamma'):
        net.init_weights()


@pytest.mark.parametrize('use_grn', [False, True])
def test_current_names_are_unchanged(use_grn):
    weights = random_net(use_grn).state_dict()
    converted = convert_backbone(weights)
    assert list(converted) == list(weights)
    assert all(converted[name] is weights[name] for name in weights)
    assert convert_backbone({'layer1.conv.weight': 3}) == {'layer1.conv.weight': 3}


def test_weights_load_for_any_out_indices():
    net = random_net().eval()
    last = random_net(out_indices=(3,), seed=4).eval()
    last.load_state_dict(net.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(last(image)[0], net(image)[3])
    last.train()
    last(image)[0].square().mean().backward()
    for name, value in last.named_parameters():
        assert (value.grad is None) == bool(re.match('norm[012]', name)), name
        assert value.requires_grad == (value.grad is not None)


def test_frozen_stages_include_stem_downsampling_blocks_and_norm():
    net = random_net(frozen_stages=1).train()
    frozen = {
        re.match(r'stem|stages\.\d|norm\d', name).group()
        for name, value in net.named_parameters()
        if not value.requires_grad
    }
    assert frozen == {'stem', 'stages.0', 'stages.1', 'norm0', 'norm1'}
    assert not any(
        module.training
        for stage in (0, 1)
        for part in net.stage_modules(stage)
        for module in part.modules()
    )
    assert all(module.training for module in net.stages[2].modules())


def test_with_cp_is_active_only_in_training(monkeypatch):
    calls = []
    monkeypatch.setattr(
        'pose_backbones.models.backbones.convnext.checkpointed',
        lambda block, x: calls.append(block) or block(x),
    )
    net = random_net(with_cp=True)
    image = torch.randn(1, 3, 32, 32)
    net.eval()(image)
    assert not calls
    net.train()(image)
    assert calls == [b for stage in net.stages for b in stage.blocks]


def test_drop_path_rate_rises_linearly():
    net = random_net(drop_path_rate=0.5)
    rates = [
        getattr(block.drop_path, 'drop_prob', 0.0) for stage in net.stages for block in stage.blocks
    ]
    assert rates == pytest.approx(np.linspace(0, 0.5, sum(DEPTHS)))


@pytest.mark.parametrize(('given', 'expected'), [(None, 1.0), (1e-6, 1e-6)])
def test_layer_scale_init_value(given, expected):
    net = ConvNeXt(small(False), layer_scale_init_value=given)
    for stage in net.stages:
        for block in stage.blocks:
            assert torch.equal(block.gamma, torch.full_like(block.gamma, expected))


def test_init_weights_from_scratch():
    torch.manual_seed(0)
    net = ConvNeXt(small(True))
    net.init_weights()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert (module.bias == 0).all()
            if module.weight.numel() > 2000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
    # GRN is initialized as the identity.
    block = net.stages[0].blocks[0]
    assert (block.mlp.grn.weight == 0).all()
    assert (block.mlp.grn.bias == 0).all()


def test_in_channels():
    net = random_net(in_channels=1)
    assert net(torch.randn(1, 1, 32, 32))[0].shape == (1, 8, 8, 8)


@pytest.mark.parametrize(('out_indices', 'stride'), [((3,), 32), ((0,), 4)])
def test_images_smaller_than_the_stride_raise(out_indices, stride):
    net = random_net(out_indices=out_indices).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, stride, 2 * stride + 1))[0].shape[2:] == (1, 2)
        with pytest.raises(
            ValueError, match=f'is {stride - 1}x64 .*stage {out_indices[0]} .*at least {stride}'
        ):
            net(torch.randn(1, 3, stride - 1, 64))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(arch='v2-ato'), ValueError, "'v2-ato'.*did you mean v2-atto"),
        (dict(arch=dict(depths=DEPTHS)), ValueError, 'keys depths: .*use_grn'),
        (
            dict(arch={**small(False), 'depths': (1, 1)}),
            ValueError,
            r"arch\['depths'\] is \(1, 1\): expected 4 integers",
        ),
        (
            dict(arch={**small(False), 'embed_dims': 'wide'}),
            TypeError,
            r"arch\['embed_dims'\] is 'wide': expected 4 integers",
        ),
        (
            dict(arch={**small(False), 'use_grn': 'V2'}),
            TypeError,
            r"arch\['use_grn'\] is 'V2': expected True or False",
        ),
        (dict(in_channels=1.0), TypeError, 'in_channels is 1.0: expected an integer'),
        (
            dict(layer_scale_init_value='a'),
            TypeError,
            "is 'a': expected a positive number, or None for 1",
        ),
        (
            dict(arch='v2-atto', layer_scale_init_value=1.0),
            ValueError,
            'is 1.0: ConvNeXt V2 has no layer scale',
        ),
        (dict(layer_scale_init_value=0), ValueError, 'is 0: expected a positive'),
        (dict(drop_path_rate=-0.1), ValueError, 'drop_path_rate is -0.1'),
        (dict(drop_path_rate=float('nan')), ValueError, 'drop_path_rate is nan'),
        (dict(norm_eval=True), TypeError, 'norm_eval'),
    ],
)
def test_invalid_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        ConvNeXt(**{'arch': small(False), **arguments})
