"""Contract tests that every backbone of the package passes."""

import io

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pose_backbones.models.backbones import BaseBackbone
from pose_backbones.registry import MODELS

#: height and width of the images; every stride and window fits
SIZE = (64, 96)
#: name of the case → class, and arguments that make it small
CASES = {
    'MogaNet': (
        'MogaNet',
        dict(arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), ffn_ratios=(4, 4, 2, 2))),
    ),
    'UniFormer': (
        'UniFormer',
        dict(
            arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), conv_stem=False), head_dim=8
        ),
    ),
    'UniFormer, hybrid': (
        'UniFormer',
        dict(
            arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 4, 1), conv_stem=True),
            head_dim=8,
            attention='hybrid',
            window_size=4,
            layer_scale_init_value=0.5,
        ),
    ),
    'ConvNeXt': (
        'ConvNeXt',
        dict(arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), use_grn=False)),
    ),
    'ConvNeXt, V2': (
        'ConvNeXt',
        dict(arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), use_grn=True)),
    ),
    'MSPN': ('MSPN', dict(stages=2, num_blocks=(1, 1, 1, 1), base_channels=8, unit_channels=16)),
    'HRCoMer': (
        'HRCoMer',
        dict(
            arch=dict(
                base_net=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 2, 1), use_grn=True),
                embed_dims=(8, 12, 16, 24),
                stage1_channels=8,
                num_modules=(1, 1, 2, 1),
                depths=(1, 2, 2, 2),
            )
        ),
    ),
    'TimmBackbone': ('TimmBackbone', dict(model_name='resnet10t')),
    'TimmBackbone, transformer': (
        'TimmBackbone',
        dict(
            model_name='vit_tiny_patch16_224', img_size=SIZE, model_args=dict(depth=4, embed_dim=48)
        ),
    ),
}
#: a smaller HRCoMer, whose compilation takes less time
SHALLOW = dict(
    CASES['HRCoMer'][1]['arch'],
    base_net=dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), use_grn=True),
    num_modules=(1, 1, 1, 1),
    depths=(1, 1, 1, 1),
)
#: class → arguments that it does not have, whose tests are skipped
WITHOUT = {'MSPN': ('drop_path_rate', 'arch')}


def build(case: str, seed: int = 0, **kwargs) -> BaseBackbone:
    """Return a small backbone of a case, in which every branch affects the output.

    The drop path rate is omitted if the class does not have it.
    """
    name, settings = CASES[case]
    kwargs = {key: value for key, value in kwargs.items() if key not in WITHOUT.get(name, ())}
    torch.manual_seed(seed)
    net = MODELS.get(name)(**{**settings, **kwargs})
    for name, value in net.named_parameters():
        if any(part in name for part in ('scale', 'gamma', 'grn')):
            value.data.uniform_(0.2, 0.6)
        elif value.dim() == 1 and name.endswith('weight'):
            value.data.uniform_(0.5, 1.5)  # of norms; timm has zeros
    return net


def images(count: int = 2) -> torch.Tensor:
    """Return random images (N, 3, H, W) from a fixed seed."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 3, *SIZE, generator=generator)


def forward(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the feature maps, without gradient."""
    with torch.no_grad():
        return net(x)


def assert_close(maps, expected, **tolerance) -> None:
    """Assert that all maps are equal."""
    assert len(maps) == len(expected) > 0
    for actual_map, expected_map in zip(maps, expected):
        torch.testing.assert_close(actual_map, expected_map, **tolerance)


def test_every_backbone_has_a_case():
    MODELS.import_from_location()
    registered = {name for name, cls in MODELS.module_dict.items() if issubclass(cls, BaseBackbone)}
    assert {name for name, _ in CASES.values()} == registered


each = pytest.mark.parametrize('case', CASES)
native = pytest.mark.parametrize('case', [case for case in CASES if 'Timm' not in case])


def skip_without(case: str, argument: str) -> None:
    """Skip a test of an argument that the class does not have."""
    if argument in WITHOUT.get(CASES[case][0], ()):
        pytest.skip(f'{case} has no {argument}')


@each
def test_maps_have_the_declared_channels_and_strides(case):
    net = build(case).eval()
    maps = forward(net, images())
    assert len(maps) == len(net.out_indices)
    for index, output in zip(net.out_indices, maps):
        stride = net.strides[index]
        assert output.shape == (2, net.embed_dims[index], SIZE[0] // stride, SIZE[1] // stride)
        assert torch.isfinite(output).all()
        assert output.std() > 0


@each
def test_evaluation_is_deterministic_and_independent_of_the_batch(case):
    net = build(case, drop_path_rate=0.5).eval()
    both = forward(net, images())
    assert_close(forward(net, images()), both, rtol=0, atol=0)
    for number in range(2):
        single = forward(net, images()[number : number + 1])
        assert_close(single, [m[number : number + 1] for m in both], rtol=1e-4, atol=1e-5)


@each
def test_drop_path_is_active_only_in_training(case):
    skip_without(case, 'drop_path_rate')
    net = build(case, drop_path_rate=0.9).train()
    for module in net.modules():  # batches must not matter
        if isinstance(module, _BatchNorm):
            module.eval()
    x = images(1).expand(8, -1, -1, -1)
    last = forward(net, x)[-1]
    assert any(not torch.equal(last[0], output) for output in last[1:])
    last = forward(net.eval(), x)[-1]
    for output in last[1:]:
        torch.testing.assert_close(output, last[0], rtol=1e-4, atol=1e-5)


@each
def test_channels_last_gives_the_same_values(case):
    net = build(case).eval()
    expected = forward(net, images())
    net.to(memory_format=torch.channels_last)
    net_maps = forward(net, images().contiguous(memory_format=torch.channels_last))
    assert_close(net_maps, expected, rtol=1e-4, atol=1e-4)


@each
def test_bfloat16_output_is_close_to_float32(case):
    net = build(case).eval()
    expected = forward(net, images())
    with torch.autocast('cpu', torch.bfloat16):
        net_maps = forward(net, images())
    for first_map, second_map in zip(net_maps, expected):
        error = (first_map.float() - second_map).abs().mean()
        assert 0 < error < 0.05 * second_map.abs().max()


@each
def test_state_dict_round_trip(case):
    net = build(case).eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other_net = build(case, seed=1).eval()
    assert not torch.allclose(forward(other_net, images())[-1], forward(net, images())[-1])
    other_net.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert_close(forward(other_net, images()), forward(net, images()), rtol=0, atol=0)


@each
def test_out_indices_select_maps(case):
    stages = range(build(case).num_stages)
    net = build(case, out_indices=stages).eval()
    every = forward(net, images())
    chosen = (0, -1)
    fewer = build(case, out_indices=chosen).eval()
    fewer_state = fewer.state_dict()
    fewer.load_state_dict(
        {name: value for name, value in net.state_dict().items() if name in fewer_state}
    )
    assert_close(forward(fewer, images()), [every[0], every[-1]], rtol=0, atol=0)


@each
def test_stages_after_the_last_output_have_no_gradient(case):
    net = build(case, out_indices=(0,)).train()
    sum(m.mean() for m in net(images())).backward()
    trained = [p.grad is not None for p in net.parameters()]
    assert trained == [p.requires_grad for p in net.parameters()]
    assert any(trained)


def frozen_stages(case: str) -> list[int]:
    """Compare the first and the second-to-last stage."""
    return sorted({0, build(case).num_stages - 2})


@each
def test_frozen_stages_do_not_change_in_training(case):
    for frozen in frozen_stages(case):
        net = build(case, frozen_stages=frozen).train()
        still = {
            id(value)
            for stage in range(frozen + 1)
            for module in net.stage_modules(stage)
            for value in (*module.parameters(), *module.buffers())
        }
        named = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        before = {name: value.clone() for name, value in named.items()}
        loss = sum(m.square().mean() for m in net(images()))
        loss.backward()
        trainable = [p for p in net.parameters() if p.requires_grad]
        for value in trainable:  # far enough to differ, however small
            value.data += 0.1 * value.grad.sign()
        changed = {name for name, value in named.items() if not torch.equal(value, before[name])}
        assert still
        assert not [n for n in changed if id(named[n]) in still]
        moved = {id(named[name]) for name in changed}
        assert {id(p) for p in trainable if p.grad.any()} <= moved
        net.eval().train()
        assert not any(
            m.training
            for stage in range(frozen + 1)
            for part in net.stage_modules(stage)
            for m in part.modules()
        )


def _step(net: nn.Module) -> tuple[dict, dict, int]:
    """Return gradients, buffers and the bytes kept for the backward pass."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = sum(m.square().mean() for m in net(images()))
    # Bytes of the model itself are the same in both cases.
    state_storages = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}
    size = sum(n for where, n in kept.items() if where not in state_storages)
    loss.backward()
    gradients = {k: p.grad for k, p in net.named_parameters()}
    return gradients, dict(net.named_buffers()), size


@each
def test_with_cp_saves_memory_and_keeps_results(case):
    results = []
    for with_cp in (False, True):
        net = build(case, with_cp=with_cp, drop_path_rate=0.3).train()
        torch.manual_seed(7)
        results.append(_step(net))
    plain, checkpointed = results
    assert plain[0]
    for kind in (0, 1):
        for name, value in plain[kind].items():
            torch.testing.assert_close(checkpointed[kind][name], value, msg=name)
    assert checkpointed[2] < 0.7 * plain[2]


@native
def test_compiled_training_with_cp_keeps_results(case):
    """The checkpointed blocks are not compiled, but everything around them."""
    settings = dict(with_cp=True, drop_path_rate=0.3, out_indices=(0,))
    settings.update(dict(arch=SHALLOW) if case == 'HRCoMer' else {})
    results = []
    for compiled in (False, True):
        net = build(case, **settings).train()
        if compiled:
            net.compile(backend='eager')
        torch.manual_seed(7)
        results.append(_step(net)[:2])
    torch._dynamo.reset()
    torch.testing.assert_close(results[1], results[0])


@each
def test_symbolic_trace_gives_the_same_values(case):
    net = build(case).eval()
    traced = torch.fx.symbolic_trace(net)
    assert_close(forward(traced, images()), forward(net, images()))


@each
def test_double_precision_output_is_close_to_single_precision(case):
    net = build(case).eval()
    expected = forward(net, images())
    maps = forward(net.double(), images().double())
    assert {feature_map.dtype for feature_map in maps} == {torch.float64}
    assert_close([m.float() for m in maps], expected, rtol=1e-3, atol=1e-4)


@native
def test_empty_batch_gives_empty_maps(case):
    net = build(case).eval()
    for index, output in zip(net.out_indices, forward(net, images(0))):
        stride = net.strides[index]
        assert output.shape == (0, net.embed_dims[index], SIZE[0] // stride, SIZE[1] // stride)


HEADS = {
    'HRCoMerHead': dict(joint_channels=2, refine_channels=2),
    'MSPNHead': dict(unit_channels=16),
    'MultiLevelHeatmapHead': dict(in_channels=(8, 16), out_channels=17),
}


@pytest.mark.parametrize('case', [*CASES, *HEADS])
def test_init_weights_after_a_build_on_meta(case):
    """Every tensor is initialized as in a normal build, for FSDP."""
    name, settings = CASES.get(case) or (case, HEADS[case])
    kind = MODELS.get(name)
    expected = kind(**settings)
    expected.init_weights()
    with torch.device('meta'):
        net = kind(**settings)
    net.to_empty(device='cpu')
    with torch.no_grad():
        for value in (*net.parameters(), *net.buffers()):
            value.fill_(torch.nan if value.is_floating_point() else 77)
    net.init_weights()
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for key, value in (*expected.named_parameters(), *expected.named_buffers()):
        assert torch.isfinite(tensors[key]).all(), key
        if (value == value.flatten()[0]).all() or not value.is_floating_point():
            assert torch.equal(tensors[key], value), key
        elif value.numel() > 1000:
            torch.testing.assert_close(tensors[key].std(), value.std(), rtol=0.2, atol=0)
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()
            assert module.num_batches_tracked == 0


@each
@pytest.mark.parametrize(
    ('argument', 'value', 'error', 'message'),
    [
        ('out_indices', (9,), ValueError, r'out_indices is \(9,\): expected'),
        ('out_indices', (1, 0), ValueError, r'\(1, 0\): .*ascending'),
        ('out_indices', 3, TypeError, 'out_indices is 3'),
        ('frozen_stages', 9, ValueError, 'frozen_stages is 9: expected -1'),
        ('with_cp', 'yes', TypeError, "with_cp is 'yes'"),
        ('drop_path_rate', 1.5, ValueError, 'drop_path_rate is 1.5'),
    ],
)
def test_invalid_arguments_raise(case, argument, value, error, message):
    skip_without(case, argument)
    with pytest.raises(error, match=message):
        build(case, **{argument: value})


@each
def test_unknown_arguments_raise(case):
    with pytest.raises(TypeError, match='conv_cfg'):
        build(case, conv_cfg=dict(type='Conv2d'))


@each
def test_unknown_arch_suggests_the_closest_name(case):
    skip_without(case, 'arch')
    name, _ = CASES[case]
    invalid = dict(
        TimmBackbone=('model_name', 'resnet5O', 'resnet50'), HRCoMer=('arch', 'larg', 'large')
    ).get(name, ('arch', 'smal', 'small'))
    with pytest.raises(ValueError, match=f'{invalid[1]}.*did you mean.*{invalid[2]}'):
        MODELS.get(name)(**{invalid[0]: invalid[1]})
