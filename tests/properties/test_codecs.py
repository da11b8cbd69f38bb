"""Codecs of the configs: round trips, finite outputs, invisible keypoints and batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmpose.registry import KEYPOINT_CODECS
from mmpose.utils import register_all_modules

from pose_backbones.codecs import MultiScaleJoints
from pose_backbones.codecs.pose_nms import pose_nms
from tests.properties.strategies import heatmaps, masks, points, seeds, share

register_all_modules()
COUNT = 5


def _size(width: int, height: int, stride: int = 4) -> dict:
    return dict(input_size=(width, height), heatmap_size=(width // stride, height // stride))


#: the codecs of top-down configs, and the unbiased decoding that their options select
CODECS = {
    'MSRA 192x256': dict(type='MSRAHeatmap', sigma=2, **_size(192, 256)),
    'MSRA 288x384': dict(type='MSRAHeatmap', sigma=3, **_size(288, 384)),
    'MSRA unbiased': dict(type='MSRAHeatmap', sigma=2, unbiased=True, **_size(192, 256)),
    'UDP 96x128': dict(type='UDPHeatmap', sigma=4 / 3, blur_kernel_size=5, **_size(96, 128)),
    'UDP 192x256': dict(type='UDPHeatmap', sigma=2, **_size(192, 256)),
    'MSPN COCO': dict(type='pose_backbones.CoarseToFineHeatmap', **_size(192, 256)),
    'MSPN MPII': dict(
        type='pose_backbones.CoarseToFineHeatmap', blur_kernel_size=9, **_size(256, 256)
    ),
}
#: maximum distance of a decoded target to its keypoint, in cells along an axis: inside, and within
#: five cells of the border, where the Gaussian is cut off. The wide blur of MSPN's decoding for
#: MPII moves peaks away from the border.
ACCURACY = {'MSRA': (0.76, 1.26), 'MSRA unbiased': (0.05, 1.26), 'UDP': (0.35, 1.26)}
ACCURACY |= {'MSPN COCO': (0.76, 0.76), 'MSPN MPII': (0.76, 1.51)}
#: the highest score of a target
HIGHEST = {'MSRA': 1, 'UDP': 1, 'MSPN': 1.5}


def of(table: dict, name: str):
    """Return the entry of a codec or of its kind."""
    return table.get(name) or table[name.split()[0]]


@pytest.fixture(params=CODECS)
def case(request):
    return request.param, KEYPOINT_CODECS.build(CODECS[request.param])


def is_coarse_to_fine(name: str) -> bool:
    return name.startswith('MSPN')


def is_refined(name: str) -> bool:
    """Return whether MMPose decodes with a Newton step, from the logarithm of the map."""
    return name.startswith('UDP') or name.endswith('unbiased')


@st.composite
def decodable_maps(draw, name: str, codec) -> np.ndarray:
    """Draw finite maps. The Newton step needs maps with a positive maximum."""
    width, height = codec.heatmap_size
    maps = draw(heatmaps(COUNT, height, width))
    if is_refined(name):
        maps = maps / max(np.abs(maps).max(), 1e-30)
        maps[:, height // 2, width // 2] = 0.01 + np.abs(maps).max()
    return maps


def decode_target(name: str, codec, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode a target; of several kernel sizes, the finest."""
    return codec.decode(target[-COUNT:].copy())


@given(data=st.data())
def test_decoded_targets_are_the_keypoints(case, data):
    """The distance is below the resolution of the maps, for every keypoint in the input."""
    name, codec = case
    size = np.array(codec.input_size, np.float32)
    drawn = data.draw(points(COUNT, (0, 0), tuple(size - 1)))
    encoded = codec.encode(drawn[None], np.ones((1, COUNT), np.float32))
    assert (encoded['keypoint_weights'] == 1).all()
    assert np.isfinite(encoded['heatmaps']).all()
    keypoints, scores = decode_target(name, codec, encoded['heatmaps'])
    cells = np.abs(keypoints[0] - drawn) / codec.scale_factor
    margin = 5 * codec.scale_factor.max()
    inside = ((drawn > margin) & (drawn < size - margin)).all(1)
    inner, border = of(ACCURACY, name)
    assert (cells[inside] <= inner).all(), cells[inside].max()
    assert (cells <= border).all(), cells.max()
    assert (scores > 0).all()
    assert (scores <= of(HIGHEST, name) + 1e-3).all()


@given(data=st.data())
def test_keypoints_outside_have_no_weight(case, data):
    """MMPose's codecs keep targets whose Gaussian is partly inside; those of MSPN do not."""
    name, codec = case
    width, height = codec.input_size
    reach = 0.01 if is_coarse_to_fine(name) else 4 * (3 * codec.sigma + 3)
    x, y = width - 1 + reach, height - 1 + reach
    outside = data.draw(
        st.lists(
            st.one_of(
                st.tuples(st.floats(x, 1e4), st.floats(-1e4, 1e4)),
                st.tuples(st.floats(-1e4, -reach), st.floats(-1e4, 1e4)),
                st.tuples(st.floats(-1e4, 1e4), st.floats(y, 1e4)),
                st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, -reach)),
            ),
            min_size=COUNT,
            max_size=COUNT,
        )
    )
    drawn = np.array(outside, np.float32)[None]
    encoded = codec.encode(drawn, np.ones((1, COUNT), np.float32))
    assert (encoded['keypoint_weights'] == 0).all()
    assert not encoded['heatmaps'].any()


@given(data=st.data(), visible=masks(COUNT))
def test_invisible_keypoints_do_not_change_the_target(case, data, visible):
    """Target and weights do not depend on the position of keypoints of visibility 0."""
    _, codec = case
    width, height = codec.input_size
    first, second = (
        data.draw(points(COUNT, (-width, -height), (2 * width, 2 * height))) for _ in range(2)
    )
    second[visible] = first[visible]
    weights = visible[None].astype(np.float32)
    encoded, other = (codec.encode(drawn[None], weights.copy()) for drawn in (first, second))
    for key in ('heatmaps', 'keypoint_weights'):
        np.testing.assert_array_equal(encoded[key], other[key])
    assert (encoded['keypoint_weights'][0, ~visible] == 0).all()
    maps = encoded['heatmaps'].reshape(-1, COUNT, *encoded['heatmaps'].shape[1:])
    assert not maps[:, ~visible].any()


@given(data=st.data())
def test_any_finite_maps_are_decoded(case, data):
    """The decoded keypoints are finite and in or near the input, and the scores are finite.

    MMPose decodes a map without positive values to a position outside: -1 cell. The Newton step of
    a refined position may have any length in noise: only finite values are checked.
    """
    name, codec = case
    width, height = codec.heatmap_size
    maps = data.draw(decodable_maps(name, codec))
    keypoints, scores = codec.decode(maps.copy())
    assert np.isfinite(scores).all()
    assert np.isfinite(keypoints).all()
    if is_refined(name):
        return
    cells = keypoints[0] / codec.scale_factor
    assert (cells >= -1.01).all()
    assert (cells <= np.array([width, height]) + 0.51).all()


@given(data=st.data())
@share(0.5)
def test_decoding_does_not_depend_on_other_keypoints(case, data):
    """Each map alone gives the same keypoint."""
    maps, codec = data.draw(decodable_maps(*case)), case[1]
    keypoints, scores = codec.decode(maps.copy())
    for index in range(COUNT):
        alone, score = codec.decode(maps[index : index + 1].copy())
        np.testing.assert_allclose(alone[0, 0], keypoints[0, index], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(score[0, 0], scores[0, index], rtol=1e-5)


SIGMAS = [0.1, 0.1, 0.05, 0.2, 0.2]


def joints_codec(people: int = 4, **options) -> MultiScaleJoints:
    options = dict(nms_num_close=3, sigmas=SIGMAS, max_num_people=people) | options
    return MultiScaleJoints((96, 64), (24, 16), **options)


@st.composite
def groups(draw, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw keypoints (n, K, 2) of people and their visibility; some are outside the input."""
    people = [draw(points(COUNT, (-10, -10), (106, 74))) for _ in range(count)]
    visible = [draw(masks(COUNT)) for _ in range(count)]
    return np.array(people), np.array(visible)


@given(data=st.data(), number=st.integers(1, 4))
def test_joints_of_people_round_trip(data, number):
    """Joints that the head predicts exactly are decoded to the keypoints, with scores up to 1."""
    codec = joints_codec()
    keypoints, visible = data.draw(groups(number))
    inside = ((keypoints >= 0) & (keypoints < (96, 64))).all(-1)
    encoded = codec.encode(keypoints, visible, np.full(number, 500.0), np.full(number, 30.0))
    assert all(np.isfinite(value).all() for value in encoded.values())
    assert encoded['heatmaps'].min() >= 0
    assert encoded['heatmaps'].max() <= 1
    rows = np.flatnonzero((inside & visible).any(1))
    targets = encoded['target_joints']
    np.testing.assert_array_equal(targets[: len(rows), :, 2] > 0, (inside & visible)[rows])
    assert not targets[len(rows) :].any()
    # Queries: the people by decreasing confidence, then two of low confidence.
    logits = torch.full((1, 1, 1, 6), -20.0)
    logits[0, 0, 0, : len(rows)] = torch.arange(8.0, 8 - len(rows), -1)
    joints = torch.zeros(1, 1, 6, COUNT, 2)
    joints[0, 0, :4] = torch.from_numpy(targets[..., :2])
    output = dict(
        confidences=[logits], joints=[joints], heatmaps=torch.from_numpy(encoded['heatmaps'])[None]
    )
    ((poses, scores),) = codec.decode([output])
    assert len(poses) == len(rows)
    labelled = (inside & visible)[rows]
    np.testing.assert_allclose(poses.numpy()[labelled], keypoints[rows][labelled], atol=1e-4)
    np.testing.assert_allclose(scores.numpy()[labelled], 1, atol=0.01)


@given(data=st.data(), number=st.integers(1, 4))
def test_unlabelled_joints_do_not_change_the_target(data, number):
    codec = joints_codec()
    keypoints, visible = data.draw(groups(number))
    other, _ = data.draw(groups(number))
    other[visible] = keypoints[visible]
    area, sizes = np.full(number, 300.0), np.full(number, 20.0)
    expected = codec.encode(keypoints, visible, area, sizes)
    for key, value in codec.encode(other, visible, area, sizes).items():
        np.testing.assert_array_equal(value, expected[key])


def random_output(seed: int, images: int, magnitude: float) -> dict:
    """Return outputs of the head of HRCoMer: noise of any magnitude, and heatmaps from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    shape = [(4, 6), (2, 3)]
    return dict(
        confidences=[
            magnitude * torch.randn(images, 1, *size, generator=generator) for size in shape
        ],
        joints=[
            magnitude * torch.randn(images, *size, COUNT, 2, generator=generator) for size in shape
        ],
        heatmaps=torch.rand(images, COUNT, 16, 24, generator=generator),
    )


@given(
    seed=seeds,
    magnitude=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e6, 1e30]),
    images=st.integers(1, 4),
    scales=st.sampled_from([(1,), (1, 0.5), (1, 2, 0.5)]),
)
def test_people_of_a_batch_are_those_of_single_images(seed, magnitude, images, scales):
    """Any finite outputs give finite poses, with scores from 0 to 1, in a batch as alone."""
    codec = joints_codec(score_threshold=0.0)
    outputs = [random_output(seed + index, images, magnitude) for index in range(len(scales))]
    batch = codec.decode(outputs, scales)
    assert len(batch) == images
    for index, (poses, scores) in enumerate(batch):
        assert torch.isfinite(poses).all()
        assert ((scores >= 0) & (scores <= 1)).all()
        if magnitude not in (1e-3, 1.0):
            continue  # equal confidences (0 or 1) can be sorted in another order
        single = [
            {
                key: value[index : index + 1]
                if isinstance(value, torch.Tensor)
                else [maps[index : index + 1] for maps in value]
                for key, value in output.items()
            }
            for output in outputs
        ]
        ((alone, alone_scores),) = codec.decode(single, scales)
        torch.testing.assert_close(alone, poses)
        torch.testing.assert_close(alone_scores, scores)


@given(seed=seeds, number=st.integers(0, 12), spread=st.sampled_from([0.0, 0.1, 1.0, 30.0]))
def test_pose_nms_keeps_the_best_and_no_pose_twice(seed, number, spread):
    """The result is a subset of poses with distinct scores, in which the best one is kept."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(0, 100, (1, 9, 2)) * (rng.random() > 0.1)
    poses = torch.from_numpy(shape + rng.normal(0, spread, (number, 9, 2))).float()
    scores = torch.from_numpy(rng.random((number, 9))).float()
    kept = pose_nms(poses, scores).tolist()
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(range(number))
    if number:
        assert int(scores.mean(1).argmax()) in kept
