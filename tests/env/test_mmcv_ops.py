"""Tests of the replacement of mmcv's compiled operators."""

import importlib
import inspect
import json
import math
import re
import sys
from pathlib import Path

import mmcv
import mmcv.ops
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.ops.psa_mask import psa_mask
from mmcv.ops.sync_bn import SyncBatchNormFunction
from shapely.geometry import Polygon
from torch.autograd import gradcheck

from pose_backbones_env import finder
from tests.helpers.operator_cases import CASES, RECORDED, ROIS, wave
from tests.helpers.operator_table import compiled_functions

lite_only = pytest.mark.skipif(
    'mmcv._ext' not in finder.active(),
    reason='full mmcv is installed, so its own operators are in use',
)


@pytest.fixture(scope='module')
def recorded():
    return json.loads(RECORDED.read_text())


@pytest.mark.parametrize('name', CASES)
def test_results_match_those_of_compiled_mmcv(recorded, name):
    results = CASES[name]()
    assert [list(x.shape) for x in results] == [x['shape'] for x in recorded[name]]
    for result, expected in zip(results, recorded[name]):
        expected = torch.tensor(expected['values']).view(expected['shape'])
        torch.testing.assert_close(result.float(), expected, rtol=1e-5, atol=2e-5)


def double(*shape, **kwargs):
    return wave(*shape, **kwargs).double()


DOUBLE_ROIS = ROIS.double()
SHAPES, STARTS = torch.tensor([[4, 3], [2, 2]]), torch.tensor([0, 12])
TARGETS = torch.tensor([0, 2, 1, 0])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0], dtype=torch.double)


def attend(value, locations, weights):
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


#: function, shapes of its inputs
DIFFERENTIABLE = {
    'deform_conv2d': (
        lambda *x: mmcv.ops.deform_conv2d(*x, 2, 1, 1, 2, 2),
        [(1, 4, 4, 5), (1, 36, 2, 3), (2, 2, 3, 3)],
    ),
    'modulated_deform_conv2d': (
        lambda *x: mmcv.ops.modulated_deform_conv2d(*x, 1, 1),
        [(1, 2, 3, 4), (1, 18, 3, 4), (1, 9, 3, 4), (2, 2, 3, 3), (2,)],
    ),
    'roi_align, average': (
        lambda x: mmcv.ops.roi_align(x, DOUBLE_ROIS, (2, 2), 0.5, 0, 'avg', True),
        [(2, 2, 5, 6)],
    ),
    'roi_align, maximum': (
        lambda x: mmcv.ops.roi_align(x, DOUBLE_ROIS, (2, 2), 0.5, 0, 'max', True),
        [(2, 2, 5, 6)],
    ),
    'roi_pool': (lambda x: mmcv.ops.roi_pool(x, DOUBLE_ROIS, (2, 2), 0.5), [(2, 2, 5, 6)]),
    'deform_roi_pool': (
        lambda x, offset: mmcv.ops.deform_roi_pool(
            x, DOUBLE_ROIS[[0, 3]], offset, (2, 2), 0.5, 0, 0.1
        ),
        [(2, 2, 7, 6), (2, 2, 2, 2)],
    ),
    'deform_roi_pool, no offset': (
        lambda x: mmcv.ops.deform_roi_pool(x, DOUBLE_ROIS, None, (2, 2), 0.5, 2),
        [(2, 2, 5, 6)],
    ),
    'sigmoid_focal_loss': (
        lambda x: mmcv.ops.sigmoid_focal_loss(x, TARGETS, 1.5, 0.3, WEIGHTS, 'sum'),
        [(4, 3)],
    ),
    'softmax_focal_loss': (
        lambda x: mmcv.ops.softmax_focal_loss(x, TARGETS, 1.5, 0.3, WEIGHTS, 'mean'),
        [(4, 3)],
    ),
    'multi-scale deformable attention': (
        attend,
        [(1, 16, 2, 3), (1, 2, 2, 2, 2, 2), (1, 2, 2, 2, 2)],
    ),
    'carafe': (lambda *x: mmcv.ops.carafe(*x, 3, 2, 2), [(1, 4, 2, 3), (1, 18, 4, 6)]),
    'psa_mask': (lambda x: psa_mask(x, 1, (3, 5)), [(1, 15, 3, 2)]),
}


@lite_only
@pytest.mark.parametrize('name', DIFFERENTIABLE)
def test_gradients_match_finite_differences(name):
    function, shapes = DIFFERENTIABLE[name]
    inputs = [double(*shape, phase=n, scale=0.8) for n, shape in enumerate(shapes)]
    assert gradcheck(function, [x.requires_grad_() for x in inputs], fast_mode=True)


@lite_only
@pytest.mark.parametrize('name', [name for name in DIFFERENTIABLE if 'maximum' not in name])
def test_bfloat16_is_computed_in_float32(name):
    function, shapes = DIFFERENTIABLE[name]

    def compute(dtype):
        inputs = [wave(*shape, phase=n).bfloat16() for n, shape in enumerate(shapes)]
        inputs = [x.to(dtype).requires_grad_() for x in inputs]
        output = function(*inputs)
        output.sum().backward()
        return [output, *(x.grad for x in inputs)]

    for rounded, exact in zip(compute(torch.bfloat16), compute(torch.float32)):
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), exact, rtol=2e-2, atol=2e-2)


@lite_only
@pytest.mark.parametrize('kind', ['DCN', 'DCNv2'])
def test_deformable_convolution_trains_with_autocast(kind):
    from mmcv.cnn import build_conv_layer

    torch.manual_seed(0)
    layer = build_conv_layer(dict(type=kind), 4, 4, 3, padding=1)
    image = torch.randn(2, 4, 6, 6)
    with torch.autocast('cpu', torch.bfloat16):
        output = layer(image)
    assert output.dtype == torch.bfloat16
    output.float().square().sum().backward()
    torch.testing.assert_close(output.float(), layer(image), rtol=0.05, atol=0.05)
    for parameter in layer.parameters():
        assert parameter.grad.abs().sum() > 0


def test_deform_conv_gradient_of_the_weight_alone():
    inputs = [wave(1, 2, 4, 4), wave(1, 18, 4, 4, phase=1), wave(2, 2, 3, 3, phase=2)]
    inputs = [x.requires_grad_() for x in inputs]
    output = mmcv.ops.deform_conv2d(*inputs, 1, 1)
    for factor in (1.0, 2.0):  # the second gradient must not come from the first one's
        gradient = torch.full_like(output, factor)
        torch.autograd.grad(output, inputs[:2], gradient, retain_graph=True)
    (alone,) = torch.autograd.grad(output, inputs[2:], torch.full_like(output, 3), True)
    expected = torch.autograd.grad(output, inputs, torch.full_like(output, 3))[2]
    torch.testing.assert_close(alone, expected)


@lite_only
@pytest.mark.parametrize(
    ('groups', 'deform_groups', 'message'),
    [(1, 2, 'offset has 18 channels, expected 36'), (2, 1, 'input has 4 channels, expected 8')],
)
def test_deform_conv_with_wrong_groups_raises(groups, deform_groups, message):
    with pytest.raises(ValueError, match=message):
        mmcv.ops.deform_conv2d(
            wave(1, 4, 4, 4), wave(1, 18, 4, 4), wave(2, 4, 3, 3), 1, 1, 1, groups, deform_groups
        )


@lite_only
def test_modulated_deform_conv_with_small_offset_raises():
    with pytest.raises(ValueError, match=r'of size \(3, 4\), the output is of \(4, 4\)'):
        mmcv.ops.modulated_deform_conv2d(
            wave(1, 2, 4, 4), wave(1, 18, 3, 4), wave(1, 9, 3, 4), wave(2, 2, 3, 3), None, 1, 1
        )


@lite_only
@pytest.mark.parametrize('scale', [1.0, 30.0])
def test_sigmoid_focal_loss_matches_definition(scale):
    logits = double(6, 3, scale=scale).requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, -1, 1])  # 3 and -1: background
    one_hot = F.one_hot(targets.clamp(min=0), 4)[:, :3] * (targets >= 0)[:, None]
    p = torch.where(one_hot > 0, logits.sigmoid(), (-logits).sigmoid())
    alpha = torch.where(one_hot > 0, 0.3, 0.7)
    expected = -alpha * (1 - p) ** 2.5 * F.logsigmoid(torch.where(one_hot > 0, logits, -logits))
    loss = mmcv.ops.sigmoid_focal_loss(logits, targets, 2.5, 0.3, None, 'none')
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(x.sum(), logits)[0] for x in (loss, expected)]
    torch.testing.assert_close(*gradients)


@lite_only
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weight', [None, WEIGHTS])
def test_softmax_focal_loss_matches_definition(gamma, weight):
    logits = double(5, 3, scale=3).requires_grad_()
    targets = torch.tensor([0, 2, 1, 0, -1])  # -1: ignored
    index = targets.clamp(min=0)
    log = logits.log_softmax(1)[range(5), index]
    each = -0.3 * (1 - log.exp()) ** gamma * log * (1 if weight is None else weight[index])
    expected = each[:4].sum() / 5
    loss = mmcv.ops.softmax_focal_loss(logits, targets, gamma, 0.3, weight)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(x, logits)[0] for x in (loss, expected)]
    torch.testing.assert_close(*gradients)


@lite_only
def test_softmax_focal_loss_of_certain_predictions_has_finite_gradients():
    logits = torch.tensor([[100.0, 0, 0]], requires_grad=True)
    for gamma in (0.0, 0.5, 2.0):
        loss = mmcv.ops.softmax_focal_loss(logits, torch.tensor([0]), gamma)
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@lite_only
def test_focal_loss_weight_without_class_raises():
    with pytest.raises(ValueError, match='targets have to be 0 to 2, got 0 to 3'):
        mmcv.ops.sigmoid_focal_loss(
            wave(2, 3), torch.tensor([0, 3]), 2.0, 0.25, torch.ones(3), 'none'
        )


def bilinear(image, y, x):
    """Interpolate an array (H, W), with zeros outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


@lite_only
def test_deformable_attention_matches_definition():
    value = double(1, 16, 2, 3)
    locations = double(1, 2, 2, 2, 2, 2, phase=1, scale=0.7, center=0.5)
    weights = double(1, 2, 2, 2, 2, phase=2)
    expected = np.zeros((2, 2, 3))
    for query, head, channel, level, point in np.ndindex(2, 2, 3, 2, 2):
        height, width = SHAPES[level].tolist()
        start = int(STARTS[level])
        image = value[0, start : start + height * width, head, channel].view(height, width).numpy()
        x, y = locations[0, query, head, level, point].tolist()
        weight = float(weights[0, query, head, level, point])
        sample = bilinear(image, y * height - 0.5, x * width - 0.5)
        expected[query, head, channel] += weight * sample
    result = attend(value, locations, weights)
    np.testing.assert_allclose(result.view(2, 2, 3), expected, atol=1e-12)


@lite_only
@pytest.mark.parametrize('operator', ['carafe', 'carafe_naive'])
def test_carafe_matches_definition(operator):
    features, masks = double(1, 4, 3, 2), double(1, 18, 6, 4, phase=1)
    expected = np.zeros((4, 6, 4))
    for c, y, x, i, j in np.ndindex(4, 6, 4, 3, 3):
        row, column = y // 2 + i - 1, x // 2 + j - 1
        if 0 <= row < 3 and 0 <= column < 2:
            mask = masks[0, (c // 2) * 9 + 3 * i + j, y, x]
            expected[c, y, x] += features[0, c, row, column] * mask
    result = getattr(mmcv.ops, operator)(features, masks, 3, 2, 2)
    np.testing.assert_allclose(result[0], expected, atol=1e-12)


@lite_only
@pytest.mark.parametrize('samples', [0, 2])
def test_deform_roi_pool_matches_roi_align_of_each_bin(samples):
    features, offset = double(2, 3, 8, 9), double(4, 2, 2, 3, phase=1)
    starts = DOUBLE_ROIS[:, 1:3]
    lengths = DOUBLE_ROIS[:, 3:] - starts
    expected = torch.zeros(4, 3, 2, 3, dtype=torch.double)
    for n, row, column in np.ndindex(4, 2, 3):
        size = lengths[n] / torch.tensor([3, 2])
        start = starts[n] + size * torch.tensor([column, row])
        start = start + 0.1 * lengths[n] * offset[n, :, row, column]
        roi = torch.cat([DOUBLE_ROIS[n, :1], start, start + size])[None]
        pooled = torchvision.ops.roi_align(features, roi, 1, 0.5, samples, True)
        expected[n, :, row, column] = pooled[0, :, 0, 0]
    result = mmcv.ops.deform_roi_pool(features, DOUBLE_ROIS, offset, (2, 3), 0.5, samples, 0.1)
    torch.testing.assert_close(result, expected)


@lite_only
def test_roi_pool_matches_definition():
    features = double(2, 2, 8, 9)
    expected = np.zeros((4, 2, 2, 3))
    for n, row, column in np.ndindex(4, 2, 3):
        image, x1, y1, x2, y2 = DOUBLE_ROIS[n].tolist()
        width, height = (x2 + 1 - x1) / 2 / 3, (y2 + 1 - y1) / 2 / 2
        rows = range(
            max(math.floor(y1 / 2 + row * height), 0),
            min(math.ceil(y1 / 2 + (row + 1) * height), 8),
        )
        columns = range(
            max(math.floor(x1 / 2 + column * width), 0),
            min(math.ceil(x1 / 2 + (column + 1) * width), 9),
        )
        if rows and columns:
            pixels = features[int(image)][:, list(rows)][:, :, list(columns)]
            expected[n, :, row, column] = pixels.amax((1, 2))
    result = mmcv.ops.roi_pool(features, DOUBLE_ROIS, (2, 3), 0.5)
    np.testing.assert_allclose(result, expected)


@lite_only
def test_masked_conv_matches_convolution():
    features, mask = double(1, 3, 5, 6), (wave(1, 5, 6) > 0).double()
    weight, bias = double(2, 3, 3, 3, phase=1), double(2, phase=2)
    result = mmcv.ops.masked_conv2d(features, mask, weight, bias, 1)
    torch.testing.assert_close(result, F.conv2d(features, weight, bias, padding=1) * mask)


@lite_only
def test_sync_batch_norm_matches_batch_norm():
    results = []
    for synchronized in (True, False):
        inputs = [wave(3, 2, 4, 5), wave(2, phase=1), wave(2, phase=2)]
        x, weight, bias = (x.requires_grad_() for x in inputs)
        mean, var = torch.zeros(2), torch.ones(2)
        if synchronized:
            output = SyncBatchNormFunction.apply(
                x, mean, var, weight, bias, 0.1, 1e-5, None, 1, 'default'
            )
        else:
            output = F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
        output.backward(wave(3, 2, 4, 5, phase=3))
        results.append([output, mean, var, x.grad, weight.grad, bias.grad])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@lite_only
def test_iou_of_polygons_matches_shapely():
    base = torch.tensor([[-6.0, -5], [5, -6], [7, 5], [-5, 6]])
    first = base + wave(8, 1, 2, scale=5) + wave(8, 4, 2, phase=1, scale=2)
    second = (base + wave(7, 1, 2, phase=2, scale=5) + wave(7, 4, 2, phase=3, scale=2)).flip(1)
    polygons = [[Polygon(corners) for corners in quads.tolist()] for quads in (first, second)]
    expected = [
        [a.intersection(b).area / a.union(b).area for b in polygons[1]] for a in polygons[0]
    ]
    result = mmcv.ops.box_iou_quadri(first.flatten(1), second.flatten(1))
    np.testing.assert_allclose(result, expected, atol=1e-6)


@lite_only
def test_iou_of_rotated_boxes_with_edges_on_the_same_line():
    """mmcv's results for these are 2.0, 1.0 and 0.14."""
    first = torch.tensor([[10.0, 10, 8, 6, 0], [10, 10, 8, 6, math.pi], [14, 10, 8, 6, 0]])
    second = torch.tensor([[10.0, 10, 8, 6, math.pi], [10, 10, 8, 6, 0], [10, 10, 8, 6, 1e-4]])
    result = mmcv.ops.box_iou_rotated(first, second, aligned=True)
    np.testing.assert_allclose(result, [1, 1, 1 / 3], atol=1e-4)


@lite_only
def test_rotated_nms_compares_boxes_of_the_same_label():
    boxes = torch.tensor([[0, 0, 4, 2, 0.1], [0, 0, 4, 2, 0.1], [0, 0, 4, 2, 0.2]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    labels = torch.tensor([0.0, 1.0, 0.0])
    assert mmcv.ops.nms_rotated(boxes, scores, 0.5, labels)[1].tolist() == [0, 1]
    assert mmcv.ops.nms_rotated(boxes, scores, 0.5)[1].tolist() == [0]


def test_operators_accept_no_boxes():
    none, scores = torch.zeros(0, 4), torch.zeros(0)
    assert mmcv.ops.nms(none, scores, 0.5)[0].shape == (0, 5)
    assert mmcv.ops.soft_nms(none, scores)[0].shape == (0, 5)
    assert mmcv.ops.nms_match(torch.zeros(0, 5), 0.5) == []
    features = torch.zeros(1, 2, 4, 4, requires_grad=True)
    output = mmcv.ops.roi_align(features, torch.zeros(0, 5), (2, 2))
    assert output.shape == (0, 2, 2, 2)
    output.sum().backward()
    assert not features.grad.any()


@lite_only
def test_missing_operator_raises_when_called():
    with pytest.raises(
        sys.modules['mmcv._ext'].MissingOperatorError,
        match="'border_align_forward' requires .* pip uninstall -y mmcv-lite",
    ):
        mmcv.ops.border_align(torch.zeros(1, 4, 8, 8), torch.zeros(1, 64, 4), 2)


@lite_only
def test_documented_operators_are_those_available():
    text = (Path(__file__).parents[2] / 'docs/operators.md').read_text()
    documented = {
        title.strip(): re.findall(r'`(\w+)`', ' '.join(re.findall(r'^\| (`.*?) \|', rows, re.M)))
        for title, rows in re.findall(r'^## (.*)\n((?:(?!## ).*\n)*)', text, re.M)
    }
    names = [name for section in documented.values() for name in section]
    assert sorted(names) == sorted(mmcv.ops.__all__)
    existing = set(sys.modules['mmcv._ext'].__all__)
    used = compiled_functions()
    available = {name for name, functions in used.items() if functions <= existing}
    assert set(documented['Available']) == available
    # Those on a CPU run there, the others name what is missing.
    image, bias = torch.zeros(1, 2, 4, 4), torch.zeros(2)
    on_cpu = {
        'upfirdn2d': lambda f: f(image, torch.ones(2, 2)),
        'filter2d': lambda f: f(image, torch.ones(2, 2)),
        'upsample2d': lambda f: f(image, torch.ones(2, 2)),
        'bias_act': lambda f: f(image, bias),
        'filtered_lrelu': lambda f: f(image),
        'fused_bias_leakyrelu': lambda f: f(image, bias),
        'FusedBiasLeakyReLU': lambda f: f(2)(image),
    }
    assert set(documented['Available on a CPU only']) == set(on_cpu)
    for name, call in on_cpu.items():
        assert call(getattr(mmcv.ops, name)).shape[:2] == (1, 2)


@lite_only
def test_public_functions_are_listed():
    extension = sys.modules['mmcv._ext']
    functions = {name for name, value in vars(extension).items() if inspect.isfunction(value)}
    assert functions - {'__getattr__'} == set(extension.__all__)


@lite_only
def test_replacement_is_not_reported_as_compiled():
    from mmcv.utils import collect_env

    with pytest.raises(AttributeError):
        sys.modules['mmcv._ext'].__wrapped__  # noqa: B018
    assert collect_env()['MMCV Compiler'] == 'n/a'


def test_learning_rate_of_offsets():
    """MMEngine ignores `dcn_offset_lr_mult` if it does not find mmcv's operators."""
    from mmcv.ops import DeformConv2dPack
    from mmengine.optim import DefaultOptimWrapperConstructor

    import pose_backbones  # noqa: F401  (for Python 3.14)

    model = torch.nn.Sequential(DeformConv2dPack(2, 3, 3), torch.nn.Conv2d(3, 4, 1))
    build = DefaultOptimWrapperConstructor(
        dict(optimizer=dict(type='SGD', lr=1.0)), dict(dcn_offset_lr_mult=0.1)
    )
    groups = build(model).param_groups
    rates = {id(group['params'][0]): group['lr'] for group in groups}
    assert {name: rates[id(value)] for name, value in model.named_parameters()} == {
        '0.weight': 1,
        '0.conv_offset.weight': 0.1,
        '0.conv_offset.bias': 0.1,
        '1.weight': 1,
        '1.bias': 1,
    }


def test_compiled_extension_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / '_ext.py').write_text('compiled = True\n')
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path), *mmcv.__path__])
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    assert importlib.import_module('mmcv._ext').compiled
    assert 'mmcv._ext' not in finder.active()
