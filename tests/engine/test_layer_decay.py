"""Tests of layer-wise learning rate decay."""

import re

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from pose_backbones.models.backbones import ConvNeXt, MogaNet, TimmBackbone

LR, WEIGHT_DECAY, RATE = 1e-3, 0.05, 0.8
CONVNEXT = dict(arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 7, 2), use_grn=True))


class Model(nn.Module):
    """A backbone with a head."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(4, 4, 3)


def build_optimizer(model, optimizer=None, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=optimizer or dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
            constructor='pose_backbones.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise_cfg,
        ),
    ).optimizer


def group_settings(model, **paramwise_cfg):
    """Return parameter name → (learning rate / LR, weight decay)."""
    paramwise_cfg = paramwise_cfg or dict(decay_rate=RATE)
    groups = build_optimizer(model, **paramwise_cfg).param_groups
    settings = {
        id(p): (group['lr'] / LR, group['weight_decay'])
        for group in groups
        for p in group['params']
    }
    assert len(settings) == sum(len(group['params']) for group in groups)
    return {name: settings[id(p)] for name, p in model.named_parameters() if id(p) in settings}


def layers_from_rates(settings, top):
    """Return parameter name → layer, computed from the learning rates."""
    rates = {round(RATE ** (top - layer), 9): layer for layer in range(top + 1)}
    return {name: rates[round(rate, 9)] for name, (rate, _) in settings.items()}


def original_layer(name: str, num_layers: int) -> int:
    """Return the layer number in the ConvNeXt repository, for a name in that repository."""
    part, *numbers = name.removeprefix('backbone.').split('.')
    if part == 'downsample_layers':
        return (0, 2, 3, num_layers)[int(numbers[0])]
    if part == 'stages':
        stage, block = map(int, numbers[:2])
        return (1, 2, 3 + block // 3, num_layers)[stage]
    return num_layers + 1


def original_name(name: str) -> str:
    """Return the name of a parameter in the ConvNeXt repository."""
    name = name.replace('.stem.', '.downsample_layers.0.')
    name = re.sub(r'stages\.(\d)\.downsample', r'downsample_layers.\1', name)
    return name.replace('.blocks.', '.')


@pytest.mark.parametrize(('arch', 'num_layers'), [('tiny', 6), ('small', 12), ('base', 12)])
def test_convnext_layers_match_original(arch, num_layers):
    with torch.device('meta'):
        model = Model(ConvNeXt(arch))
    settings = group_settings(model)
    assert set(settings) == {name for name, _ in model.named_parameters()}
    for name, (rate, _) in settings.items():
        layer = original_layer(original_name(name), num_layers)
        assert rate == pytest.approx(RATE ** (num_layers + 1 - layer)), name


def test_vectors_have_no_weight_decay():
    model = Model(ConvNeXt(**CONVNEXT))
    for name, (_, decay) in group_settings(model).items():
        vector = model.get_parameter(name).ndim == 1
        assert decay == (0 if vector else WEIGHT_DECAY), name
    model = Model(MogaNet('x-tiny'))  # vectors of shape (1, C, 1, 1)
    settings = group_settings(model)
    block = 'backbone.blocks1.0.'
    assert settings[f'{block}layer_scale_1'][1] == 0
    assert settings[f'{block}mlp.sigma.scale'][1] == 0
    assert settings[f'{block}attn.proj_1.weight'][1] == WEIGHT_DECAY
    assert settings[f'{block}attn.value.DW_conv0.weight'][1] == WEIGHT_DECAY


def test_stage_wise_decay_has_one_layer_per_stage():
    model = Model(ConvNeXt(**CONVNEXT))
    settings = group_settings(model, decay_rate=RATE, decay_type='stage_wise')
    layers = layers_from_rates(settings, top=4)
    for name, layer in layers.items():
        match = re.match(r'backbone\.stages\.(\d)', name)
        stage = 0 if '.stem.' in name else int(match[1]) if match else 4
        assert layer == stage, name


def test_each_block_of_a_backbone_is_a_layer():
    net = MogaNet(dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 3, 1), ffn_ratios=(4, 4, 2, 2)))
    layers = layers_from_rates(group_settings(Model(net)), top=7)
    first = {1: 0, 2: 1, 3: 3, 4: 6}  # of a stage's blocks
    last = {1: 0, 2: 2, 3: 5, 4: 6}
    for name, layer in layers.items():
        match = re.match(r'backbone\.([a-z_]+)(\d)\.(\d*)', name)
        if not match:
            assert layer == 7
            continue
        part, stage = match[1], int(match[2])
        expected = (
            dict(patch_embed=first, norm=last)
            .get(part, {})
            .get(stage, first[stage] + int(match[3] or 0))
        )
        assert layer == expected, name


def test_blocks_of_timm_transformer_are_layers():
    net = TimmBackbone(
        'vit_tiny_patch16_224',
        img_size=32,
        out_indices=(2,),
        model_args=dict(depth=4, embed_dim=48, num_heads=2),
    )
    settings = group_settings(Model(net))
    layers = layers_from_rates(settings, top=3)
    for name, layer in layers.items():
        block = re.search(r'blocks\.(\d)', name)
        expected = int(block[1]) if block else 3 if 'head' in name else 0
        assert layer == expected, name
    assert settings['backbone.model.model.pos_embed'][1] == 0
    assert settings['backbone.model.model.cls_token'][1] == 0


def test_unused_stages_are_not_counted():
    """The last stage that is used has the same rate, whatever stages follow it."""
    all_settings = group_settings(Model(ConvNeXt(**CONVNEXT)))
    used_settings = group_settings(Model(ConvNeXt(**CONVNEXT, out_indices=(1,))))
    name = 'backbone.stages.1.blocks.0.conv_dw.weight'
    assert used_settings[name][0] == pytest.approx(RATE)
    assert all_settings[name][0] == pytest.approx(RATE**5)
    assert not any('stages.2' in name or 'norm0' in name for name in used_settings)


def test_frozen_stages_do_not_change_rates():
    all_settings = group_settings(Model(ConvNeXt(**CONVNEXT)))
    trained_settings = group_settings(Model(ConvNeXt(**CONVNEXT, frozen_stages=1)))
    frozen = {name for name in all_settings if name not in trained_settings}
    assert frozen == {
        name for name in all_settings if re.match(r'backbone\.(stem|stages\.[01]|norm[01])', name)
    }
    assert trained_settings == {name: all_settings[name] for name in trained_settings}


def test_step_size_is_learning_rate():
    """With SGD and equal gradients, the weights change by their learning rates."""
    model = Model(ConvNeXt(**CONVNEXT))
    optimizer = build_optimizer(model, dict(type='SGD', lr=LR), decay_rate=RATE)
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    for name, (rate, _) in group_settings(model).items():
        moved = before[name] - model.get_parameter(name).detach()
        torch.testing.assert_close(moved, torch.full_like(moved, LR * rate), rtol=1e-2, atol=1e-7)


def test_constructor_is_found_in_mmpose_registry():
    from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS

    kind = OPTIM_WRAPPER_CONSTRUCTORS.get('pose_backbones.LayerDecayOptimWrapperConstructor')
    assert kind.__module__ == 'pose_backbones.engine.layer_decay'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({}, 'decay_rate=None: expected a number'),
        (dict(decay_rate=0), 'decay_rate=0: expected'),
        (dict(decay_rate=1.1), 'decay_rate=1.1'),
        (dict(decay_rate='fast'), "decay_rate='fast'"),
        (
            dict(decay_rate=0.9, decay_type='layers'),
            "decay_type='layers': expected layer_wise or stage_wise",
        ),
        (dict(decay_rat=0.9), 'decay_rat=0.9.*did you mean decay_rate'),
        (
            dict(decay_rate=0.9, num_layers=12),
            'num_layers=12: expected only decay_rate and decay_type',
        ),
        (dict(decay_rate=0.9, norm_decay_mult=0.0), 'norm_decay_mult=0.0.*_delete_=True'),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        build_optimizer(Model(ConvNeXt(**CONVNEXT)), **options)


def test_optimizer_without_lr_raises():
    with pytest.raises(ValueError, match='optimizer.lr is missing'):
        build_optimizer(Model(ConvNeXt(**CONVNEXT)), dict(type='AdamW'), decay_rate=0.9)


def test_backbone_of_other_package_raises():
    with pytest.raises(TypeError, match='needs a model whose backbone .*it is Conv2d'):
        build_optimizer(Model(nn.Conv2d(3, 4, 3)), decay_rate=0.9)
