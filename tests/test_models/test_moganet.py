"""MogaNet: values, options and errors."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pose_backbones.models.backbones import MogaNet
from pose_backbones.utils.errors import CheckpointError

GOLDEN = Path(__file__).parents[1] / 'golden/moganet_x-tiny.json'
SMALL = dict(
    embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), ffn_ratios=(4, 4, 2, 2))


def golden_tensor(key, shape, seed, var, scale):
    """The recipe of the golden files' weights."""
    rng = np.random.default_rng(zlib.crc32(f'{seed}:{key}'.encode()))
    leaf = key.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return torch.zeros(shape, dtype=torch.int64)
    if leaf == 'running_var':
        values = var * rng.uniform(.8, 1.2, shape)
    elif leaf == 'running_mean':
        values = .1 * rng.standard_normal(shape)
    elif 'layer_scale' in key or 'sigma.scale' in key:
        values = scale * (1 + .25 * rng.standard_normal(shape))
    elif leaf == 'bias':
        values = .05 * rng.standard_normal(shape)
    elif len(shape) <= 1:
        values = 1 + .1 * rng.standard_normal(shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def random_net(seed=0, **kwargs) -> MogaNet:
    """A small net with weights that make every branch count."""
    torch.manual_seed(seed)
    net = MogaNet(**{'arch': SMALL, **kwargs})
    for name, value in net.named_parameters():
        if 'scale' in name:
            value.data.uniform_(.2, .6)
    return net


def test_outputs_equal_those_of_the_original():
    golden = json.loads(GOLDEN.read_text())
    net = MogaNet('x-tiny').eval()
    prefix = 'backbone.'
    weights = {
        key[len(prefix):]: golden_tensor(key, shape, golden['seed'],
                                         **golden['fill'])
        for key, shape in golden['state']
    }
    net.load_state_dict(weights, strict=True)
    assert sum(p.numel() for p in net.parameters()) == golden['params']

    rng = np.random.default_rng(golden['seed'] + 1)
    image = rng.standard_normal(golden['input']).astype(np.float32)
    with torch.no_grad():
        outputs = net(torch.from_numpy(image))
    assert len(outputs) == len(golden['outputs'])
    for output, expected in zip(outputs, golden['outputs']):
        assert list(output.shape) == expected['shape']
        values = output.flatten()[expected['idx']].numpy()
        worst = np.abs(values - expected['values']).max()
        assert worst <= 1e-4 * expected['absmax']
        assert output.std().item() == pytest.approx(expected['std'], rel=1e-4)


@pytest.mark.parametrize(('arch', 'millions'), [
    ('x-tiny', 2.97), ('tiny', 5.20), ('small', 25.3), ('base', 43.9),
    ('large', 82.5), ('x-large', 180.8)])
def test_sizes_of_the_six_architectures(arch, millions):
    """Against the paper's classifiers, less their 1000-class layer."""
    with torch.device('meta'):
        net = MogaNet(arch)
    params = sum(p.numel() for p in net.parameters())
    params += 1000 * (net.embed_dims[-1] + 1)
    assert params / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(('alias', 'arch'), [('XT', 'x-tiny'), ('b', 'base')])
def test_short_names(alias, arch):
    with torch.device('meta'):
        assert MogaNet(alias).depths == MogaNet(arch).depths


@pytest.mark.parametrize('indices', [(0, ), (3, ), (1, 2), (0, 1, 2, 3),
                                     (-1, ), (0, -2)])
def test_out_indices_choose_maps(indices):
    net = random_net().eval()
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        every = net(image)
        chosen = random_net(out_indices=indices).eval()(image)
    assert len(chosen) == len(indices)
    for output, index in zip(chosen, indices):
        assert torch.equal(output, every[index])


@pytest.mark.parametrize('size', [(64, 48), (33, 47), (32, 32), (1, 1),
                                  (100, 7)])
def test_any_size_gives_ceil_of_side_over_stride(size):
    net = random_net().eval()
    with torch.no_grad():
        outputs = net(torch.randn(1, 3, *size))
    for output, channels, stride in zip(outputs, net.embed_dims, net.strides):
        cells = [-(-side // stride) for side in size]
        assert list(output.shape) == [1, channels, *cells]
        assert torch.isfinite(output).all()


@pytest.mark.parametrize('frozen', [-1, 0, 2, 3])
def test_frozen_stages_do_not_change_in_training(frozen):
    net = random_net(frozen_stages=frozen).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    outputs = net(torch.randn(4, 3, 32, 32))
    loss = sum(output.square().mean() for output in outputs)
    if frozen < 3:
        loss.backward()
    else:
        assert not loss.requires_grad
    trainable = [p for p in net.parameters() if p.requires_grad]
    if trainable:
        torch.optim.SGD(trainable, 0.5).step()
    changed = {int(name.split('.')[0][-1]) - 1
               for name, value in net.state_dict().items()
               if not torch.equal(value, before[name])}
    assert changed == set(range(frozen + 1, 4))
    net.eval().train()
    assert not any(module.training for stage in range(frozen + 1)
                   for part in net.stage_modules(stage)
                   for module in part.modules())


def test_stages_behind_the_last_output_take_no_gradient():
    net = random_net(out_indices=(1, )).train()
    sum(o.mean() for o in net(torch.randn(2, 3, 32, 32))).backward()
    for name, value in net.named_parameters():
        assert (value.grad is not None) == (int(name.split('.')[0][-1]) <= 2)


@pytest.mark.parametrize('norm_eval', [False, True])
def test_norm_eval_keeps_the_statistics(norm_eval):
    net = random_net(norm_eval=norm_eval).train()
    before = {k: v.clone() for k, v in net.state_dict().items()
              if 'running' in k}
    net(torch.randn(2, 3, 32, 32) + 3)
    same = [torch.equal(net.state_dict()[k], v) for k, v in before.items()]
    assert all(same) if norm_eval else not any(same)
    assert all(p.requires_grad for p in net.parameters())
    assert net.eval().training is False


def _step(net, image):
    """Gradients, statistics and bytes kept for the backward pass."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = sum(output.square().mean() for output in net(image))
    # Bytes of the model itself are there either way.
    own = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}
    size = sum(n for where, n in kept.items() if where not in own)
    loss.backward()
    gradients = {k: p.grad for k, p in net.named_parameters()}
    statistics = {k: v for k, v in net.state_dict().items() if 'runn' in k
                  or 'tracked' in k}
    return gradients, statistics, size


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_with_cp_saves_memory_and_changes_nothing_else(norm):
    image = torch.randn(2, 3, 64, 64)
    results = []
    for with_cp in (False, True):
        net = random_net(
            with_cp=with_cp, drop_path_rate=0.3,
            norm_cfg=dict(type=norm)).train()
        torch.manual_seed(7)
        results.append(_step(net, image))
    plain, checkpointed = results
    for name, value in plain[0].items():
        assert torch.equal(value, checkpointed[0][name]), name
    for name, value in plain[1].items():
        assert torch.equal(value, checkpointed[1][name]), name
    assert checkpointed[2] < 0.4 * plain[2]


def test_drop_path_rises_over_the_blocks_and_drops_residuals():
    net = random_net(drop_path_rate=0.5)
    blocks = [b for n in range(1, 5) for b in getattr(net, f'blocks{n}')]
    rates = [block.drop_path.drop_prob for block in blocks]
    assert rates == pytest.approx(np.linspace(0, 0.5, len(blocks)))

    block = blocks[-1].train()
    x = torch.randn(400, 32, 2, 2)
    for norm in (block.norm1, block.norm2):
        norm.eval()
    with torch.no_grad():
        same = (block(x) == x).flatten(1).all(1).float().mean()
        block.eval()
        assert not (block(x) == x).flatten(1).all(1).any()
    assert same == pytest.approx(0.25, abs=0.07)  # both residuals at 0.5


def test_init_from_nothing_keeps_the_signal():
    torch.manual_seed(0)
    net = MogaNet(SMALL)
    net.init_weights()
    block = net.blocks4[0]
    for conv, fan_out in ((block.attn.value.DW_conv0, 25),
                          (block.mlp.fc1, 64)):
        assert conv.weight.std().item() == pytest.approx(
            (2 / fan_out)**.5, rel=0.1)
    assert all((m.bias == 0).all() for m in net.modules()
               if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize('prefix', [None, 'backbone'])
def test_init_cfg_loads_pretrained_weights(tmp_path, prefix):
    source = random_net(seed=1)
    weights = source.state_dict()
    if prefix:
        weights = {f'{prefix}.{k}': v for k, v in weights.items()}
        weights['neck.weight'] = torch.ones(3)
    weights['head.weight'] = torch.ones(1000, 32)  # of the classifier
    torch.save({'state_dict': weights}, tmp_path / 'net.pth')
    net = random_net(
        seed=2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=str(tmp_path / 'net.pth'),
            prefix=prefix))
    net.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)


def test_init_cfg_of_another_size_is_refused(tmp_path):
    other = MogaNet({**SMALL, 'embed_dims': (8, 16, 24, 40)})
    torch.save({'state_dict': other.state_dict()}, tmp_path / 'other.pth')
    net = random_net(init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'other.pth')))
    with pytest.raises(CheckpointError, match=r'other\.pth .*not a checkpoint '
                       r'of this model: .*\(40.* in the file and \(32'):
        net.init_weights()


@pytest.mark.parametrize(('argument', 'value', 'error', 'message'), [
    ('arch', 'smal', ValueError, "'smal': expected .*did you mean small"),
    ('arch', 3, TypeError, 'arch is 3: expected a name'),
    ('arch', dict(depths=(1, )), ValueError, 'keys depths: .*embed_dims'),
    ('arch', {**SMALL, 'depths': (1, 1)}, ValueError, r'depths=\(1, 1\)'),
    ('arch', {**SMALL, 'embed_dims': (8, 16, 20, 32)}, ValueError,
     'multiples of 8'),
    ('out_indices', (4, ), ValueError, r'\(4,\): .*0, 1, 2, 3'),
    ('out_indices', (2, 1), ValueError, r'\(2, 1\): .*rising'),
    ('out_indices', (), ValueError, 'different stages'),
    ('out_indices', 3, TypeError, 'out_indices is 3'),
    ('frozen_stages', 4, ValueError, 'frozen_stages is 4: .*0 to 3'),
    ('frozen_stages', 'all', ValueError, "'all'"),
    ('norm_eval', 'yes', TypeError, "norm_eval is 'yes'"),
    ('with_cp', 1, TypeError, 'with_cp is 1'),
    ('drop_path_rate', 1.5, ValueError, 'drop_path_rate is 1.5'),
    ('dilations', (1, 2), ValueError, r'dilations is \(1, 2\)'),
    ('norm_cfg', dict(type='SyncBM'), ValueError,
     "'SyncBM'.*SyncBN.*did you mean SyncBN"),
    ('norm_cfg', 'BN', ValueError, "norm_cfg is 'BN': expected a dict"),
])
def test_wrong_arguments_fail_at_construction(argument, value, error,
                                              message):
    with pytest.raises(error, match=message):
        MogaNet(**{'arch': SMALL, argument: value})


def test_unknown_arguments_are_not_swallowed():
    with pytest.raises(TypeError, match='conv_norm_cfg'):
        MogaNet(SMALL, conv_norm_cfg=dict(type='SyncBN'))


@pytest.mark.parametrize('init_cfg', [
    dict(type='Pretrained'),
    dict(type='Pretrained', checkpoint='x.pth', strict=False),
    [dict(type='Pretrained', checkpoint='x.pth'),
     dict(type='Constant', val=1, layer='Conv2d')],
])
def test_init_cfg_that_cannot_work_is_refused(init_cfg):
    with pytest.raises(ValueError, match='init_cfg'):
        random_net(init_cfg=init_cfg).init_weights()


def test_other_norms_and_channels_last_give_the_same_shapes():
    net = random_net(norm_cfg=dict(type='GN', num_groups=4)).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = net(image)
        net.to(memory_format=torch.channels_last)
        last = net(image.contiguous(memory_format=torch.channels_last))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    for one, other in zip(plain, last):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
