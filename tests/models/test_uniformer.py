"""Tests of UniFormer: values, released names, options and errors."""

import numpy as np
import pytest
import torch
from torch import nn

from pose_backbones.checkpoints.names.uniformer import convert_backbone
from pose_backbones.cli.memory import record_kept
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import UniFormer
from pose_backbones.models.backbones.uniformer import Attention
from tests.helpers import golden_values

SMALL = dict(embed_dims=(8, 8, 16, 32), depths=(1, 2, 4, 2), conv_stem=False)


def random_net(seed=0, **kwargs) -> UniFormer:
    """Return a small network with weights with which every branch affects the output."""
    torch.manual_seed(seed)
    net = UniFormer(**{'arch': SMALL, 'head_dim': 8, **kwargs})
    for name, value in net.named_parameters():
        if 'gamma' in name:
            value.data.uniform_(0.3, 0.9)
        elif value.dim() == 1:
            value.data += 0.2 * torch.randn_like(value)
    return net


def outputs_of(net, image):
    with torch.no_grad():
        return net.eval()(image)


@pytest.mark.parametrize(
    ('case', 'attention'),
    [('small', 'global'), ('small_384', 'global'), ('small_hybrid', 'hybrid')],
)
def test_outputs_match_original(case, attention):
    record = golden_values.load(f'uniformer_{case}')
    net = UniFormer('small', attention=attention, out_indices=(3,))
    weights = golden_values.weights(record, 'backbone.')
    assert convert_backbone(weights) is weights
    net.load_state_dict(weights, strict=True)
    assert sum(p.numel() for p in net.parameters()) == record['params']
    golden_values.assert_reproduced(outputs_of(net, golden_values.image(record)), record)


@pytest.mark.parametrize(
    ('arch', 'scale', 'classifiers', 'millions'),
    [
        ('small', None, 1, 22),
        ('small-plus', None, 1, 24),
        ('base', None, 1, 50),
        ('large', 1e-6, 2, 100),
    ],
)
def test_parameter_counts(arch, scale, classifiers, millions):
    """Compare with the classifiers of the original, with their layers of 1000 classes.

    The large model is trained with token labelling and has two of these layers.
    """
    with torch.device('meta'):
        net = UniFormer(arch, layer_scale_init_value=scale)
    params = sum(p.numel() for p in net.parameters())
    params += classifiers * 1000 * (net.embed_dims[-1] + 1)
    assert round(params / 1e6) == millions


@pytest.mark.parametrize(('arch', 'millions'), [('S', 25.2), ('b', 53.5)])
def test_parameter_counts_with_pose_head(arch, millions):
    """Compare with the table of the MogaNet repository."""
    from mmpose.models.heads import HeatmapHead

    with torch.device('meta'):
        models = UniFormer(arch), HeatmapHead(512, 17)
    params = sum(p.numel() for model in models for p in model.parameters())
    assert round(params / 1e6, 1) == millions


@pytest.mark.parametrize('indices', [(0,), (3,), (1, 2), (0, 1, 2, 3), (-1,), (0, -2)])
def test_out_indices_select_maps(indices):
    image = torch.randn(1, 3, 64, 32)
    every = outputs_of(random_net(), image)
    net = random_net(out_indices=indices)
    chosen = outputs_of(net, image)
    assert len(chosen) == len(indices)
    for output, index in zip(chosen, indices):
        assert torch.equal(output, every[index])
    # The weights do not depend on out_indices, so released weights load strictly.
    assert net.state_dict().keys() == random_net().state_dict().keys()


@pytest.mark.parametrize('indices', [(3,), (1,), (0, 2)])
def test_every_trainable_weight_has_a_gradient(indices):
    """Norms of maps that are not returned, and later stages, have no gradient."""
    net = random_net(out_indices=indices).train()
    sum(o.square().mean() for o in net(torch.randn(2, 3, 64, 64))).backward()
    for name, value in net.named_parameters():
        module = name.split('.')[0]
        stage = int(module[-1]) - 1
        used = stage <= indices[-1]
        if module.startswith('norm'):
            used = stage in indices
        assert value.requires_grad == used, name
        assert (value.grad is not None) == used, name


@pytest.mark.parametrize('attention', ['global', 'windows', 'hybrid'])
@pytest.mark.parametrize('size', [(64, 48), (33, 47), (32, 32), (100, 71)])
def test_map_size_is_rounded_down(attention, size):
    net = random_net(attention=attention, window_size=None if attention == 'global' else 3)
    image = torch.randn(1, 3, *size)
    outputs = outputs_of(net, image)
    for output, channels, stride in zip(outputs, net.embed_dims, net.strides):
        cells = [side // stride for side in size]
        assert list(output.shape) == [1, channels, *cells]
        assert torch.isfinite(output).all()


def test_pixels_of_incomplete_cells_are_ignored():
    image = torch.randn(1, 3, 38, 47)
    first, second = (
        outputs_of(random_net(out_indices=(0,)), view)[0] for view in (image, image[..., :36, :44])
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize('size', [(1, 1), (33, 47), (100, 7)])
def test_map_size_is_rounded_up_with_convolutional_stem(size):
    net = random_net(arch={**SMALL, 'conv_stem': True})
    outputs = outputs_of(net, torch.randn(1, 3, *size))
    for output, channels, stride in zip(outputs, net.embed_dims, net.strides):
        cells = [-(-side // stride) for side in size]
        assert list(output.shape) == [1, channels, *cells]


def test_image_smaller_than_a_cell_raises():
    with pytest.raises(ValueError, match=r'image of 64x31 .*at least 32'):
        random_net()(torch.randn(1, 3, 64, 31))
    net = random_net(out_indices=(0,))
    assert net(torch.randn(1, 3, 4, 31))[0].shape[-2:] == (1, 7)
    with pytest.raises(ValueError, match=r'image of 3x31 .*at least 4'):
        net(torch.randn(1, 3, 3, 31))


def reference_attention(module, tokens):
    """Compute softmax attention token by token, in double precision."""
    tokens = tokens.double()
    qkv = tokens @ module.qkv.weight.double().T
    if module.qkv.bias is not None:
        qkv = qkv + module.qkv.bias.double()
    outputs = []
    for query, key, value in zip(*(part.chunk(module.heads, -1) for part in qkv.chunk(3, -1))):
        weights = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        outputs.append(weights.softmax(-1) @ value)
    y = torch.cat(outputs, -1)
    return y @ module.proj.weight.double().T + module.proj.bias.double()


@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('head_dim', [4, 8])
def test_window_attention_with_zero_padding(qkv_bias, head_dim):
    torch.manual_seed(0)
    x = 2 * torch.randn(2, 5, 7, 16)
    global_attention = Attention(16, head_dim, qkv_bias, None)
    windows = Attention(16, head_dim, qkv_bias, 3)
    windows.load_state_dict(global_attention.state_dict())
    torch.testing.assert_close(
        global_attention(x).double().flatten(1, 2),
        reference_attention(global_attention, x.flatten(1, 2)),
        rtol=1e-5,
        atol=1e-5,
    )
    full = torch.zeros(2, 6, 9, 16)
    full[:, :5, :7] = x
    expected = torch.zeros(2, 6, 9, 16, dtype=torch.double)
    for top in range(0, 6, 3):
        for left in range(0, 9, 3):
            cell = full[:, top : top + 3, left : left + 3].flatten(1, 2)
            expected[:, top : top + 3, left : left + 3] = reference_attention(windows, cell).view(
                2, 3, 3, 16
            )
    torch.testing.assert_close(windows(x).double(), expected[:, :5, :7], rtol=1e-5, atol=1e-5)


def test_kinds_of_attention_by_block():
    sizes = {}
    for kind in ('global', 'windows', 'hybrid'):
        with torch.device('meta'):
            net = UniFormer('base', attention=kind)
        assert all(b.attn.window_size is None for b in net.blocks4)
        sizes[kind] = [block.attn.window_size for block in net.blocks3]
    assert sizes['global'] == 20 * [None]
    assert sizes['windows'] == 20 * [14]
    assert sizes['hybrid'] == 5 * [14, 14, 14, None]
    # Windows of the size of the map give global attention, smaller ones do not.
    image = torch.randn(1, 3, 64, 64)
    global_attention, one_window, four = (
        outputs_of(random_net(attention=kind, window_size=side), image)[-1]
        for kind, side in (('global', None), ('windows', 4), ('windows', 2))
    )
    torch.testing.assert_close(global_attention, one_window, rtol=1e-5, atol=1e-5)
    assert (global_attention - four).abs().max() > 1e-3


@pytest.mark.parametrize(
    ('value', 'stages'), [(0.5, {1, 2, 3, 4}), ((None, None, 1e-6, 1e-6), {3, 4})]
)
def test_layer_scale_scales_each_residual(value, stages):
    """If the layer scale is folded into the previous layer, the maps are the same."""
    start = UniFormer(SMALL, head_dim=8, layer_scale_init_value=value)
    gammas = {name: p for name, p in start.named_parameters() if 'gamma' in name}
    assert {int(name[len('blocks')]) for name in gammas} == stages
    assert len(gammas) == 2 * sum(SMALL['depths'][stage - 1] for stage in stages)
    for name, gamma in gammas.items():
        expected = value if isinstance(value, float) else value[3]
        assert (gamma == torch.tensor(expected)).all()
        # As in the original, the scale is broadcast over the maps in the first two stages.
        assert gamma.dim() == (4 if int(name[6]) < 3 else 1)

    net = random_net(layer_scale_init_value=value)
    weights = net.state_dict()
    for name in gammas:
        gamma = weights.pop(name).flatten()
        block, which = name.rsplit('.', 1)
        layer = 'mlp.fc2' if which == 'gamma_2' else ('attn.proj' if int(name[6]) > 2 else 'conv2')
        for part in ('weight', 'bias'):
            tensor = weights[f'{block}.{layer}.{part}']
            weights[f'{block}.{layer}.{part}'] = tensor * gamma.view(-1, *[1] * (tensor.dim() - 1))
    plain = UniFormer(SMALL, head_dim=8)
    plain.load_state_dict(weights)
    image = torch.randn(1, 3, 64, 64)
    for output, other in zip(outputs_of(net, image), outputs_of(plain, image)):
        torch.testing.assert_close(output, other, rtol=1e-4, atol=1e-5)


def imagenet_release(net, token_labelling):
    """Return weights with the names of the original ImageNet releases."""
    weights = {
        name: value for name, value in net.state_dict().items() if not name.startswith('norm')
    }
    width, classes = net.embed_dims[-1], 10
    for part in ('weight', 'bias', 'running_mean', 'running_var'):
        weights[f'norm.{part}'] = torch.rand(width)
    weights['norm.num_batches_tracked'] = torch.tensor(7)
    for head in ('head', 'aux_head')[: 2 if token_labelling else 1]:
        weights[f'{head}.weight'] = torch.randn(classes, width)
        weights[f'{head}.bias'] = torch.randn(classes)
    return weights


@pytest.mark.parametrize(
    ('token_labelling', 'arguments'),
    [
        (False, {}),
        (True, {}),
        (False, dict(layer_scale_init_value=(None, None, 1e-6, 1e-6))),
        (True, dict(layer_scale_init_value=1e-6)),
        (True, dict(arch={**SMALL, 'conv_stem': True})),
    ],
)
def test_imagenet_releases_load_strictly(tmp_path, token_labelling, arguments):
    source = random_net(seed=1, **arguments)
    path = tmp_path / 'uniformer_in1k.pth'
    torch.save({'model': imagenet_release(source, token_labelling)}, path)
    net = random_net(seed=2, **arguments, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    net.init_weights()
    for name, value in net.state_dict().items():
        if name.startswith('norm'):
            start = 1 if name.endswith('weight') else 0
            assert (value == start).all(), name
        else:
            assert torch.equal(value, source.state_dict()[name]), name


def test_pose_releases_load_with_prefix(tmp_path):
    source = random_net(seed=1)
    weights = {f'backbone.{name}': value for name, value in source.state_dict().items()}
    weights['keypoint_head.final_layer.weight'] = torch.randn(17, 256, 1, 1)
    torch.save({'state_dict': weights}, tmp_path / 'pose.pth')
    net = random_net(
        seed=2,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'pose.pth'), prefix='backbone'),
    )
    net.init_weights()
    for name, value in net.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('norm4.weight', 'missing in the file: norm4.weight'),
        ('blocks3.1.attn.qkv.bias', 'missing in the file: blocks3.1.attn.qkv'),
        ('extra', r'unknown to the model: blocks3\.0\.gamma_1'),
    ],
)
def test_mismatched_files_raise(tmp_path, damage, message):
    weights = random_net().state_dict()
    if damage == 'extra':
        weights = imagenet_release(random_net(layer_scale_init_value=(None, None, 1.0, 1.0)), True)
    else:
        del weights[damage]
    torch.save(weights, tmp_path / 'file.pth')
    net = random_net(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth')))
    with pytest.raises(CheckpointError, match=message):
        net.init_weights()


def _step(net, image):
    """Return gradients, statistics and the bytes kept for the backward pass."""
    with record_kept(net) as kept:
        loss = sum(output.square().mean() for output in net(image))
    size = sum(kept.values())
    loss.backward()
    gradients = {k: p.grad for k, p in net.named_parameters()}
    statistics = {k: v for k, v in net.state_dict().items() if 'runn' in k or 'tracked' in k}
    return gradients, statistics, size


@pytest.mark.parametrize('attention', ['global', 'hybrid'])
def test_checkpointing_saves_memory_and_keeps_results(attention):
    image = torch.randn(2, 3, 96, 64)
    variants = [
        {},
        dict(with_cp=True),
        dict(use_checkpoint=True),
        dict(use_checkpoint=True, checkpoint_num=[0, 0, 2, 0]),
        dict(use_checkpoint=True, checkpoint_num=[0, 0, 4, 0]),
    ]
    results = []
    for variant in variants:
        net = random_net(attention=attention, drop_path_rate=0.3, **variant).train()
        torch.manual_seed(7)
        results.append(_step(net, image))
    plain = results[0]
    assert len(plain[1]) == 18
    for result in results[1:]:
        for before, after in zip(plain[:2], result[:2]):
            assert before.keys() == after.keys()
            for name, value in before.items():
                torch.testing.assert_close(value, after[name], rtol=0, atol=0, msg=name)
    none, with_cp, every, two, four = (result[2] for result in results)
    assert with_cp == every < 0.4 * none
    # Half the blocks of stage 2 save half of what all of them do.
    if attention == 'global':
        assert none - two == pytest.approx((none - four) / 2, rel=0.1)
    assert every < four < two < none


def test_checkpointed_blocks_are_the_first_of_each_stage(monkeypatch):
    from pose_backbones.models.backbones import uniformer

    seen = []
    monkeypatch.setattr(uniformer, 'checkpointed', lambda block, x: seen.append(block) or block(x))
    net = random_net(use_checkpoint=True, checkpoint_num=[1, 0, 2, 1])
    image = torch.randn(2, 3, 32, 32)
    net.train()(image)
    assert seen == [net.blocks1[0], net.blocks3[0], net.blocks3[1], net.blocks4[0]]
    seen.clear()
    net.eval()(image)
    random_net(checkpoint_num=[1, 0, 2, 1]).train()(image)  # use_checkpoint is False
    assert not seen


@pytest.mark.parametrize('frozen', [-1, 0, 2, 3])
def test_frozen_stages_do_not_change_in_training(frozen):
    net = random_net(frozen_stages=frozen).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    loss = sum(o.square().mean() for o in net(torch.randn(4, 3, 32, 32)))
    if frozen < 3:
        loss.backward()
        torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.5).step()
    else:
        assert not loss.requires_grad
    changed = {
        int(name.split('.')[0][-1]) - 1
        for name, value in net.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == set(range(frozen + 1, 4))
    net.eval().train()
    assert not any(
        module.training
        for stage in range(frozen + 1)
        for part in net.stage_modules(stage)
        for module in part.modules()
    )


@pytest.mark.parametrize('norm_eval', [False, True])
@pytest.mark.parametrize('conv_stem', [False, True])
def test_norm_eval_keeps_the_statistics(norm_eval, conv_stem):
    net = random_net(arch={**SMALL, 'conv_stem': conv_stem}, norm_eval=norm_eval).train()
    before = {k: v.clone() for k, v in net.state_dict().items() if 'running' in k}
    net(torch.randn(2, 3, 64, 64) + 3)
    unchanged = [torch.equal(net.state_dict()[k], v) for k, v in before.items()]
    assert len(unchanged) == 2 * (6 + 5 * conv_stem)
    assert all(unchanged) if norm_eval else not any(unchanged)
    assert all(p.requires_grad for p in net.parameters())


def test_drop_path_rate_rises_linearly_and_drops_residuals():
    net = random_net(drop_path_rate=0.5)
    blocks = [b for n in range(1, 5) for b in getattr(net, f'blocks{n}')]
    rates = [block.drop_path.drop_prob for block in blocks]
    assert rates == pytest.approx(np.linspace(0, 0.5, len(blocks)))

    for block in (net.blocks2[1], net.blocks4[1]):
        rate = block.drop_path.drop_prob
        block.train()
        for norm in (block.norm1, block.norm2):
            norm.eval()
        nn.init.zeros_(block.pos_embed.weight)
        nn.init.zeros_(block.pos_embed.bias)
        x = torch.randn(3000, block.pos_embed.in_channels, 2, 2)
        with torch.no_grad():
            unchanged = (block(x) == x).flatten(1).all(1).float().mean()
            block.eval()
            assert not (block(x) == x).flatten(1).all(1).any()
        assert unchanged == pytest.approx(rate**2, abs=0.05)  # both residuals


def test_init_weights_from_scratch_matches_original():
    torch.manual_seed(0)
    net = UniFormer(SMALL, head_dim=8)
    convs = {name: value.clone() for name, value in net.named_parameters() if value.dim() == 4}
    net.init_weights()
    for linear in (net.blocks4[0].mlp.fc1, net.blocks4[1].attn.qkv):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert (linear.bias == 0).all()
    for name, value in convs.items():
        assert torch.equal(net.get_parameter(name), value)
    assert all(
        (m.weight == 1).all() and (m.bias == 0).all()
        for m in net.modules()
        if isinstance(m, nn.LayerNorm)
    )


def test_other_norms_and_channels_last_give_the_same_maps():
    net = random_net(
        norm_cfg=dict(type='GN', num_groups=4),
        attention='hybrid',
        arch={**SMALL, 'conv_stem': True},
        head_dim=16,
    )
    image = torch.randn(2, 3, 64, 64)
    plain = outputs_of(net, image)
    net.to(memory_format=torch.channels_last)
    last = outputs_of(net, image.contiguous(memory_format=torch.channels_last))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    for output, other in zip(plain, last):
        torch.testing.assert_close(output, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(arch='bas'), ValueError, "'bas': expected .*did you mean base"),
        (
            dict(arch={**SMALL, 'depths': (1, 1)}),
            ValueError,
            r"arch\['depths'\] is \(1, 1\): expected 4 integers",
        ),
        (dict(arch=dict(depths=(1,))), ValueError, 'keys depths: .*conv_stem'),
        (dict(head_dim=12), ValueError, r'head_dim is 12: .*\(16, 32\)'),
        (
            dict(attention='window'),
            ValueError,
            "'window': expected one of global, windows, hybrid; did you mean win",
        ),
        (
            dict(attention='hybrid', window_size=0),
            ValueError,
            'window_size is 0: expected an integer of at least 1',
        ),
        (
            dict(attention='windows', window_size=7.5),
            TypeError,
            'window_size is 7.5: expected an integer',
        ),
        (dict(window_size=14), ValueError, "14 with attention='global'"),
        (
            dict(arch={**SMALL, 'embed_dims': 8}),
            TypeError,
            r"arch\['embed_dims'\] is 8: expected 4 integers",
        ),
        (
            dict(arch={**SMALL, 'embed_dims': (8, 8, 16.5, 32)}),
            TypeError,
            r'is \(8, 8, 16\.5, 32\): expected 4 integers',
        ),
        (
            dict(arch={**SMALL, 'conv_stem': 'no'}),
            TypeError,
            r"arch\['conv_stem'\] is 'no': expected True or False",
        ),
        (dict(in_channels=0), ValueError, 'in_channels is 0: expected an integer'),
        (dict(in_channels=True), TypeError, 'in_channels is True: expected an integer'),
        (dict(head_dim='x'), TypeError, "head_dim is 'x': expected an integer"),
        (dict(head_dim=0), ValueError, 'head_dim is 0: expected an integer'),
        (dict(qkv_bias='no'), TypeError, "qkv_bias is 'no': expected True or"),
        (
            dict(drop_path_rate='a'),
            TypeError,
            "drop_path_rate is 'a': expected a probability, 0 <= rate < 1",
        ),
        (dict(norm_cfg={}), ValueError, r'norm_cfg is \{\}: expected a dict'),
        (
            dict(layer_scale_init_value=(1e-6,)),
            ValueError,
            r'layer_scale_init_value is \(1e-06,\): .*one for each stage',
        ),
        (dict(layer_scale_init_value='yes'), ValueError, "value is 'yes'"),
        (dict(drop_path_rate=1), ValueError, 'drop_path_rate is 1:'),
        (dict(out_indices=(4,)), ValueError, r'\(4,\): .*0, 1, 2, 3'),
        (dict(frozen_stages=4), ValueError, 'frozen_stages is 4'),
        (dict(use_checkpoint=1), TypeError, 'use_checkpoint is 1'),
        (
            dict(with_cp=True, use_checkpoint=True),
            ValueError,
            'with_cp=True.* and use_checkpoint=True.*expected one of them',
        ),
        (
            dict(use_checkpoint=True, checkpoint_num=[0, 0, 5, 0]),
            ValueError,
            r'checkpoint_num is \[0, 0, 5, 0\]: .*\(1, 2, 4, 2\) blocks',
        ),
        (
            dict(use_checkpoint=True, checkpoint_num=[0, 1]),
            ValueError,
            r'checkpoint_num is \[0, 1\]: expected 4 integers of at least 0',
        ),
        (
            dict(use_checkpoint=True, checkpoint_num=3),
            TypeError,
            'checkpoint_num is 3: expected 4 integers',
        ),
        (dict(checkpoint_num=[0, 0, 5, 0]), ValueError, r'checkpoint_num is \[0, 0, 5, 0\]'),
        (dict(use_checkpoint=True, checkpoint_num=[0, 0, 0, 0]), ValueError, 'not 0 for all'),
        (dict(norm_cfg=dict(type='SyncBM')), ValueError, 'did you mean SyncBN'),
        (dict(drop_rate=0.1), TypeError, 'drop_rate'),
    ],
)
def test_invalid_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        UniFormer(**{'arch': SMALL, 'head_dim': 8, **arguments})
