"""Pose estimation with one model: `PoseInferencer`."""

import copy
import logging
from collections.abc import Iterable
from os import PathLike
from typing import Any, Literal, cast

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import InstanceData
from torch import nn

from ..configs import test_dataset
from ..deploy.crop_model import CropModel
from ..deploy.estimator import ExportedEstimator
from ..errors import ConfigError
from ..utils.arguments import check_flag, check_positive_int
from ..utils.option_values import AUTO, COMPILE
from ..visualization.skeleton import Skeleton
from ..zoo.metainfo import returned_metainfo
from .backends import exported_estimator, resolve_backend
from .boxes import WHOLE_IMAGE, BoxesLike, Detector, find_box_source
from .inputs import Frame, ImageSource, Inputs
from .loading import build_pipeline, choose_device, load_model
from .optimize import optimize_for_inference
from .prediction_stream import Results
from .predictors import Cropper, CropPredictor, PipelinePredictor, TorchRuntime, compiled_runtime
from .tracking import VideoTracker

_CROPS = 32  # crops per batch
_CPU_PIXELS = 8 * 256 * 192  # pixels per batch on a CPU, whose caches are small


class PoseInferencer:
    """Estimate the poses of the people in images and videos.

    Results are returned in the order of the inputs, each as soon as it is available. A batch
    contains crops of several images. Memory does not grow with the number of images, so inputs may
    be endless. The keypoints are the same as those of `tools/test.py`, up to 0.001 pixels with
    PyTorch, and 0.05 pixels with an exported model in single precision.

    Examples:
        >>> pose = PoseInferencer('moganet-s_coco-256x192')
        >>> for result in pose('photographs/', boxes='detections.json'):
        ...     cv2.imwrite(f'{result.index}.jpg', result.draw())

    Args:
        model: A name from `pose_backbones.list_models()`, or an unambiguous part of such a name;
            the path of a config; a config; the directory of an exported model; or an estimator from
            `pose_backbones.build` or `mmpose.apis.init_model`, which keeps its current weights.
        weights: Path or URL of a checkpoint. Default: the released weights of the named model.
        device: Device. Default: the device of the estimator, or else a GPU if available.
        batch_size: Crops per batch; for a bottom-up model, images. Default: 32 crops, on a CPU
            fewer if they are large (8 crops of 256x192), and 1 image. With 1, the result of each
            frame of an iterator is returned before the next frame is read, as always for cameras.
        half: Whether to use half precision (float16 on a GPU, bfloat16 on a CPU).
        backend: What computes the keypoints: `'torch'`; `'compile'`, which is `torch.compile` in
            bfloat16, for top-down models; `'openvino'` or `'onnx'`, on a CPU, for top-down models
            and HRCoMer, which are exported on first use, compared with PyTorch, and kept in a
            cache; or `'auto'`, which on a CPU is OpenVINO if it is installed and supports the
            model (HRCoMer: with `half`), and otherwise PyTorch. The environment variable
            `POSE_BACKBONES_BACKEND` replaces `'auto'`.
        flip_test: Whether to average the predictions for the image and its mirror image. Default:
            as set in the config.
        detector: Default for the argument `boxes` of a call: a function from an image (H, W, 3),
            uint8, BGR, to boxes (n, 5), corners and scores. None: the whole image is the bounding
            box of one person.

    Raises:
        ConfigError: If there is no such model, or it predicts keypoints in 3D.
        CheckpointError: If the weights do not fit the model.
        TypeError, ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        model: str | PathLike | Config | nn.Module,
        weights: str | PathLike | None = None,
        *,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        half: bool = False,
        flip_test: bool | None = None,
        detector: Detector | None = None,
        backend: str = AUTO,
    ) -> None:
        backend = resolve_backend(backend)
        check_flag('half', half)
        if batch_size is not None:
            check_positive_int('batch_size', batch_size)
        if flip_test is not None:
            check_flag('flip_test', flip_test)
        if detector is not None and not callable(detector):
            raise TypeError(
                f'detector is {detector!r}: expected a function '
                'of an image, see pose_backbones.inference.Detector'
            )
        if device is not None or not isinstance(model, nn.Module):
            device = choose_device(device)  # before the weights are loaded
        estimator = cast(Any, revert_sync_batchnorm(load_model(model, weights)))
        if isinstance(estimator, ExportedEstimator):
            _check_exported(estimator, half, flip_test)
            device = torch.device('cpu')
        self.device = device or next(estimator.parameters()).device
        self.model = estimator
        self.cfg = self.model.cfg
        self.half = half
        self.detector = detector
        dataset = test_dataset(self.cfg)
        self.is_top_down = dataset.get('data_mode', 'topdown') == 'topdown'
        if detector is not None and not self.is_top_down:
            raise ConfigError(self._bottom_up_message('detector=None'))
        self.batch_size = batch_size or self._default_batch_size()
        self.pipeline = build_pipeline(self.cfg)
        self.metainfo = returned_metainfo(
            self.model.dataset_meta, (self.model.test_cfg or {}).get('output_keypoint_indices')
        )
        self.skeleton = Skeleton.from_metainfo(self.metainfo)
        self._predictor = self._find_predictor(backend, flip_test)

    def _find_predictor(
        self, backend: str, flip_test: bool | None
    ) -> CropPredictor | PipelinePredictor:
        cropper = Cropper(self.pipeline) if Cropper.is_plain(self.pipeline) else None
        exported: ExportedEstimator | None
        if isinstance(self.model, ExportedEstimator):
            exported = self.model
        else:
            if flip_test is not None:
                self._set_flip_test(flip_test)
            exported = exported_estimator(
                self.model, backend, self.device, self.half, has_crops=cropper is not None
            )
        if exported is not None:
            if cropper is None:
                return PipelinePredictor(exported, self.pipeline, self.device, half=False)
            return CropPredictor(exported.runtime, cropper)
        self.model = optimize_for_inference(self.model, self.device)
        runtime = self._torch_runtime(backend) if cropper is not None else None
        if runtime is not None and cropper is not None:
            return CropPredictor(runtime, cropper)
        if backend == COMPILE:
            raise ConfigError(
                "backend is 'compile', which supports only top-down models with the usual "
                "test pipeline and codec: expected 'torch'"
            )
        return PipelinePredictor(self.model, self.pipeline, self.device, self.half)

    def _torch_runtime(self, backend: str) -> TorchRuntime | None:
        """Return None if the model has parts for which only `test_step` can be used."""
        try:
            model = CropModel(self.model, is_fused=True)
        except ConfigError:
            return None
        if backend == COMPILE:
            return compiled_runtime(model, self.device, self.batch_size)
        return TorchRuntime(model, self.device, self.half)

    def _default_batch_size(self) -> int:
        if not self.is_top_down:
            return 1
        if self.device.type != 'cpu':
            return _CROPS
        sizes = [
            step['input_size']
            for step in test_dataset(self.cfg)['pipeline']
            if 'input_size' in step
        ]
        width, height = sizes[-1] if sizes else (192, 256)
        return min(_CROPS, max(1, _CPU_PIXELS // (width * height)))

    def _set_flip_test(self, value: bool) -> None:
        if getattr(self.model, 'test_cfg', None) is None:
            raise ConfigError(
                f'flip_test is {value}, but {type(self.model).__name__} has '
                'no test_cfg: expected None'
            )
        self.model = copy.copy(self.model)  # the argument `model` is not changed
        self.model.test_cfg = {**self.model.test_cfg, 'flip_test': value}

    def _bottom_up_message(self, expected: str) -> str:
        return f'{type(self.model).__name__} is a bottom-up model: expected {expected}'

    def __call__(
        self,
        inputs: ImageSource | Iterable[ImageSource],
        boxes: BoxesLike | None = None,
        *,
        box_format: Literal['xyxy', 'xywh'] = 'xyxy',
        min_score: float = 0.0,
        rgb: bool = False,
        keep_images: bool = True,
        strict: bool = False,
        track: bool = False,
        smooth: bool = False,
        detector_interval: int = 1,
    ) -> Results:
        """Estimate the poses of the people in images and videos.

        Args:
            inputs: Images and videos, see `Inputs`.
            boxes: Person boxes, for a top-down model, see `find_box_source`. Default: those of
                the detector, or the whole image if there is no detector.
            box_format: Format of box arrays: `'xyxy'` or `'xywh'`.
            min_score: Boxes with a lower score are skipped.
            rgb: Whether the channels of image arrays are RGB. Default: BGR.
            keep_images: Whether results keep their images, which `PoseResult.draw` needs.
            strict: Whether to raise an exception if an image cannot be read, or if the model
                predicts NaN or infinity for it. Default: such images are skipped with a warning,
                and listed in `Results.failures`.
            track: Whether to assign track IDs to the people of each video. Images that are not
                files, such as arrays, are treated as the frames of one video, 30 per second.
            smooth: Whether to smooth the keypoints over time. Requires `track`.
            detector_interval: With N, the detector runs on the first and then on every N-th frame
                of each video. In between, the boxes are those around the keypoints of the previous
                frame; people without three keypoints with scores of at least 0.3 are lost until
                the next detection. Images without a file are treated as with `track`; the detector
                runs on each image file. More than 1 requires a detector.

        Returns:
            An iterator of `PoseResult`.

        Raises:
            DatasetError: If the inputs do not exist, no box belongs to any of them, or most of the
                boxes have another format.
            TypeError, ValueError: If an argument is invalid.
        """
        for name, value in (
            ('strict', strict),
            ('track', track),
            ('keep_images', keep_images),
            ('smooth', smooth),
        ):
            check_flag(name, value)
        if smooth and not track:
            raise ValueError(
                'smooth is True, but track is False: expected '
                'both, since keypoints are smoothed along tracks'
            )
        check_positive_int('detector_interval', detector_interval)
        images = Inputs(inputs, rgb)
        source = None
        if self.is_top_down:
            if boxes is None:
                boxes = self.detector or WHOLE_IMAGE
            if detector_interval > 1:
                _check_detector(boxes, detector_interval, images)
            source = find_box_source(boxes, images, box_format, min_score)
        elif boxes is not None or min_score or box_format != 'xyxy' or detector_interval > 1:
            raise ConfigError(
                self._bottom_up_message(
                    'boxes=None, without min_score, box_format and detector_interval'
                )
            )
        tracker = None
        if track:
            sigmas = self.metainfo.get('sigmas')
            tracker = VideoTracker(sigmas if sigmas is not None and len(sigmas) else None, smooth)
        return Results(self, images, source, tracker, strict, keep_images, detector_interval)

    def prepare(self, frame: Frame, box: np.ndarray | None = None, score: float = 1.0) -> dict:
        """Return the model input for a frame, or for a person in it.

        Args:
            frame: The frame.
            box: (4,), left, top, right, bottom in pixels; None for a bottom-up model.
            score: Score of the box.

        Returns:
            A sample for `predict`, with the image or the crop in `inputs`.
        """
        return self._predictor.prepare(frame, box, score)

    @torch.inference_mode()
    def predict(self, batch: list[dict]) -> list[InstanceData]:
        """Predict the poses of a batch.

        Args:
            batch: Outputs of `prepare` with inputs of the same shape.

        Returns:
            The predicted instances of each sample, in pixels of the image.
        """
        return self._predictor.predict(batch)


def _check_exported(estimator: ExportedEstimator, half: bool, flip_test: bool | None) -> None:
    """Check that the arguments do not contradict those of the export."""
    if half:
        raise ConfigError(
            'half is True, but the precision of an exported model is set when it is exported '
            '(--precision): expected half=False'
        )
    exported = estimator.test_cfg['flip_test']
    if flip_test not in (None, exported):
        raise ConfigError(
            f'flip_test is {flip_test}, but the model was exported with flip_test={exported}: '
            'expected this, or None'
        )


def _check_detector(boxes: BoxesLike, interval: int, images: Inputs) -> None:
    """Check that `detector_interval` has an effect: that there are a detector and videos."""
    if not callable(boxes):
        raise ValueError(
            f'detector_interval is {interval}, but the boxes are not those of a detector: expected '
            'a detector, or 1'
        )
    if images.files is not None:
        print_log(
            f'detector_interval is {interval}, which has no effect on image files: the detector '
            'runs on each of them',
            'current',
            logging.WARNING,
        )
