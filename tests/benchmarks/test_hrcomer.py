"""Tests of benchmarks/hrcomer.py."""

import math

import pytest
import torch
from torch import nn

from benchmarks import hrcomer as benchmark_hrcomer
from benchmarks import hrcomer_variants
from benchmarks.hrcomer import (
    Prediction,
    crowd,
    measure_assigner,
    measure_encoding,
    measure_prediction,
    ratio,
    table,
)
from benchmarks.hrcomer_variants import (
    MAX_PEOPLE,
    VARIANTS,
    Variant,
    build,
    decode,
    difference,
    fill,
    forward,
    forward_eagerly,
    prediction_memory,
    unchanged,
)
from pose_backbones.errors import ConfigError
from pose_backbones.models.backbones import convnext_fused
from pose_backbones.models.layers import adaptive_conv
from pose_backbones.models.layers.fuse import fuse
from tests.helpers.tools import run_tool

_BIG = 2**28


@pytest.fixture(scope='module')
def model() -> nn.Module:
    net = build('atto', 64)
    fill(net, seed=0)
    return net


@pytest.fixture(scope='module')
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def count_calls(monkeypatch, module, name: str) -> list[None]:
    """Return a list that grows with each call of a function of a module."""
    calls, real = [], getattr(module, name)

    def spy(*args, **kwargs):
        calls.append(None)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, spy)
    return calls


def test_variants_predict_the_same_poses(model, images):
    fused, eager = (
        decode(model, variant.forward(variant.prepare(model), images))
        for variant in VARIANTS.values()
    )
    assert len(fused) == 2
    for (poses, scores), (other_poses, other_scores) in zip(fused, eager):
        assert poses.shape == (MAX_PEOPLE, 17, 2)
        torch.testing.assert_close(poses, other_poses, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores, other_scores, rtol=0, atol=1e-4)
        # People and joints are apart: equal poses would tell nothing.
        assert poses.std(0).min() > 3
        assert (poses - poses.mean(1, keepdim=True)).std() > 1
    assert difference(fused, eager) < 1e-3
    assert difference(fused[:1], eager[1:]) > 1


def test_eager_variant_computes_all_queries(model, images):
    found = forward_eagerly(model, images)
    with torch.no_grad():
        expected = model.head(model.extract_feat(images))
    for one, other in zip(found['joints'], expected['joints_refined']):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert [one.shape[1:3] for one in found['joints']] == [(8, 8), (4, 4), (2, 2)]


def test_eager_variant_is_not_fused(model, images, monkeypatch):
    mixed = count_calls(monkeypatch, convnext_fused, '_mix_channels')
    deformed = count_calls(monkeypatch, adaptive_conv, 'deform_conv2d')
    sampled = count_calls(monkeypatch, hrcomer_variants.F, 'grid_sample')
    norms = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: norms.append(None))
    count = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    forward(fuse(model), images)
    blocks = sum(len(stage.blocks) for stage in model.backbone.base_net.stages)
    assert (len(mixed), len(deformed), len(norms)) == (len(images) * blocks, 0, 0)
    mixed.clear()
    sampled.clear()
    forward_eagerly(model, images)
    # Two blocks for each of three scales and the short offsets; 17 joints.
    assert (len(mixed), len(deformed), len(sampled)) == (0, 8, 3 * 17)
    assert len(norms) == count > 100


def test_difference_is_the_largest_distance():
    poses = torch.tensor([[[0.0, 0], [9, 9]], [[50, 50], [60, 60]]])
    moved = poses.clone()
    moved[1, 0, 1] += 0.25
    assert difference([(poses, None)], [(poses.flip(0), None)]) == 0
    assert difference([(poses, None)], [(moved.flip(0), None)]) == 0.25
    # Two people must not be matched to the same other person.
    assert difference([(poses, None)], [(poses[[0, 0]], None)]) == 51
    assert difference([(poses[[0, 0]], None)], [(poses, None)]) == 51
    assert math.isinf(difference([(poses, None)], [(poses[:1], None)]))
    assert difference([(poses[:0], None)], [(poses[:0], None)]) == 0


def test_measure_prediction():
    found = measure_prediction('atto', 64, batch=2, repeat=2, memory=False)
    assert found.people == MAX_PEOPLE
    assert found.difference < 1e-3
    assert found.memory is None
    for part in (found.forward, found.decode, found.together):
        assert set(part) == {'fused', 'eager'}
        assert all(len(times) == 2 and min(times) > 0 for times in part.values())


def test_different_poses_raise(monkeypatch):
    def shifted(model, images):
        outputs = forward(model, images)
        outputs['joints'] = [one + 0.01 for one in outputs['joints']]
        return outputs

    monkeypatch.setitem(VARIANTS, 'fused', Variant(unchanged, shifted))
    with pytest.raises(RuntimeError, match='are 0.04 pixels apart: expected'):
        measure_prediction('atto', 64, repeat=1, memory=False)


def hungry(model, images):
    """Compute a prediction that uses 256 MiB more memory."""
    more = torch.ones(_BIG, dtype=torch.uint8)
    outputs = forward(model, images)
    assert more.all()
    return outputs


def test_memory_excludes_memory_used_before():
    """Neither memory of this process nor of the worker before the prediction is included."""
    large = torch.ones(4 * _BIG, dtype=torch.uint8)
    peak = prediction_memory(Variant(unchanged, hungry), 'atto', 64, 1, 1)
    assert large.all()
    assert _BIG < peak < 1.5 * _BIG


def test_ratio_compares_times_of_the_same_round():
    """A machine that becomes slower does not change the ratio."""
    found = Prediction(
        30,
        1e-5,
        forward=dict(fused=[0.1, 0.2, 0.9], eager=[0.2, 0.4, 1.8]),
        decode=dict(fused=[0.001, 0.002, 0.004], eager=[0.004, 0.002, 0.006]),
        memory=dict(fused=100 * 2**20, eager=250 * 2**20),
    )
    assert ratio(found.forward) == 2
    assert ratio(found.decode) == pytest.approx(1.5)
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in table(found)]
    assert lines[0] == ['', 'forward, ms', 'decode, ms', 'together, ms', 'memory, MiB']
    assert lines[2:] == [
        ['fused', '200.0', '2.0', '202.0', '100'],
        ['eager', '400.0', '4.0', '402.0', '250'],
        ['eager / fused', '2.00', '1.50', '2.00', '2.50'],
    ]
    bare = Prediction(30, 0.0, found.forward, found.decode, None)
    assert [line.split('|')[-2].strip() for line in table(bare)][2:] == ['-'] * 3


def test_crowd_is_encoded_and_assigned(monkeypatch):
    people = crowd(256, seed=0)
    joints = people['keypoints']
    assert joints.min() >= 0
    assert joints.max() < 256
    extent = (joints.max(1) - joints.min(1)).max(1)
    assert (extent <= people['sizes']).all()
    assert (extent > people['sizes'] / 2).all()
    assert people['sizes'].min() >= 0.05 * 256
    assert people['sizes'].max() <= 0.4 * 256
    results, real = [], benchmark_hrcomer.PoseHungarianAssigner()

    def spy():
        return lambda *given: results.append(real(*given))

    monkeypatch.setattr(benchmark_hrcomer, 'PoseHungarianAssigner', spy)
    times = measure_assigner(256, repeat=2)
    assert len(times) == 2
    assert min(times) > 0
    image, _, person = results[-1]
    assert len(results) == 3
    assert sorted(zip(image.tolist(), person.tolist())) == [
        (i, j) for i in range(12) for j in range(MAX_PEOPLE)
    ]
    times = measure_encoding(256, repeat=3)
    assert len(times) == 3
    assert min(times) > 0


def test_printed_report(monkeypatch, capsys):
    monkeypatch.setattr(
        benchmark_hrcomer,
        'measure_prediction',
        lambda *_: Prediction(
            7, 2e-5, dict(fused=[1.0], eager=[2.0]), dict(fused=[0.1], eager=[0.1]), None
        ),
    )
    monkeypatch.setattr(benchmark_hrcomer, 'measure_encoding', lambda *_: [0.001, 0.002, 0.004])
    monkeypatch.setattr(benchmark_hrcomer, 'measure_assigner', lambda *_: [0.0123])
    threads = []
    monkeypatch.setattr(torch, 'set_num_threads', threads.append)
    benchmark_hrcomer.main(['--size', '96', '--threads', '3'])
    text = capsys.readouterr().out
    assert threads == [3]
    assert 'batch 1, 96x96, 7 people in each image' in text
    assert '| eager / fused | 2.00 | 1.00 | 1.91 | - |' in text
    assert 'Poses are 2e-05 pixels apart at most.' in text
    assert 'Encoding of an image of 30 people, output 24, on' in text
    assert ': 2.0 ms' in text
    assert '12 images of 30 people, 3 scales, output 24, on' in text
    assert ': 12.3 ms' in text
    benchmark_hrcomer.main(['--skip', 'prediction', 'encoding'])
    text = capsys.readouterr().out
    assert 'Assigner' in text
    assert 'Prediction' not in text
    assert 'Encoding' not in text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--size', '100'], '--size 100: expected a multiple of 32, at least 64'),
        (['--size', '32'], '--size 32: expected'),
        (['--batch', '0'], '--batch 0: expected at least 1'),
        (['--repeat', '0'], '--repeat 0: expected'),
        (['--threads', '-1'], '--threads -1: expected'),
        (
            ['--skip', 'prediction', 'encoding', 'assigner'],
            '--skip prediction encoding assigner: nothing is left',
        ),
    ],
)
def test_invalid_option_raises(options, message):
    with pytest.raises(ConfigError, match=message):
        benchmark_hrcomer.main(options)


@pytest.mark.parametrize('options', [['--arch', 'huge'], ['--skip', 'loss']])
def test_invalid_choice_exits(options, capsys):
    with pytest.raises(SystemExit):
        benchmark_hrcomer.main(options)
    assert f"invalid choice: '{options[1]}' (choose from" in (capsys.readouterr().err)


def test_tool_prints_help():
    done = run_tool('benchmark_hrcomer.py', '--help', real=True)
    assert done.returncode == 0
    assert '--skip' in done.stdout
