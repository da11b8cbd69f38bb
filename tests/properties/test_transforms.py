"""Flips are involutions, and affine transforms have inverses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmpose.codecs.utils import refine_keypoints
from mmpose.datasets.transforms import RandomFlip, TopdownAffine
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.structures.bbox import bbox_xyxy2cs, flip_bbox, get_udp_warp_matrix, get_warp_matrix
from mmpose.structures.keypoint import flip_keypoints

from pose_backbones._compat.metainfo import shipped_metainfo
from pose_backbones.structures.metainfo import read_metainfo
from pose_backbones.structures.symmetry import find_pairs, find_sides, flip_indices, mirrored_name
from tests.helpers.pose_cases import estimator, make_image
from tests.properties.strategies import boxes, inner_boxes, points, seeds, share

ROOT = Path(__file__).resolve().parents[2]
#: names of keypoints with and without sides, in several notations
WORDS = ['eye', 'ear', 'Hip', 'hand_1', 'lip', 'rib', 'leg', 'x', '12', 'front_left_paw', 'lr']
SIDES = ['left_{}', 'right_{}', 'L_{}', 'R_{}', '{}_l', '{}_r', 'left{}', 'right{}', '{}Left']
SIDES += ['{}Right', 'l{}', 'r{}', '{}', 'LEFT {}', 'RIGHT {}', '左{}', '右{}', 'left_{}_right']
names_of_keypoints = st.lists(
    st.one_of(
        st.builds(str.format, st.sampled_from(SIDES), st.sampled_from(WORDS)),
        st.text('leftrighLR_左右 1', min_size=1, max_size=12),
        st.text(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=20,
    unique=True,
)


@given(names=names_of_keypoints)
@example(names=['leftlip', 'rightlip', 'reftlip'])  # the last one resembles the first
def test_pairs_of_keypoints_are_involutions(names):
    """The sides of a pair are different, or both in the middle, for any names."""
    indices = np.array(flip_indices(names))
    assert sorted(indices) == list(range(len(names)))
    np.testing.assert_array_equal(indices[indices], np.arange(len(names)))
    pairs = find_pairs(names)
    assert all(pairs[partner] == name != partner for name, partner in pairs.items())
    sides = dict(zip(names, find_sides(names)))
    for name, partner in pairs.items():
        assert {sides[name], sides[partner]} in ({'left', 'right'}, {'middle'})


@given(name=st.text('leftrighLR_左右 1Az', max_size=20))
def test_mirrored_name_is_an_involution(name):
    assert mirrored_name(mirrored_name(name)) == name


def shipped() -> list[Path]:
    """Return the dataset descriptions of MMPose that configs can refer to, and our own."""
    folder = shipped_metainfo('coco.py').parent
    ours = [path for path in ROOT.glob('configs/**/*.py') if 'dataset_info' in path.read_text()]
    return [*sorted(folder.glob('*.py')), *ours]


#: keypoints whose `swap` is wrong in MMPose's files; no config here uses them
WRONG_SWAPS = {'deepfashion2': [136]}


@pytest.mark.parametrize('path', shipped(), ids=lambda path: path.stem)
def test_flip_indices_of_metainfo_are_involutions(path):
    metainfo = read_metainfo(path)
    indices = np.array(metainfo['flip_indices'])
    moved = np.flatnonzero(indices[indices] != np.arange(metainfo['num_keypoints']))
    assert moved.tolist() == WRONG_SWAPS.get(path.stem, [])
    names = [metainfo['keypoint_id2name'][k] for k in range(len(indices))]
    assert len(set(names)) == len(names)


@given(
    data=st.data(),
    names=names_of_keypoints,
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    direction=st.sampled_from(['horizontal', 'vertical', 'diagonal']),
)
def test_flips_of_keypoints_and_boxes_are_involutions(data, names, size, direction):
    indices, count = flip_indices(names), len(names)
    keypoints = data.draw(points(count, (0, 0), (64, 64)))[None]
    visible = data.draw(arrays.arrays(np.float32, (1, count), elements=st.sampled_from([0, 1])))
    once = flip_keypoints(keypoints, visible, size, indices, direction)
    twice = flip_keypoints(*once, size, indices, direction)
    np.testing.assert_allclose(twice[0], keypoints, atol=1e-4)
    np.testing.assert_array_equal(twice[1], visible)
    corners = np.cumsum(data.draw(points(2, (0, 0), (60, 60))), 0).reshape(1, 4)
    flipped = flip_bbox(corners, size, 'xyxy', direction)
    assert (flipped[:, 2:] >= flipped[:, :2]).all()
    again = flip_bbox(flipped, size, 'xyxy', direction)
    np.testing.assert_allclose(again, corners, atol=1e-4)


@given(
    seed=seeds,
    names=names_of_keypoints,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    people=st.integers(1, 3),
)
def test_flipping_an_image_twice_changes_nothing(seed, names, size, people):
    """MMPose's `RandomFlip` restores pixels, boxes, centres and keypoints."""
    rng = np.random.default_rng(seed)
    height, width = size
    corners = rng.uniform(0, 9, (people, 2, 2)).cumsum(1).reshape(people, 4).astype(np.float32)
    data = dict(
        img=rng.integers(0, 256, (height, width, 3), np.uint8),
        img_shape=(height, width),
        flip_indices=flip_indices(names),
        bbox=corners,
        bbox_center=bbox_xyxy2cs(corners)[0],
        keypoints=rng.uniform(0, 9, (people, len(names), 2)).astype(np.float32),
        keypoints_visible=rng.integers(0, 2, (people, len(names))).astype(np.float32),
    )
    flip = RandomFlip(prob=1.0)
    once = flip({key: np.copy(value) if key == 'img' else value for key, value in data.items()})
    np.testing.assert_array_equal(once['img'], data['img'][:, ::-1])
    twice = flip(dict(once))
    for key, value in data.items():
        np.testing.assert_allclose(twice[key], value, atol=1e-4, err_msg=key)


@given(
    seed=seeds,
    names=names_of_keypoints,
    mode=st.sampled_from(['heatmap', 'udp_combined']),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_flips_of_heatmaps_are_involutions(seed, names, mode, size):
    indices = flip_indices(names)
    channels = len(names) * (3 if mode == 'udp_combined' else 1)
    maps = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed))
    once = flip_heatmaps(maps, indices, mode, shift_heatmap=False)
    assert torch.equal(flip_heatmaps(once, indices, mode, shift_heatmap=False), maps)


@given(seed=st.integers(0, 99))
@share(0.3)
def test_flip_test_of_a_symmetric_image_is_symmetric(seed):
    """The averaged heatmaps are their own mirror images, with left and right exchanged."""
    model = estimator()
    half = make_image(seed, 32, 64)
    image = np.concatenate((half, half[:, ::-1]), 1).astype(np.float32)
    inputs = torch.from_numpy(image).permute(2, 0, 1)[None] / 128 - 1
    indices = flip_indices_of_model(model)
    with torch.no_grad():
        features = [model.extract_feat(batch) for batch in (inputs, inputs.flip(-1))]
        maps, mirrored = (model.head.forward(feature) for feature in features)
        mean = (maps + flip_heatmaps(mirrored, indices, shift_heatmap=False)) / 2
    assert (maps - maps.flip(-1)).abs().max() > 1e-2  # the model alone is not symmetric
    flipped = flip_heatmaps(mean, indices, shift_heatmap=False)
    torch.testing.assert_close(flipped, mean, rtol=1e-4, atol=1e-4)


def flip_indices_of_model(model) -> list[int]:
    return list(model.dataset_meta['flip_indices'])


@given(
    corners=st.lists(boxes(640, 480), min_size=1, max_size=1),
    rotation=st.floats(-180, 180),
    udp=st.booleans(),
    size=st.sampled_from([(192, 256), (48, 64), (256, 256)]),
    data=st.data(),
)
def test_affine_transforms_have_inverses(corners, rotation, udp, size, data):
    """Points go into the crop and back; the tolerance is relative to the size of the box."""
    x, y, width, height = corners[0]
    center, scale = bbox_xyxy2cs(np.array([x, y, x + width, y + height]), 1.25)
    width, height = scale
    ratio = size[0] / size[1]
    scale = np.array([max(width, height * ratio), max(height, width / ratio)])
    if udp:
        matrix = get_udp_warp_matrix(center, scale, rotation, size)
        inverse = cv2.invertAffineTransform(matrix)
    else:
        matrix = get_warp_matrix(center, scale, rotation, size)
        inverse = get_warp_matrix(center, scale, rotation, size, inv=True)
    relative = data.draw(points(4, (-1, -1), (1, 1))).astype(float)
    drawn = center + relative * scale
    inside = drawn @ matrix[:, :2].T + matrix[:, 2]
    back = inside @ inverse[:, :2].T + inverse[:, 2]
    # The corners that OpenCV computes the matrix from are float32.
    tolerance = 1e-4 * (scale.max() + np.abs(center).max())
    np.testing.assert_allclose(back, drawn, atol=tolerance)


@given(corners=inner_boxes(90, 70), udp=st.booleans(), data=st.data())
@share(0.5)
def test_keypoints_of_a_crop_are_put_back(corners, udp, data):
    """`add_pred_to_datasample` of the estimators is the inverse of `TopdownAffine`."""
    x, y, width, height = corners
    center, scale = bbox_xyxy2cs(np.array([[x, y, x + width, y + height]], np.float32), 1.25)
    drawn = data.draw(points(5, (x, y), (x + width, y + height)))[None]
    results = TopdownAffine((48, 64), use_udp=udp)(
        dict(
            img=np.zeros((70, 90, 3), np.uint8),
            bbox_center=center,
            bbox_scale=scale,
            keypoints=drawn.copy(),
        )
    )
    size = np.array(results['input_size'])
    used = results['bbox_scale'][0]
    moved = results['transformed_keypoints'][0]
    # With UDP, the last pixel is at the border of the box.
    back = moved / (size - 1 if udp else size) * used + center[0] - used / 2
    np.testing.assert_allclose(back, drawn[0], atol=1e-3 * used.max())


@given(seed=seeds)
def test_refinement_is_symmetric(seed):
    """The quarter of a cell towards the higher neighbour is mirrored with the map."""
    rng = np.random.default_rng(seed)
    maps = rng.random((3, 8, 9)).astype(np.float32)
    peak = np.array([np.unravel_index(level.argmax(), level.shape)[::-1] for level in maps])
    refined = refine_keypoints(peak[None].astype(np.float32), maps)[0]
    mirrored = np.stack((8 - peak[:, 0], peak[:, 1]), 1)
    other = refine_keypoints(mirrored[None].astype(np.float32), maps[..., ::-1].copy())[0]
    inner = (peak[:, 0] > 1) & (peak[:, 0] < 7)
    np.testing.assert_allclose(8 - other[inner, 0], refined[inner, 0], atol=1e-6)
