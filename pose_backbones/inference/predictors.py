"""Predict batches: by the test pipeline and `test_step`, or directly from the crops of people."""

import logging
from contextlib import nullcontext
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from mmpose.datasets import transforms as mmpose_transforms
from mmpose.structures.bbox import bbox_xyxy2cs, get_udp_warp_matrix, get_warp_matrix

from ..datasets import transforms
from ..datasets.transforms.mmpose_transforms import PackPoseInputs
from ..deploy.crop_model import CropModel
from ..deploy.runtimes import Runtime
from ..errors import first_line
from .inputs import Frame
from .optimize import half_precision, to_single

#: the test pipeline that `Cropper` replaces: the classes of each transform
_PLAIN = (
    (mmpose_transforms.LoadImage, transforms.LoadImage),
    (mmpose_transforms.GetBBoxCenterScale,),
    (mmpose_transforms.TopdownAffine,),
    (mmpose_transforms.PackPoseInputs, PackPoseInputs),
)


class PipelinePredictor:
    """Prepare samples with the test pipeline of a config, and predict with `test_step`.

    Args:
        model: MMPose estimator in evaluation mode.
        pipeline: The test pipeline.
        device: Device of the model.
        half: Whether to use half precision.
    """

    def __init__(self, model: Any, pipeline: Compose, device: torch.device, half: bool) -> None:
        self.model, self.pipeline = model, pipeline
        self.device, self.half = device, half

    def prepare(self, frame: Frame, box: np.ndarray | None = None, score: float = 1.0) -> dict:
        """See `PoseInferencer.prepare`."""
        data = dict(
            self.model.dataset_meta,
            img=frame.image,
            img_path=frame.name,
            img_id=frame.index,
            id=frame.index,
        )
        if box is not None:
            data.update(bbox=box[None], bbox_score=np.array([score], np.float32))
        return self.pipeline(data)

    def predict(self, batch: list[dict]) -> list[InstanceData]:
        """See `PoseInferencer.predict`."""
        with half_precision(self.model, self.device) if self.half else nullcontext():
            samples = self.model.test_step(pseudo_collate(batch))
        return [sample.pred_instances for sample in samples]


class Cropper:
    """Crop people with the pixels of a test pipeline, without its other steps.

    Args:
        pipeline: A test pipeline that `is_plain`.

    Attributes:
        input_size: Width and height of the crops in pixels.
    """

    def __init__(self, pipeline: Compose) -> None:
        _, box, affine, _ = pipeline.transforms
        self.input_size = tuple(affine.input_size)
        self._padding = box.padding
        self._warp_matrix = get_udp_warp_matrix if affine.use_udp else get_warp_matrix
        self._fix_aspect_ratio = affine._fix_aspect_ratio

    @staticmethod
    def is_plain(pipeline: Compose) -> bool:
        """Return whether a pipeline has only the four usual transforms of top-down models."""
        steps = pipeline.transforms
        return (
            len(steps) == len(_PLAIN)
            and all(type(step) in kinds for step, kinds in zip(steps, _PLAIN))
            and not steps[0].to_float32
        )

    def crop(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop a person.

        Args:
            image: (H, W, 3), uint8.
            box: (4,), left, top, right, bottom in pixels.

        Returns:
            The crop, uint8; and the center and the size of its area in the image, each (2,), x and
            y in pixels.
        """
        width, height = self.input_size
        center, scale = bbox_xyxy2cs(box, padding=self._padding)
        scale = self._fix_aspect_ratio(scale[None], aspect_ratio=width / height)[0]
        matrix = self._warp_matrix(center, scale, 0.0, output_size=self.input_size)
        return (
            cv2.warpAffine(image, matrix, self.input_size, flags=cv2.INTER_LINEAR),
            center,
            scale,
        )

    def to_image(
        self, keypoints: np.ndarray, centers: np.ndarray, scales: np.ndarray
    ) -> np.ndarray:
        """Convert keypoints from pixels of the crops to pixels of the images.

        Args:
            keypoints: (N, K, 2).
            centers, scales: (N, 2), from `crop`.

        Returns:
            (N, K, 2), float64.
        """
        centers, scales = centers[:, None], scales[:, None]
        # in the order of MMPose's `add_pred_to_datasample`, to have the same rounding errors
        return keypoints.astype(np.float64) / self.input_size * scales + centers - 0.5 * scales


class CropPredictor:
    """Predict from crops, without MMPose's data samples.

    Args:
        runtime: Function from crops to keypoints.
        cropper: Crops the people.
    """

    def __init__(self, runtime: Runtime, cropper: Cropper) -> None:
        self.runtime, self.cropper = runtime, cropper

    def prepare(self, frame: Frame, box: np.ndarray | None = None, score: float = 1.0) -> dict:
        """See `PoseInferencer.prepare`."""
        if box is None:
            raise ValueError('box is None: expected the bounding box of a person')
        crop, center, scale = self.cropper.crop(frame.image, box)
        return dict(inputs=torch.from_numpy(crop), center=center, scale=scale)

    def predict(self, batch: list[dict]) -> list[InstanceData]:
        """See `PoseInferencer.predict`."""
        crops = np.stack([sample['inputs'].numpy() for sample in batch])
        centers, scales = (np.stack([x[name] for x in batch]) for name in ('center', 'scale'))
        keypoints, scores = self.runtime(crops)
        keypoints = self.cropper.to_image(keypoints, centers, scales)
        return [
            InstanceData(keypoints=keypoints[i : i + 1], keypoint_scores=scores[i : i + 1])
            for i in range(len(batch))
        ]


class TorchRuntime:
    """A `Runtime` on PyTorch.

    Args:
        model: Computes keypoints from crops.
        device: Device of the model.
        half: Whether to use half precision for the network. Keypoints are decoded in float32.
    """

    def __init__(self, model: CropModel, device: torch.device, half: bool) -> None:
        self.model, self.device, self.half = model, device, half

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Runtime`."""
        inputs = torch.from_numpy(crops).to(self.device)
        with half_precision(self.model, self.device) if self.half else nullcontext():
            outputs = self.model.outputs(inputs)
        with torch.autocast(self.device.type, enabled=False):
            keypoints, scores = self.model.decode(outputs)
        return keypoints.cpu().numpy(), scores.cpu().numpy()


class CompiledRuntime(TorchRuntime):
    """A `Runtime` on PyTorch, compiled by `torch.compile`, in bfloat16.

    Smaller batches are padded, so that the network is compiled only once.

    Args:
        model: Computes keypoints from crops. It is changed.
        device: Device of the model.
        batch_size: Maximum number of crops.
    """

    def __init__(self, model: CropModel, device: torch.device, batch_size: int) -> None:
        super().__init__(model, device, half=False)
        self.batch_size = batch_size
        compiled = torch.compile(model.compute, dynamic=False)

        def network(images: torch.Tensor) -> Any:
            with torch.autocast(device.type, torch.bfloat16):
                outputs = compiled(images)
            return to_single(outputs)

        model.network = network

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Runtime`."""
        count = len(crops)
        padded = np.zeros((self.batch_size, *crops.shape[1:]), crops.dtype)
        padded[:count] = crops
        keypoints, scores = super().__call__(padded)
        return keypoints[:count], scores[:count]


@torch.inference_mode()
def compiled_runtime(model: CropModel, device: torch.device, batch_size: int) -> TorchRuntime:
    """Compile a model and run it once; without a compiler, return it in half precision.

    Args:
        model: See `CompiledRuntime`.
        device: See `CompiledRuntime`.
        batch_size: See `CompiledRuntime`.

    Returns:
        The compiled model. If it cannot be compiled, for example because there is no compiler, a
        warning is logged, and the model is run without `torch.compile`.
    """
    width, height = model.input_size
    runtime = CompiledRuntime(model, device, batch_size)
    try:
        runtime(np.zeros((1, height, width, 3), np.uint8))
    except Exception as error:  # compilers raise exceptions of any type
        cause = getattr(error, 'inner_exception', error)
        print_log(
            f'the model is not compiled: {type(cause).__name__}: {first_line(cause)}',
            'current',
            logging.WARNING,
        )
        model.network = None
        return TorchRuntime(model, device, half=True)
    return runtime
