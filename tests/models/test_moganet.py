"""Tests of MogaNet: values, options and errors."""

import copy

import numpy as np
import pytest
import torch
from mmengine.model.weight_init import PretrainedInit
from torch import nn

from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import MogaNet
from pose_backbones.models.layers import packed
from tests.helpers import golden_values
from tests.helpers.random_weights import randomize

SMALL = dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), ffn_ratios=(4, 4, 2, 2))


def random_net(seed=0, **kwargs) -> MogaNet:
    """Return a small network with weights with which every branch affects the output."""
    torch.manual_seed(seed)
    net = MogaNet(**{'arch': SMALL, **kwargs})
    for name, value in net.named_parameters():
        if 'scale' in name:
            value.data.uniform_(0.2, 0.6)
    return net


def test_outputs_match_original():
    record = golden_values.load('moganet_x-tiny')
    net = MogaNet('x-tiny').eval()
    net.load_state_dict(golden_values.weights(record, 'backbone.'), strict=True)
    assert sum(p.numel() for p in net.parameters()) == record['params']
    with torch.no_grad():
        outputs = net(golden_values.image(record))
    golden_values.assert_reproduced(outputs, record)


@pytest.mark.parametrize(
    ('arch', 'millions'),
    [
        ('x-tiny', 2.97),
        ('tiny', 5.20),
        ('small', 25.3),
        ('base', 43.9),
        ('large', 82.5),
        ('x-large', 180.8),
    ],
)
def test_parameter_counts(arch, millions):
    """Compare with the classifiers of the paper, without their 1000-class layer."""
    with torch.device('meta'):
        net = MogaNet(arch)
    params = sum(p.numel() for p in net.parameters())
    params += 1000 * (net.embed_dims[-1] + 1)
    assert params / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(('alias', 'arch'), [('XT', 'x-tiny'), ('b', 'base')])
def test_arch_aliases(alias, arch):
    with torch.device('meta'):
        assert MogaNet(alias).depths == MogaNet(arch).depths


@pytest.mark.parametrize('size', [(64, 48), (33, 47), (32, 32), (1, 1), (100, 7)])
def test_map_size_is_rounded_up(size):
    net = random_net().eval()
    with torch.no_grad():
        outputs = net(torch.randn(1, 3, *size))
    for output, channels, stride in zip(outputs, net.embed_dims, net.strides):
        cells = [-(-side // stride) for side in size]
        assert list(output.shape) == [1, channels, *cells]
        assert torch.isfinite(output).all()


@pytest.mark.parametrize('norm_eval', [False, True])
def test_norm_eval_keeps_the_statistics(norm_eval):
    net = random_net(norm_eval=norm_eval).train()
    before = {k: v.clone() for k, v in net.state_dict().items() if 'running' in k}
    net(torch.randn(2, 3, 32, 32) + 3)
    unchanged = [torch.equal(net.state_dict()[k], v) for k, v in before.items()]
    assert all(unchanged) if norm_eval else not any(unchanged)
    assert all(p.requires_grad for p in net.parameters())
    assert net.eval().training is False


def _step(net, image):
    """Return gradients, statistics and the bytes kept for the backward pass."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = sum(output.square().mean() for output in net(image))
    # Bytes of the model itself are the same in both cases.
    state_storages = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}
    size = sum(n for where, n in kept.items() if where not in state_storages)
    loss.backward()
    gradients = {k: p.grad for k, p in net.named_parameters()}
    statistics = {k: v for k, v in net.state_dict().items() if 'runn' in k or 'tracked' in k}
    return gradients, statistics, size


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_with_cp_saves_memory_and_keeps_results(norm):
    image = torch.randn(2, 3, 64, 64)
    results = []
    for with_cp in (False, True):
        net = random_net(with_cp=with_cp, drop_path_rate=0.3, norm_cfg=dict(type=norm)).train()
        torch.manual_seed(7)
        results.append(_step(net, image))
    plain, checkpointed = results
    for name, value in plain[0].items():
        assert torch.equal(value, checkpointed[0][name]), name
    for name, value in plain[1].items():
        assert torch.equal(value, checkpointed[1][name]), name
    assert checkpointed[2] < 0.4 * plain[2]


def test_drop_path_rate_rises_linearly_and_drops_residuals():
    net = random_net(drop_path_rate=0.5)
    blocks = [b for n in range(1, 5) for b in getattr(net, f'blocks{n}')]
    rates = [block.drop_path.drop_prob for block in blocks]
    assert rates == pytest.approx(np.linspace(0, 0.5, len(blocks)))

    block = blocks[-1].train()
    x = torch.randn(400, 32, 2, 2)
    for norm in (block.norm1, block.norm2):
        norm.eval()
    with torch.no_grad():
        unchanged = (block(x) == x).flatten(1).all(1).float().mean()
        block.eval()
        assert not (block(x) == x).flatten(1).all(1).any()
    assert unchanged == pytest.approx(0.25, abs=0.07)  # both residuals at 0.5


def test_init_weights_from_scratch_preserves_variance():
    torch.manual_seed(0)
    net = MogaNet(SMALL)
    net.init_weights()
    block = net.blocks4[0]
    for conv, fan_out in ((block.attn.value.DW_conv0, 25), (block.mlp.fc1, 64)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert all((m.bias == 0).all() for m in net.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ('kind', 'prefix'), [('Pretrained', None), ('Pretrained', 'backbone'), (PretrainedInit, None)]
)
def test_init_cfg_loads_pretrained_weights(tmp_path, kind, prefix):
    source = random_net(seed=1)
    weights = source.state_dict()
    if prefix:
        weights = {f'{prefix}.{k}': v for k, v in weights.items()}
        weights['neck.weight'] = torch.ones(3)
    weights['head.weight'] = torch.ones(1000, 32)  # of the classifier
    torch.save({'state_dict': weights}, tmp_path / 'net.pth')
    net = random_net(
        seed=2, init_cfg=dict(type=kind, checkpoint=str(tmp_path / 'net.pth'), prefix=prefix)
    )
    net.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)


def test_init_cfg_of_another_size_raises(tmp_path):
    other_net = MogaNet({**SMALL, 'embed_dims': (8, 16, 24, 40)})
    torch.save({'state_dict': other_net.state_dict()}, tmp_path / 'other.pth')
    net = random_net(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth')))
    with pytest.raises(
        CheckpointError,
        match=r'other\.pth .*not a checkpoint '
        r'of this model: .*\(40.* in the file and \(32',
    ):
        net.init_weights()


@pytest.mark.parametrize(
    ('argument', 'value', 'error', 'message'),
    [
        ('arch', 'smal', ValueError, "'smal': expected .*did you mean small"),
        ('arch', 3, TypeError, 'arch is 3: expected a name'),
        ('arch', dict(depths=(1,)), ValueError, 'keys depths: .*embed_dims'),
        (
            'arch',
            {**SMALL, 'depths': (1, 1)},
            ValueError,
            r"arch\['depths'\] is \(1, 1\): expected 4 integers",
        ),
        ('arch', {**SMALL, 'embed_dims': (8, 16, 20, 32)}, ValueError, 'multiples of 8'),
        ('out_indices', (), ValueError, 'distinct stages'),
        ('frozen_stages', 'all', ValueError, "'all'"),
        ('norm_eval', 'yes', TypeError, "norm_eval is 'yes'"),
        (
            'arch',
            {**SMALL, 'ffn_ratios': (8, 8, 4, 0)},
            ValueError,
            r"arch\['ffn_ratios'\] is \(8, 8, 4, 0\): expected 4 positive",
        ),
        ('arch', {**SMALL, 'ffn_ratios': 4}, TypeError, 'is 4: expected 4 pos'),
        ('in_channels', -3, ValueError, 'in_channels is -3: expected an integer'),
        ('drop_path_rate', None, TypeError, 'drop_path_rate is None: expected'),
        (
            'layer_scale_init_value',
            'a',
            TypeError,
            "layer_scale_init_value is 'a': expected a number",
        ),
        (
            'dilations',
            (1, 2),
            ValueError,
            r'dilations is \(1, 2\): expected 3 '
            'integers of at least 1, one per convolution',
        ),
        ('dilations', 3, TypeError, 'dilations is 3: expected 3 integers'),
        ('dilations', (1, 2, 2.5), TypeError, r'dilations is \(1, 2, 2\.5\)'),
        ('norm_cfg', dict(type='SyncBM'), ValueError, "'SyncBM'.*SyncBN.*did you mean SyncBN"),
        ('norm_cfg', 'BN', ValueError, "norm_cfg is 'BN': expected a dict"),
    ],
)
def test_invalid_arguments_raise(argument, value, error, message):
    with pytest.raises(error, match=message):
        MogaNet(**{'arch': SMALL, argument: value})


@pytest.mark.parametrize(
    'init_cfg',
    [
        dict(type='Pretrained'),
        dict(type='Pretrained', checkpoint='x.pth', strict=False),
        [dict(type='Pretrained', checkpoint='x.pth'), dict(type='Constant', val=1, layer='Conv2d')],
    ],
)
def test_invalid_init_cfg_raises(init_cfg):
    with pytest.raises(ValueError, match='init_cfg'):
        random_net(init_cfg=init_cfg).init_weights()


def test_norm_cfg_replaces_every_batch_norm():
    """Group norms have no statistics: training and evaluation agree."""
    net = random_net(norm_cfg=dict(type='GN', num_groups=4))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for first_map, second_map in zip(net.train()(image), net.eval()(image)):
            torch.testing.assert_close(first_map, second_map)


def randomized(**kwargs) -> MogaNet:
    """Return a network in evaluation mode in which every layer affects the output."""
    return randomize(random_net(**kwargs)).eval()


@pytest.mark.parametrize('size', [(64, 48), (33, 47), (100, 7), (1, 1)])
def test_fused_output_matches(size):
    net, x = randomized(), torch.randn(3, 3, *size)
    fused = net.fused()
    with torch.no_grad():
        expected = net(x)
        for layout in (torch.contiguous_format, torch.channels_last):
            fused_maps = fused(x.contiguous(memory_format=layout))
            torch.testing.assert_close(fused_maps, expected, rtol=1e-4, atol=1e-4)
            assert all(feature_map.is_contiguous() for feature_map in fused_maps)


def test_fused_does_not_use_original_blocks(monkeypatch):
    """The source network is unchanged, and later changes of it have no effect."""
    net, x = randomized(), torch.randn(1, 3, 32, 32)
    fused = net.fused()
    with torch.no_grad():
        expected = fused(x)
        nn.init.zeros_(net.blocks1[0].mlp.fc1.weight)
        torch.testing.assert_close(fused(x), expected)
        assert (net(x)[0] - expected[0]).abs().max() > 0.01
    monkeypatch.setattr(type(net.blocks1[0]), 'forward', None)
    fused(x)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        net(x)


@pytest.mark.filterwarnings('ignore')  # of the tracer: the image size is fixed
def test_fused_can_be_copied_and_traced_for_any_batch(monkeypatch):
    monkeypatch.setattr(packed, '_CACHED', 1)  # as for large images
    net = randomized()
    fused = copy.deepcopy(net.fused())
    with torch.no_grad():
        traced = torch.jit.trace(fused, torch.randn(2, 3, 64, 48))
        for batch in (1, 2, 5):
            x = torch.randn(batch, 3, 64, 48)
            torch.testing.assert_close(traced(x), net(x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(fused(x), net(x), rtol=1e-4, atol=1e-4)


def test_norms_without_fixed_statistics_are_not_fused():
    net = randomized(norm_cfg=dict(type='GN', num_groups=2))
    x = torch.randn(1, 3, 32, 32)
    fused = net.fused()
    assert fused.blocks1[0] is net.blocks1[0]
    with torch.no_grad():
        torch.testing.assert_close(fused(x), net(x), rtol=1e-4, atol=1e-4)


def test_fused_in_half_precision():
    net, x = randomized(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast('cpu', torch.bfloat16):
            fused_maps = net.fused()(x)
    for first_map, second_map in zip(fused_maps, expected):
        assert (first_map - second_map).abs().max() < 0.05 * second_map.abs().max()
