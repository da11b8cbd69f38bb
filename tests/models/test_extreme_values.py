"""Extreme images through every model and every way to run it: constant, huge and NaN pixels.

Images of usual values give finite outputs, which are the same on every path. An image whose
outputs are not finite raises an error, and does not change the outputs of other images.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from mmpose.utils import register_all_modules
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pose_backbones.engine.finite_predictions import check_predictions
from pose_backbones.errors import TrainingError
from pose_backbones.inference.optimize import half_precision, optimize_for_inference
from tests.helpers.pose_cases import use_statistics_of_next_batch
from tests.helpers.random_weights import randomize
from tests.models.test_contract import CASES, SIZE

CPU = torch.device('cpu')
HEIGHT, WIDTH = SIZE
NUM_KEYPOINTS = 5
FLIP = [0, 2, 1, 4, 3]
FAMILIES = [*CASES, 'SwinTransformer']

each = pytest.mark.parametrize('family', FAMILIES)


@pytest.fixture(autouse=True, scope='module')
def _modules():
    register_all_modules()


def build(family: str, **kwargs) -> nn.Module:
    """Return a small pose estimator with random weights and statistics.

    Args:
        family: Element of `FAMILIES`.
        kwargs: Further arguments of the backbone.
    """
    kind, settings = CASES.get(family) or (
        'SwinTransformer',
        dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), out_indices=(3,)),
    )
    backbone = dict(settings, type=f'pose_backbones.{kind}', **kwargs)
    size = dict(input_size=(WIDTH, HEIGHT), heatmap_size=(WIDTH // 4, HEIGHT // 4))
    if kind == 'HRCoMer':
        estimator = 'HRCoMerEstimator'
        head = dict(
            type='pose_backbones.HRCoMerHead',
            in_channels=settings['arch']['embed_dims'],
            num_keypoints=NUM_KEYPOINTS,
            confidence_channels=4,
            heatmap_channels=4,
            joint_channels=2,
            refine_channels=2,
            limbs=[[0, 1], [1, 2]],
            decoder=dict(
                type='pose_backbones.MultiScaleJoints',
                sigmas=[0.1] * NUM_KEYPOINTS,
                max_num_people=6,
                nms_num_close=3,
                **size,
            ),
        )
    elif kind == 'MSPN':
        estimator = 'MSPNEstimator'
        head = dict(
            type='pose_backbones.MSPNHead',
            out_shape=(HEIGHT // 4, WIDTH // 4),
            unit_channels=16,
            out_channels=NUM_KEYPOINTS,
            last_loss=dict(type='pose_backbones.HardKeypointsMSELoss', topk=3),
            decoder=dict(
                type='pose_backbones.CoarseToFineHeatmap', kernel_sizes=(9, 7, 5, 3, 1), **size
            ),
        )
    else:
        estimator = 'TopdownPoseEstimator'
        num_deconvs = 2 if 'transformer' in family else 3  # from stride 16 or 32 to 4
        head = dict(
            type='HeatmapHead',
            out_channels=NUM_KEYPOINTS,
            deconv_out_channels=(8,) * num_deconvs,
            deconv_kernel_sizes=(4,) * num_deconvs,
            loss=dict(type='KeypointMSELoss', use_target_weight=True),
            decoder=dict(type='MSRAHeatmap', sigma=1, **size),
        )
        if kind == 'SwinTransformer':
            head['in_channels'] = 64
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=f'pose_backbones.{estimator}',
            data_preprocessor=dict(
                type='PoseDataPreprocessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                bgr_to_rgb=True,
            ),
            backbone=backbone,
            head=head,
            test_cfg=dict(flip_test=False),
        )
    )
    use_statistics_of_next_batch(randomize(model))
    with torch.no_grad():
        outputs_of(model, usual_images())
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.1
    return model.eval()


def constant(value: float) -> Tensor:
    """Return an image (3, height, width), float32."""
    return torch.full((3, *SIZE), value)


def random_image(seed: int = 0) -> Tensor:
    """Return an image (3, height, width) with random values from 0 to 255, float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *SIZE), generator=generator).float()


def usual_images() -> list[Tensor]:
    """Return images with values from 0 to 255: constant and random ones."""
    return [constant(0), constant(1), random_image(), constant(255), random_image(1)]


def samples(model: nn.Module, count: int) -> list[PoseDataSample]:
    """Return data samples with targets; the images have the names 0, 1, …"""
    generator = np.random.default_rng(0)
    codec, result = model.head.decoder, []
    for number in range(count):
        keypoints = generator.uniform(5, 55, (1, NUM_KEYPOINTS, 2))
        more = dict(area=np.array([900.0]), sizes=np.array([30.0]))
        encoded = codec.encode(
            keypoints.astype(np.float32),
            np.ones((1, NUM_KEYPOINTS), np.float32),
            **{key: more[key] for key in codec.auxiliary_encode_keys & set(more)},
        )
        fields, labels = PixelData(), InstanceData()
        fields.set_field(torch.from_numpy(encoded['heatmaps']), 'heatmaps')
        for key, value in encoded.items():
            if key == 'keypoint_weights' or key.startswith('target_'):
                labels.set_field(torch.from_numpy(value), key)
        result.append(
            PoseDataSample(
                metainfo=dict(
                    img_path=str(number),
                    id=number,
                    img_id=number,
                    input_size=(WIDTH, HEIGHT),
                    input_center=np.array((WIDTH / 2, HEIGHT / 2)),
                    input_scale=np.array((WIDTH, HEIGHT), float),
                    flip_indices=FLIP,
                ),
                gt_instances=InstanceData(
                    bboxes=np.array([[0, 0, WIDTH, HEIGHT]], np.float32),
                    bbox_scores=np.ones(1, np.float32),
                ),
                gt_fields=fields,
                gt_instance_labels=labels,
            )
        )
    return result


def batch_of(model: nn.Module, images: list[Tensor], training: bool = False) -> dict:
    """Return a batch with normalized images, from the data preprocessor."""
    data = dict(inputs=list(images), data_samples=samples(model, len(images)))
    return model.data_preprocessor(data, training)


def outputs_of(model: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Return all outputs of the head, each with the images as the first dimension."""
    return list(_tensors(model(batch_of(model, images)['inputs'], None, mode='tensor')))


def _tensors(outputs) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for part in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _tensors(part)


def predict(model: nn.Module, images: list[Tensor], flip_test: bool = False) -> list:
    """Return the data samples with predictions."""
    model.test_cfg = dict(flip_test=flip_test, flip_mode='heatmap', shift_heatmap=True)
    data = dict(inputs=list(images), data_samples=samples(model, len(images)))
    return model.test_step(data)


def assert_close(outputs: list[Tensor], expected: list[Tensor], half: bool = False) -> None:
    """Assert that outputs are equal, relative to the largest value of each.

    Args:
        outputs: Outputs.
        expected: Expected outputs, in float32.
        half: Whether the outputs were computed in half precision; the mean difference is compared.
    """
    assert len(outputs) == len(expected) > 0
    for output, target in zip(outputs, expected):
        error = (output.float() - target).abs() / target.abs().max()
        if half:
            assert error.mean() < 0.1
        else:
            assert error.max() < 5e-4


@cache
def expected_outputs(family: str) -> list[Tensor]:
    """Return the outputs for the usual images."""
    with torch.no_grad():
        return outputs_of(build(family), usual_images())


def _plain(model: nn.Module) -> nn.Module:
    return model


def _fused(model: nn.Module) -> nn.Module:
    return optimize_for_inference(model, CPU)


def _channels_last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)


#: name of a path → function that prepares a model
PATHS: dict[str, Callable[[nn.Module], nn.Module]] = {
    'plain': _plain,
    'fused': _fused,
    'channels last': _channels_last,
    'bfloat16': _plain,
    'fused, bfloat16': _fused,
}
on_each_path = pytest.mark.parametrize(
    ('family', 'path'), [(family, path) for family in FAMILIES for path in PATHS]
)


def prepare(family: str, path: str) -> tuple[nn.Module, AbstractContextManager]:
    """Return a model for a path, and a context to run it in."""
    original = build(family)
    model = PATHS[path](original)
    assert (model is original) == ('fused' not in path)
    return model, half_precision(model, CPU) if 'bfloat16' in path else nullcontext()


@on_each_path
def test_usual_images_give_finite_equal_outputs(family, path):
    images = usual_images()
    model, context = prepare(family, path)
    with torch.inference_mode(), context:
        outputs = outputs_of(model, images)
        if path == 'plain':
            single = [torch.cat(parts) for parts in zip(*(outputs_of(model, [x]) for x in images))]
            assert_close(single, outputs)
        for flip_test in (False, True):
            check_predictions(predict(model, images, flip_test))
    for output in outputs:
        assert output.isfinite().all()
        assert output.float().std() > 0
    assert_close(outputs, expected_outputs(family), half='bfloat16' in path)


@on_each_path
def test_nan_image_raises_and_does_not_change_other_images(family, path):
    images = usual_images()
    model, context = prepare(family, path)
    with torch.inference_mode(), context:
        before = outputs_of(model, images)
        images[2] = constant(torch.nan)
        after = outputs_of(model, images)
        others = [0, 1, 3, 4]
        for first, second in zip(before, after):
            assert first.shape == second.shape
            assert second[2].isnan().any()
            torch.testing.assert_close(second[others], first[others])
        for flip_test in (False, True):
            predictions = predict(model, images, flip_test)
            check_predictions([predictions[index] for index in others])
            with pytest.raises(TrainingError, match='NaN or infinite for the image 2: check'):
                check_predictions(predictions)


#: images that no reader returns: pixels are at most 255
HUGE = {
    '1e4': lambda: constant(1e4),
    'random 1e4': lambda: 40 * random_image(),
    '1e30': lambda: constant(1e30),
    'random 1e30': lambda: 1e28 * (random_image() - 128),
    'infinity': lambda: constant(torch.inf),
    'one NaN': lambda: random_image().index_put_(
        tuple(map(torch.tensor, (1, 30, 40))), torch.tensor(torch.nan)
    ),
}


@on_each_path
def test_outputs_of_huge_images_are_finite_or_raise(family, path):
    """An output that is not finite never becomes a prediction that looks usual."""
    model, context = prepare(family, path)
    with torch.inference_mode(), context:
        for name, make in HUGE.items():
            images = [random_image(), make()]
            is_finite = all(output.isfinite().all() for output in decoded_outputs(model, images))
            for flip_test in (False, True):
                predictions = predict(model, images, flip_test)
                check_predictions(predictions[:1])
                if is_finite and not flip_test:
                    check_predictions(predictions)
                if not is_finite:
                    with pytest.raises(TrainingError, match='for the image 1: check'):
                        check_predictions(predictions)
            # The gates of MogaNet multiply maps.
            assert is_finite or '1e4' not in name or family == 'MogaNet'


def decoded_outputs(model: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Return the outputs that the decoder reads."""
    if hasattr(model.head, 'forward_candidates'):
        maps = model.extract_feat(batch_of(model, images)['inputs'])
        return list(_tensors(model.head.forward_candidates(maps)))
    return outputs_of(model, images)


def loss_and_gradients(model: nn.Module, images: list[Tensor]) -> tuple[Tensor, dict]:
    """Return the loss of a training step, and the gradients by the name of the parameter."""
    model.train()
    torch.manual_seed(7)
    batch = batch_of(model, images, training=True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    gradients = {
        name: value.grad for name, value in model.named_parameters() if value.grad is not None
    }
    assert gradients
    return loss.detach(), gradients


TRAINING = {'usual': usual_images, 'zeros': lambda: [constant(0)] * 2}


@pytest.mark.parametrize('images', TRAINING)
@each
def test_loss_and_gradients_are_finite_and_equal(family, images):
    """Plain, with activation checkpointing, and in mixed precision."""
    images = TRAINING[images]()
    loss, gradients = loss_and_gradients(build(family), images)
    assert loss.isfinite()
    for name, value in gradients.items():
        assert value.isfinite().all(), name
    checkpointed = loss_and_gradients(build(family, with_cp=True), images)
    torch.testing.assert_close(checkpointed, (loss, gradients))
    with torch.autocast('cpu', torch.bfloat16):
        half_loss, half_gradients = loss_and_gradients(build(family), images)
    torch.testing.assert_close(half_loss, loss, rtol=0.1, atol=0.1, check_dtype=False)
    assert half_gradients.keys() == gradients.keys()
    for name, value in half_gradients.items():
        assert value.isfinite().all(), name


@each
def test_loss_of_a_nan_image_is_not_finite(family):
    """It must not be hidden, since the hook `NonFiniteHook` would train on."""
    loss, _ = loss_and_gradients(build(family), [random_image(), constant(torch.nan)])
    assert not loss.isfinite()


def test_compiled_model_gives_the_same_outputs():
    model = build('ConvNeXt, V2')
    model.backbone = torch.compile(model.backbone, backend='aot_eager')
    images = usual_images()
    with torch.no_grad():
        assert_close(outputs_of(model, images), expected_outputs('ConvNeXt, V2'))
        images[2] = constant(torch.nan)
        predictions = predict(model, images)
    torch._dynamo.reset()
    check_predictions(predictions[:2] + predictions[3:])
    with pytest.raises(TrainingError, match='for the image 2'):
        check_predictions(predictions)
