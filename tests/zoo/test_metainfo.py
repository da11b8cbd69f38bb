"""Tests of the descriptions of keypoints."""

import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown, init_model
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.utils import register_all_modules

import pose_backbones
from pose_backbones import PoseInferencer
from pose_backbones.zoo import get_config
from pose_backbones.zoo.metainfo import config_metainfo, returned_metainfo

#: 19 keypoints of COCO and AI Challenger are predicted, the 17 of COCO are returned
MERGED = 'td-hm_hrnet-w32_8xb64-210e_coco-aic-256x192-combine'


def coco() -> dict:
    register_all_modules()
    return dataset_meta_from_config(get_config('hrnet-w32'))


@pytest.mark.parametrize(
    ('name', 'count', 'first'),
    [
        ('td-hm_res50_8xb64-210e_deepfashion_upper-256x192', 6, 'left collar'),
        ('td-hm_res50_8xb64-210e_deepfashion_full-256x192', 8, 'left collar'),
        ('video-pose-lift_tcn-27frm-semi-supv_8xb64-200e_h36m', 17, 'root'),
        (MERGED, 19, 'nose'),
        ('moganet-s_coco-256x192', 17, 'nose'),
    ],
)
def test_description_in_a_config(name: str, count: int, first: str) -> None:
    register_all_modules()
    metainfo = config_metainfo(get_config(name))
    assert metainfo['num_keypoints'] == count
    assert metainfo['keypoint_id2name'][0] == first


def test_returned_keypoints() -> None:
    metainfo = coco()
    np.testing.assert_equal(returned_metainfo(metainfo, None), metainfo)
    indices = [9, 10, 7, 0]  # the wrists, the left elbow, the nose
    selected = returned_metainfo(metainfo, indices)
    assert selected['keypoint_id2name'] == {
        0: 'left_wrist', 1: 'right_wrist', 2: 'left_elbow', 3: 'nose'
    }  # fmt: skip
    assert selected['keypoint_name2id']['nose'] == 3
    assert selected['num_keypoints'] == 4
    assert [set(link) for link in selected['skeleton_links']] == [{0, 2}]
    assert len(selected['skeleton_link_colors']) == selected['num_skeleton_links'] == 1
    assert {frozenset(pair) for pair in selected['flip_pairs']} == {frozenset((0, 1))}
    assert selected['flip_indices'] == [1, 0, 2, 3]
    for key in ('sigmas', 'dataset_keypoint_weights', 'keypoint_colors'):
        np.testing.assert_array_equal(selected[key], metainfo[key][indices])
    assert selected['upper_body_ids'] == [3, 2, 0, 1]
    np.testing.assert_equal(metainfo, coco())  # it was not changed


def test_model_of_merged_datasets(tmp_path) -> None:
    """The names belong to the keypoints that are returned."""
    path = tmp_path / 'weights.pth'
    estimator = init_model(get_config(MERGED), device='cpu')
    torch.save(dict(state_dict=estimator.state_dict()), path)
    image = np.random.default_rng(0).integers(0, 255, (120, 100, 3), np.uint8)
    (sample,) = inference_topdown(estimator, image)
    assert sample.pred_instances.keypoints.shape == (1, 17, 2)
    pose = PoseInferencer(MERGED, path)
    (result,) = pose(image)
    np.testing.assert_allclose(result.keypoints, sample.pred_instances.keypoints, atol=1e-3)
    assert list(result.names) == [coco()['keypoint_id2name'][index] for index in range(17)]
    assert len(pose.metainfo['sigmas']) == 17
    assert max(max(limb) for limb in pose.skeleton.limbs) == 16
    assert pose_backbones.build(MERGED, pretrained=str(path)).dataset_meta['num_keypoints'] == 19
