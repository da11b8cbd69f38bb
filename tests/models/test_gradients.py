"""Gradients of all layers and losses, compared with finite differences in double precision."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from pose_backbones import models
from pose_backbones.models.backbones import (
    convnext_fused,
    hr_adapter,
    moganet,
    moganet_fused,
    mspn,
    swin,
    uniformer_fused,
)
from pose_backbones.models.backbones import uniformer as uni
from pose_backbones.models.backbones.base import BaseBackbone
from pose_backbones.models.heads import MultiLevelHeatmapHead, hrcomer_head, mspn_head
from pose_backbones.models.heads import hrcomer_branches as branches
from pose_backbones.models.layers import (
    BasicBlock,
    Bottleneck,
    ConvNorm,
    DropPath,
    MetaDeviceInit,
    conv_norm,
    depthwise,
    fuse,
    packed,
)
from pose_backbones.models.layers.adaptive_conv import (
    AdaptiveActivationBlock,
    PointReader,
    deform,
    deform_by_operator,
)
from pose_backbones.models.layers.depthwise import depth_wise
from pose_backbones.models.layers.mspn import resize
from pose_backbones.models.losses import heatmap_loss, multi_person_loss
from tests.helpers.random_weights import randomize

BN = dict(type='BN')

#: modules without a formula of their own, and why
WITHOUT_CASE = {
    MetaDeviceInit: 'base class',
    DropPath: "random; test_drop_path.py compares its gradients with timm's",
    uni.Block: 'base class',
    multi_person_loss._PeopleLoss: 'base class',
    hr_adapter.HRAdapter: 'wraps the backbone in its arguments; its layers have cases',
    swin.SwinTransformer: "MMPose's backbone with other names of its parameters",
    mspn.Upsampling: 'layers that MSPN connects',
    mspn.Stage: 'layers that MSPN connects',
    moganet_fused.FusedMogaBlock: 'inference, without gradients',
    convnext_fused.FusedBlock: 'inference',
    convnext_fused.FusedBlocks: 'inference, without gradients',
    uniformer_fused._FusedBlock: 'base class',
    uniformer_fused.FusedAttentionBlock: 'inference',
    uniformer_fused.FusedConvBlock: 'inference',
    conv_norm.FusedResidualBlock: 'inference',
    depthwise.FusedDepthwise: 'inference',
    packed.ChannelsFirst: 'inference',
    packed.ChannelsLast: 'inference',
    packed._Packed: 'base class',
    packed.PackedConv2d: 'inference',
    packed.PackedConvTranspose2d: 'inference',
    packed.PackedLinear: 'inference',
    mspn_head.MSPNHead: 'its losses and layers have cases',
    hrcomer_head.HRCoMerHead: 'its losses and branches have cases',
}


def maps(*shapes: Sequence[int]) -> Callable[[], list[Tensor]]:
    """Return a function that creates random maps."""
    return lambda: [torch.randn(shape, dtype=torch.float64) for shape in shapes]


#: class → its cases: arguments, and a function that creates the inputs
LAYERS: dict[type, list[tuple[dict, Callable[[], list[Tensor]]]]] = {
    ConvNorm: [
        (dict(in_channels=2, channels=3, norm_cfg=BN, kernel=3, stride=2), maps((2, 2, 5, 4))),
        (
            dict(in_channels=2, channels=4, norm_cfg=dict(type='GN', num_groups=2), bias=True),
            maps((2, 2, 3, 4)),
        ),
    ],
    Bottleneck: [
        (dict(in_channels=4, channels=8, norm_cfg=BN), maps((2, 4, 3, 4))),
        (dict(in_channels=8, channels=8, norm_cfg=BN), maps((2, 8, 3, 4))),
    ],
    BasicBlock: [(dict(channels=3, norm_cfg=BN), maps((2, 3, 4, 3)))],
    AdaptiveActivationBlock: [(dict(channels=4, groups=2, norm_cfg=BN), maps((2, 4, 4, 3)))],
    moganet.ChannelScale: [(dict(channels=3, init_value=0.3), maps((2, 3, 2, 2)))],
    moganet.MultiOrderDWConv: [
        (dict(channels=8), maps((1, 8, 6, 5))),
        (dict(channels=8, dilations=(1, 1, 2)), maps((1, 8, 4, 5))),
    ],
    moganet.MultiOrderGatedAggregation: [(dict(channels=8), maps((2, 8, 4, 3)))],
    moganet.ChannelAggregationFFN: [(dict(channels=3, hidden_channels=6), maps((2, 3, 4, 3)))],
    moganet.MogaBlock: [
        (
            dict(
                channels=8,
                ffn_ratio=2,
                drop_path=0.0,
                norm_cfg=BN,
                layer_scale=0.5,
                dilations=(1, 2, 3),
            ),
            maps((2, 8, 3, 4)),
        )
    ],
    moganet.PatchEmbed: [(dict(in_channels=2, channels=4, norm_cfg=BN), maps((2, 2, 5, 4)))],
    moganet.StemPatchEmbed: [(dict(in_channels=3, channels=4, norm_cfg=BN), maps((2, 3, 8, 8)))],
    uni.PatchEmbed: [(dict(in_channels=2, channels=4, stride=2), maps((2, 2, 4, 6)))],
    uni.ConvPatchEmbed: [
        (dict(in_channels=2, channels=4, stride=2, norm_cfg=BN), maps((2, 2, 4, 4))),
        (dict(in_channels=3, channels=4, stride=4, norm_cfg=BN), maps((2, 3, 8, 8))),
    ],
    uni.Mlp: [
        (dict(channels=3, layer=nn.Linear), maps((2, 4, 2, 3))),
        (dict(channels=3, layer=uni._point_wise), maps((2, 3, 2, 4))),
    ],
    uni.Attention: [
        (dict(channels=4, head_dim=2, qkv_bias=True, window_size=None), maps((2, 3, 2, 4))),
        (dict(channels=4, head_dim=4, qkv_bias=False, window_size=2), maps((1, 3, 4, 4))),
    ],
    uni.ConvBlock: [
        (dict(channels=3, drop_path=0.0, layer_scale=0.4, norm_cfg=BN), maps((2, 3, 4, 3))),
        (dict(channels=3, drop_path=0.0, layer_scale=None, norm_cfg=BN), maps((2, 3, 3, 3))),
    ],
    uni.AttentionBlock: [
        (
            dict(
                channels=4,
                drop_path=0.0,
                layer_scale=scale,
                head_dim=2,
                qkv_bias=True,
                window_size=window,
            ),
            maps((2, 4, 3, 2)),
        )
        for scale, window in ((0.4, None), (None, 2))
    ],
    mspn.MSPNBottleneck: [
        (dict(in_channels=8, width=2, norm_cfg=BN), maps((2, 8, 3, 4))),
        (dict(in_channels=4, width=2, norm_cfg=BN, stride=2), maps((2, 4, 4, 4))),
    ],
    mspn.Top: [(dict(in_channels=3, channels=2, norm_cfg=BN), maps((2, 3, 8, 8)))],
    hr_adapter.HRModule: [
        (
            dict(channels=(2, 3, 4), depth=1, norm_cfg=BN, with_cp=with_cp),
            maps((2, 2, 8, 4), (2, 3, 4, 2), (2, 4, 2, 1)),
        )
        for with_cp in (False, True)
    ],
    hr_adapter.Transition: [(dict(in_channels=2, channels=3, norm_cfg=BN), maps((2, 2, 3, 3)))],
    branches.ConfidenceBranch: [
        (
            dict(in_channels=(2, 3), channels=2, norm_cfg=BN, conv_init='normal'),
            maps((2, 2, 4, 3), (2, 3, 2, 2)),
        )
    ],
    branches.HeatmapBranch: [
        (
            dict(in_channels=2, num_keypoints=3, channels=2, norm_cfg=BN, conv_init='normal'),
            maps((2, 2, 3, 4)),
        )
    ],
    branches.JointBranch: [
        (
            dict(in_channels=(2, 3), num_keypoints=2, channels=2, norm_cfg=BN, conv_init='normal'),
            maps((1, 2, 3, 4), (1, 3, 2, 2)),
        )
    ],
    branches.RefineBranch: [
        (
            dict(in_channels=2, num_keypoints=2, channels=2, norm_cfg=BN, conv_init='normal'),
            maps((1, 2, 4, 3)),
        )
    ],
    MultiLevelHeatmapHead: [
        (
            dict(in_channels=(2, 3), out_channels=2, conv_out_channels=(4, 3)),
            maps((2, 2, 4, 6), (2, 3, 2, 3)),
        )
    ],
}
#: layers whose input is a list of maps
OF_LISTS = (
    hr_adapter.HRModule,
    branches.ConfidenceBranch,
    branches.JointBranch,
    MultiLevelHeatmapHead,
)


def heatmaps(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64) * 0.8 + 0.1


def peaks(*shape: int) -> Tensor:
    """Return targets with values of 1 and others."""
    targets = heatmaps(*shape)
    targets[..., 1, 2] = 1
    return targets


def people(count: int = 3, joints: int = 4) -> list[Tensor]:
    """Return joints, targets and areas, in which some joints do not count."""
    targets = torch.rand(count, joints, 3, dtype=torch.float64)
    targets[..., 2] = (torch.rand(count, joints) > 0.3).double()
    targets[0, 0, 2] = 0
    areas = torch.rand(count, dtype=torch.float64) + 0.5
    return [torch.randn(count, joints, 2, dtype=torch.float64), targets, areas]


SIGMAS = dict(sigmas=(0.3, 0.5, 0.7, 0.9))
LIMBS = dict(limbs=((0, 1), (1, 2), (3, 1)))
#: class → its cases: arguments, and a function that creates the inputs, the first with gradients
LOSSES: dict[type, list[tuple[dict, Callable[[], list[Tensor]]]]] = {
    heatmap_loss.VisibleKeypointsMSELoss: [
        (
            dict(loss_weight=3.0),
            lambda: [
                heatmaps(2, 3, 3, 4),
                peaks(2, 3, 3, 4),
                torch.tensor([[0, 0.5, 1], [1, 1, 0]]).double(),
            ],
        )
    ],
    heatmap_loss.HardKeypointsMSELoss: [
        (
            dict(topk=2),
            lambda: [
                heatmaps(2, 3, 3, 4),
                peaks(2, 3, 3, 4),
                torch.tensor([[0, 0.5, 1], [1, 1, 1]]).double(),
            ],
        )
    ],
    multi_person_loss.BinaryFocalLoss: [
        (
            dict(gamma=gamma, loss_weight=2.0),
            lambda: [
                3 * torch.randn(2, 5, dtype=torch.float64),
                torch.tensor([[1, 0, 0, 1, 0]] * 2).double(),
                torch.tensor([[1, 1, 0, 1, 1]] * 2).double(),
            ],
        )
        for gamma in (0, 1, 2, 3.5)
    ],
    multi_person_loss.JointL1Loss: [(dict(loss_weight=0.5), people)],
    multi_person_loss.LimbL1Loss: [(LIMBS, people)],
    multi_person_loss.OKSLoss: [(SIGMAS, people), (dict(SIGMAS, area_factor=0.53), people)],
    multi_person_loss.HeatmapFocalLoss: [
        (
            dict(alpha=alpha, beta=beta),
            lambda: [
                heatmaps(2, 2, 3, 4),
                peaks(2, 2, 3, 4),
                torch.tensor([1.0, 0.0, 1.0]).repeat(2, 4, 1).mT.double(),
            ],
        )
        for alpha, beta in ((2, 4), (1, 0), (0, 1))
    ],
}


def package_modules() -> Iterator[type[nn.Module]]:
    """Yield the modules of layers, losses, backbones and heads that are no whole backbones."""
    for folder in ('layers', 'losses', 'backbones', 'heads'):
        package = importlib.import_module(f'{models.__name__}.{folder}')
        for info in pkgutil.iter_modules(package.__path__, f'{package.__name__}.'):
            module = importlib.import_module(info.name)
            for value in vars(module).values():
                if inspect.isclass(value) and value.__module__ == info.name:
                    whole = issubclass(value, BaseBackbone) or hasattr(value, 'arch_settings')
                    if issubclass(value, nn.Module) and not whole:
                        yield value


def test_all_layers_and_losses_have_a_case():
    assert {*LAYERS, *LOSSES, *WITHOUT_CASE} == {*package_modules()}
    assert not WITHOUT_CASE.keys() & {*LAYERS, *LOSSES}


def cases(table: dict) -> list:
    return [
        pytest.param(
            cls, arguments, inputs, id=f'{cls.__module__.split(".")[-1]}.{cls.__name__}-{n}'
        )
        for cls, entries in table.items()
        for n, (arguments, inputs) in enumerate(entries)
    ]


@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize(('cls', 'arguments', 'inputs'), cases(LAYERS))
def test_layer(cls, arguments, inputs, training):
    """Gradients of inputs and of all parameters."""
    run, values = layer_function(cls, arguments, inputs, training)
    assert gradcheck(run, tuple(values.values()), fast_mode=True)


@pytest.mark.parametrize(('cls', 'arguments', 'inputs'), cases(LAYERS))
def test_every_parameter_has_influence(cls, arguments, inputs):
    """A parameter without influence would pass the comparison with finite differences.

    In training mode, a batch norm removes the bias of the layer in front of it.
    """
    largest = {}
    for training in (True, False):
        for name, gradient in gradients_of(cls, arguments, inputs, training).items():
            assert gradient.isfinite().all(), name
            largest[name] = max(largest.get(name, 0.0), float(gradient.abs().max()))
    without = {name: value for name, value in largest.items() if not value > 1e-9}
    assert not without


def layer_function(
    cls: type[nn.Module], arguments: dict, inputs: Callable[[], list[Tensor]], training: bool
) -> tuple[Callable[..., tuple[Tensor, ...]], dict[str, Tensor]]:
    """Return a layer as a function of its inputs and parameters, and random values of them.

    Args:
        cls: Class of the layer.
        arguments: Its arguments.
        inputs: Creates the inputs.
        training: Whether the layer is in training mode.

    Returns:
        The function, and name → leaf in double precision, in the order of its arguments; the inputs
        have the names `input 0`, `input 1`, …
    """
    torch.manual_seed(3)
    module = randomize(cls(**arguments).double()).train(training)
    tensors = {f'input {number}': value for number, value in enumerate(inputs())}
    parameters = {name: value.detach().clone() for name, value in module.named_parameters()}
    count = len(tensors)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(parameters, values[count:], strict=True))
        positional = [list(values[:count])] if cls in OF_LISTS else values[:count]
        out = functional_call(module, state, tuple(positional))
        return tuple(out) if isinstance(out, list) else (out,)

    return run, {name: value.requires_grad_() for name, value in (tensors | parameters).items()}


def gradients_of(*arguments) -> dict[str, Tensor]:
    """Return the gradients of a nonlinear function of a layer's outputs.

    Args:
        arguments: See `layer_function`.

    Returns:
        Name of an input or a parameter → gradient.
    """
    run, values = layer_function(*arguments)
    total = sum(out.sin().sum() for out in run(*values.values()))
    gradients = torch.autograd.grad(total, list(values.values()))
    return dict(zip(values, gradients, strict=True))


@pytest.mark.parametrize(('cls', 'arguments', 'inputs'), cases(LOSSES))
def test_loss(cls, arguments, inputs):
    torch.manual_seed(5)
    loss = cls(**arguments).double()
    predictions, *targets = inputs()
    assert gradcheck(lambda value: loss(value, *targets), predictions.requires_grad_())
    value = loss(predictions, *targets)
    assert value > 0
    assert torch.autograd.grad(value, predictions)[0].abs().max() > 0


def finite_gradient(
    loss: nn.Module, predictions: Tensor, *targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a loss and its gradient, after a check that both are finite."""
    predictions = predictions.clone().requires_grad_()
    value = loss(predictions, *targets)
    (gradient,) = torch.autograd.grad(value, predictions)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    return value, gradient


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ('cls', 'arguments'),
    [
        (multi_person_loss.JointL1Loss, {}),
        (multi_person_loss.LimbL1Loss, LIMBS),
        (multi_person_loss.OKSLoss, SIGMAS),
    ],
)
def test_special_people(cls, arguments, dtype):
    """No people, no joint that counts, predictions equal to the targets, far away, areas of 0."""
    loss = cls(**arguments)
    joints, targets, areas = (value.to(dtype) for value in people())
    value, gradient = finite_gradient(loss, joints[:0], targets[:0], areas[:0])
    assert value == 0
    hidden = targets.clone()
    hidden[..., 2] = 0
    value, gradient = finite_gradient(loss, joints, hidden, areas)
    assert gradient.abs().max() == 0
    finite_gradient(loss, targets[..., :2], targets, areas)
    finite_gradient(loss, joints * 1e4, targets, areas)
    if dtype.itemsize >= 4:  # in half precision, the gradient 1 / eps would overflow
        finite_gradient(loss, joints, targets, areas * 0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('gamma', [0, 1, 2, 3.5])
def test_special_logits(gamma, dtype):
    """Probabilities of exactly 0 and 1, and no valid query."""
    loss = multi_person_loss.BinaryFocalLoss(gamma)
    logits = torch.tensor([[-200.0, 200.0, 0.0, -200.0, 200.0, -1e4, 1e4]]).to(dtype)
    targets = torch.tensor([[0, 1, 1, 1, 0, 1, 0]])
    finite_gradient(loss, logits, targets, torch.ones_like(targets))
    value, gradient = finite_gradient(loss, logits, targets, torch.zeros_like(targets))
    assert value == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('alpha', [0, 1, 2, 3.5])
def test_special_heatmaps(alpha, dtype):
    """Predictions of 0 and 1, no joint, and no labelled pixel."""
    loss = multi_person_loss.HeatmapFocalLoss(alpha)
    targets = peaks(2, 2, 3, 4).to(dtype)
    valid = torch.ones(2, 3, 4)
    for predicted in (0.0, 1.0, 0.5):
        predictions = torch.full_like(targets, predicted)
        finite_gradient(loss, predictions, targets, valid)
        finite_gradient(loss, predictions, torch.zeros_like(targets), valid)
        finite_gradient(loss, predictions, targets, 0 * valid)
    value, _ = finite_gradient(loss, targets, torch.zeros_like(targets), 0 * valid)
    assert value == 0


@pytest.mark.parametrize('groups', [1, 2])
def test_deformable_convolution_equals_torchvision(groups):
    """The CPU's formula and torchvision's operator have equal gradients."""
    torch.manual_seed(1)
    block = randomize(AdaptiveActivationBlock(4, groups, BN).double())
    taps, weight = block.regular_matrix, block.adapt_conv.weight.detach()
    values = [
        torch.randn(2, 4, 5, 4, dtype=torch.float64),
        0.4 * torch.randn(2, 6 * groups, 5, 4, dtype=torch.float64),
        weight,
    ]
    outputs, gradients = [], []
    for function in (deform, deform_by_operator):
        leaves = [value.clone().requires_grad_() for value in values]
        out = function(leaves[0], leaves[1], taps, leaves[2])
        outputs.append(out.detach())
        gradients.append(torch.autograd.grad(out.sin().sum(), leaves))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    for actual, torchvision in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, torchvision, rtol=0, atol=1e-11)


def test_functions():
    torch.manual_seed(2)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda value: resize(value, (6, 7)), x)
    for dilation in (1, 2, 3):
        padding = 2 * dilation
        conv = nn.Conv2d(5, 5, 5, padding=padding, dilation=dilation, groups=5).double()
        assert gradcheck(lambda value, conv=conv: depth_wise(value, conv), x)
    assert gradcheck(branches.sample, maps_with_grad((1, 2, 2, 4, 3), (1, 3, 2, 2)))


def maps_with_grad(*shapes: Sequence[int]) -> list[Tensor]:
    return [value.requires_grad_() for value in maps(*shapes)()]


def test_selected_points_have_the_gradients_of_the_whole_map():
    """`PointReader` computes pixels of a chain of blocks; its gradients are those of the chain."""
    torch.manual_seed(4)
    chain = [randomize(AdaptiveActivationBlock(4, 2, BN).double()).eval() for _ in range(2)]
    x = torch.randn(1, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[1, 2], [0, 4], [3, 0]]).expand(1, 2, -1, -1)
    whole = nn.Sequential(*chain)(x).unflatten(1, (2, 2))
    expected = whole[0, :, :, points[0, 0, :, 1], points[0, 0, :, 0]].transpose(1, 2)[None]
    read = PointReader(x, 2, chain).at(points)
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-12)
    gradients = [
        torch.autograd.grad(values.sin().sum(), x, retain_graph=True)[0]
        for values in (read, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


def test_backward_twice_with_checkpointing():
    """A graph that is kept can be run again, and statistics are recorded once."""
    torch.manual_seed(7)
    arguments = dict(channels=(2, 3), depth=1, norm_cfg=BN)
    plain = randomize(hr_adapter.HRModule(**arguments, with_cp=False).double()).train()
    saving = hr_adapter.HRModule(**arguments, with_cp=True).double().train()
    saving.load_state_dict(plain.state_dict())
    inputs = maps_with_grad((2, 2, 4, 4), (2, 3, 2, 2))
    gradients = []
    for module in (plain, saving):
        total = sum(out.sin().sum() for out in module(inputs))
        for keep in (True, False):
            gradients.append(torch.autograd.grad(total, inputs, retain_graph=keep))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=0, atol=1e-12)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(saving.state_dict()[name], value, msg=name)


def test_fused_convolutions_have_the_same_gradient():
    torch.manual_seed(6)
    block = randomize(Bottleneck(4, 8, BN).double()).eval()
    fused = fuse(block)
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    gradients = [torch.autograd.grad(module(x).sin().sum(), x)[0] for module in (block, fused)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)
