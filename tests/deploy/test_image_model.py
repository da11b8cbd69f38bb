"""The computation from images to people against the estimator, and its verification."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpose.structures import PoseDataSample

from pose_backbones.configs import load_config
from pose_backbones.deploy.image_model import ImageModel, image_settings
from pose_backbones.deploy.people_verification import compare_people, example_images
from pose_backbones.deploy.precisions import PRECISIONS
from pose_backbones.deploy.verification import Difference, check_difference
from pose_backbones.errors import ConfigError, ExportError
from tests.helpers.bottom_up_export import bottom_up_config, bottom_up_estimator
from tests.helpers.pose_cases import make_image

SIZES = ((96, 64), (64, 128), (160, 96))


@pytest.fixture(scope='module')
def estimator(tmp_path_factory):
    return bottom_up_estimator(tmp_path_factory.mktemp('config'))


def images(count: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(np.stack([make_image(seed, *size) for seed in range(count)]))


def predict(model, batch: torch.Tensor, flip_test: bool) -> list:
    """Return the instances of `test_step`, in pixels of the input."""
    count, height, width, _ = batch.shape
    size = np.array((width, height))
    metainfo = dict(
        input_size=(width, height),
        input_center=size / 2,
        input_scale=size.astype(float),
        flip_indices=model.dataset_meta['flip_indices'],
    )
    samples = [PoseDataSample(metainfo=metainfo) for _ in range(count)]
    before = model.test_cfg
    model.test_cfg = dict(flip_test=flip_test)
    with torch.no_grad():
        results = model.test_step(
            dict(inputs=list(batch.permute(0, 3, 1, 2)), data_samples=samples)
        )
    model.test_cfg = before
    return [result.pred_instances for result in results]


@pytest.mark.parametrize('flip_test', [False, True])
@pytest.mark.parametrize('size', SIZES)
def test_people_equal_the_estimator(estimator, size: tuple[int, int], flip_test: bool) -> None:
    batch = images(2, size)
    with torch.no_grad():
        outputs = ImageModel(estimator, flip_test)(batch)
    for instances, *people in zip(predict(estimator, batch, flip_test), *outputs, strict=True):
        keypoints, scores, person_scores = (x.numpy() for x in people)
        assert len(instances) == 6
        assert keypoints.shape == (6, 17, 2)
        np.testing.assert_allclose(keypoints, instances.keypoints, atol=0.01)
        np.testing.assert_allclose(scores, instances.keypoint_scores, atol=1e-5)
        np.testing.assert_allclose(person_scores, instances.bbox_scores, atol=1e-5)


def test_people_below_the_threshold_have_scores_of_0(
    estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = images(3, (96, 64))
    with torch.no_grad():
        everyone = ImageModel(estimator)(batch)
        logits = torch.cat(
            [
                x.flatten(1)
                for x in estimator.head.confidences_head(ImageModel(estimator).outputs(batch)[1:])
            ],
            1,
        )
    confidences = logits.sigmoid().topk(6).values
    threshold = float(confidences[:, 2].mean())
    monkeypatch.setattr(estimator.head.decoder, 'score_threshold', threshold)
    with torch.no_grad():
        keypoints, scores, person_scores = ImageModel(estimator)(batch)
    found = confidences > threshold
    assert 0 < found.sum() < found.numel()
    assert torch.equal(person_scores > 0, found)
    assert torch.equal(scores, torch.where(found[..., None], everyone[1], 0))
    assert torch.equal(keypoints, everyone[0])
    for instances, *people in zip(
        predict(estimator, batch, False), found, keypoints, scores, strict=True
    ):
        kept, poses, values = people
        assert len(instances) == kept.sum()
        np.testing.assert_allclose(poses[kept], instances.keypoints, atol=0.01)
        np.testing.assert_allclose(values[kept], instances.keypoint_scores, atol=1e-5)


class TestVerification:
    """The comparison of people, of which some may be exchanged."""

    @pytest.fixture
    def model(self, estimator) -> ImageModel:
        return ImageModel(estimator)

    @pytest.fixture
    def batches(self, model, estimator) -> list[np.ndarray]:
        return example_images(model, image_settings(estimator.cfg))

    def compare(self, model, batches, change):
        def runtime(batch: np.ndarray) -> tuple[np.ndarray, ...]:
            with torch.inference_mode():
                return tuple(x.numpy().copy() for x in change(*model(torch.from_numpy(batch))))

        return compare_people(model, runtime, batches, PRECISIONS['fp32'])

    def test_images(self, batches) -> None:
        assert [batch.shape for batch in batches] == [(2, 96, 64, 3), (1, 64, 96, 3)]

    def test_no_difference(self, model, batches) -> None:
        difference = self.compare(model, batches, lambda *people: people)
        assert difference.keypoints == (1 + 2 + 1 + 1) * 6 * 17
        assert difference.stable > 0.5
        assert difference.max_pixels < 1e-3
        check_difference(difference, PRECISIONS['fp32'])

    def test_order_does_not_matter(self, model, batches) -> None:
        difference = self.compare(model, batches, lambda *people: [x.flip(1) for x in people])
        assert difference.max_pixels < 1e-3
        check_difference(difference, PRECISIONS['fp32'])

    def test_shifted_keypoints(self, model, batches) -> None:
        difference = self.compare(
            model, batches, lambda poses, *scores: (poses + torch.tensor((0.2, 0.0)), *scores)
        )
        assert difference.max_pixels == pytest.approx(0.2, abs=0.01)
        with pytest.raises(ExportError, match='deviates from PyTorch'):
            check_difference(difference, PRECISIONS['fp32'])

    def test_lost_person(self, model, batches) -> None:
        def lose(poses, scores, person_scores):
            scores = scores.clone()
            scores[:, 0] = 0
            return poses, scores, scores.mean(-1)

        difference = self.compare(model, batches, lose)
        assert difference.max_pixels < 1e-3
        with pytest.raises(ExportError, match='scores by at most'):
            check_difference(difference, PRECISIONS['fp32'])

    def test_message_has_the_digits_of_small_differences(self) -> None:
        with pytest.raises(ExportError) as error:
            check_difference(Difference(153, 0.96, 0.01234, 0.00567, 3.17e-4), PRECISIONS['fp32'])
        assert str(error.value) == (
            'the exported model deviates from PyTorch: 153 keypoints differ by 0.0123 pixels on '
            'average, the 96% that are stable by at most 0.00567 pixels, and scores by at most '
            '0.0317%; expected at most 0.05 pixels and 0.02% with fp32'
        )

    @pytest.mark.parametrize(('stable', 'count'), [(0.0, 1), (0.04, 1), (0.06, 0)])
    def test_few_stable_keypoints_are_logged(self, stable, count, mmengine_log) -> None:
        check_difference(Difference(100, stable, 3.0, 0.0, 0.0), PRECISIONS['bf16'])
        assert len(mmengine_log.messages) == count
        for message in mmengine_log.messages:
            assert message.startswith(f'only {stable:.1%} of the keypoints could be compared')


@pytest.mark.parametrize(
    ('resize', 'message'),
    [
        (dict(scale_factors=(1, 0.75)), r'scale_factors=\(1, 0\.75\).* several scales'),
        (dict(size_divisor=48), 'size_divisor is 48 .*: expected a multiple of 32'),
    ],
)
def test_unsupported_pipelines(
    estimator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: dict, message: str
) -> None:
    monkeypatch.setattr(estimator, 'cfg', bottom_up_config(tmp_path, **resize))
    with pytest.raises(ConfigError, match=message):
        ImageModel(estimator)


def test_unsupported_arguments(estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r'--image-size is 100x64 .*: expected multiples of 32'):
        ImageModel(estimator, image_size=(100, 64))
    monkeypatch.setattr(estimator.head.decoder, 'max_num_people', 85)
    with pytest.raises(ConfigError, match='max_num_people is 85: expected at most 84'):
        ImageModel(estimator)


def test_settings_of_the_published_configs() -> None:
    cfg = load_config('configs/hrcomer/bu_hrcomer-b_8xb12-70e_coco-768.py')
    assert image_settings(cfg) == dict(image_size=None, short_side=768, size_divisor=64)
    cfg = load_config('configs/hrcomer/bu_hrcomer-l-flip-ms_8xb16-2e_coco-768.py')
    with pytest.raises(ConfigError, match='several scales cannot be exported'):
        image_settings(cfg)
