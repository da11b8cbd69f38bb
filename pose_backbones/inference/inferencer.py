"""One model, and what it makes of pictures."""

from collections.abc import Iterable
from contextlib import nullcontext
from os import PathLike
from typing import Any, Literal, cast

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import InstanceData
from torch import nn

from ..errors import ConfigError
from ..utils.arguments import check_flag, check_positive_int
from ..visualization.skeleton import Skeleton
from .boxes import WHOLE_IMAGE, BoxesLike, Detector, find_box_source
from .inputs import Frame, ImageSource, Inputs
from .loading import build_pipeline, choose_device, load_model, test_dataset
from .optimize import half_precision, optimize_for_inference
from .prediction_stream import Results
from .tracking import VideoTracker

_CROPS = 32  # of a batch
_CPU_PIXELS = 8 * 256 * 192  # of a batch: the caches of a CPU are small


class PoseInferencer:
    """Finds the poses of people in pictures.

    Results come in the order of the inputs, each as soon as it is known.
    Crops of several pictures fill a batch; memory does not grow with the
    number of pictures, which may have no end. Each crop is made by the
    config's own test pipeline, and each batch goes through the model's
    `test_step`: key points are those of `tools/test.py`.

    Examples:
        >>> pose = PoseInferencer('moganet-s_coco-256x192')
        >>> for result in pose('photographs/', boxes='detections.json'):
        ...     cv2.imwrite(f'{result.index}.jpg', result.draw())

    Args:
        model: A name of `pose_backbones.list_models()`, or the parts of it
            that tell it from others; the path of a config; a config; or an
            estimator of `pose_backbones.build` or `mmpose.apis.init_model`,
            with the weights that it has now.
        weights: Path or URL of a checkpoint; None: the released weights of
            the name.
        device: As for `torch.device`; None: that of an estimator, else a GPU
            if there is one.
        batch_size: Crops of a batch; of a bottom-up model, pictures. None:
            32 crops, on a CPU fewer of large ones (8 of 256x192); one
            picture. With 1, each frame of an iterator that is live is
            answered at once, as those of a camera are.
        half: Whether to compute in half precision (float16 on a GPU,
            bfloat16 on a CPU).
        flip_test: Whether to average with the mirrored image; None: as the
            config says.
        detector: Default of `boxes` in a call: a function from an image
            (H, W, 3), uint8, BGR, to boxes (n, 5), corners and scores. None:
            each picture is one person.

    Raises:
        ConfigError, CheckpointError: If there is no such model, or its
            weights do not fit.
        TypeError, ValueError: For another value of an argument.
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
    ) -> None:
        check_flag('half', half)
        if batch_size is not None:
            check_positive_int('batch_size', batch_size)
        if flip_test is not None:
            check_flag('flip_test', flip_test)
        if detector is not None and not callable(detector):
            raise TypeError(
                f'detector is {detector!r}: expected a function '
                'of an image, see pose_backbones.inference'
            )
        if device is not None or not isinstance(model, nn.Module):
            device = choose_device(device)  # before the weights are loaded
        built = revert_sync_batchnorm(load_model(model, weights))
        self.device = device or next(built.parameters()).device
        # Any: `nn.Module` types the attributes of MMPose's estimators as tensors.
        self.model = cast(Any, optimize_for_inference(built, self.device))
        self.cfg = self.model.cfg
        self.half = half
        self.detector = detector
        dataset = test_dataset(self.cfg)
        self.is_top_down = dataset.get('data_mode', 'topdown') == 'topdown'
        if detector is not None and not self.is_top_down:
            raise ConfigError(self._finds_people('detector=None'))
        self.batch_size = batch_size or self._default_batch_size()
        self.pipeline = build_pipeline(self.cfg)
        self.metainfo = dict(self.model.dataset_meta)
        self.skeleton = Skeleton.from_metainfo(self.metainfo)
        if flip_test is not None:
            self._set_flip_test(flip_test)

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
        self.model.test_cfg = {**self.model.test_cfg, 'flip_test': value}

    def _finds_people(self, expected: str) -> str:
        return f'{type(self.model).__name__} finds people by itself: expected {expected}'

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
    ) -> Results:
        """Find the poses.

        Args:
            inputs: Pictures of any kind, see `Inputs`.
            boxes: Of a top-down model, where the people are, see
                `find_box_source`. None: the inferencer's detector, or the
                whole picture.
            box_format: Of arrays: `'xyxy'` or `'xywh'`.
            min_score: Boxes of a lower score are left out.
            rgb: Whether the colours of arrays are red, green, blue.
            keep_images: Whether results hold their pictures, to be drawn.
            strict: Whether a picture that cannot be read is an error; else
                it is told, skipped and listed in `failures` of the results.
            track: Whether people are numbered through each video. Pictures
                that are no files, such as arrays, are taken for frames of
                one video, 30 a second.
            smooth: Whether, with `track`, their movement is smoothed.

        Returns:
            An iterator of `PoseResult`.

        Raises:
            DatasetError: If there are no such files, or boxes of none.
            TypeError, ValueError: For another value of an argument.
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
                'both, since a movement is that of one person'
            )
        images = Inputs(inputs, rgb)
        source = None
        if self.is_top_down:
            if boxes is None:
                boxes = self.detector or WHOLE_IMAGE
            source = find_box_source(boxes, images, box_format, min_score)
        elif boxes is not None or min_score or box_format != 'xyxy':
            raise ConfigError(
                self._finds_people('boxes=None, with neither min_score nor box_format')
            )
        tracker = None
        if track:
            sigmas = self.metainfo.get('sigmas')
            tracker = VideoTracker(sigmas if sigmas is not None and len(sigmas) else None, smooth)
        return Results(self, images, source, tracker, strict, keep_images)

    def prepare(self, frame: Frame, box: np.ndarray | None = None, score: float = 1.0) -> dict:
        """What the model gets of a frame, or of a person in it.

        Args:
            frame: The picture.
            box: (4,), left, top, right, bottom in pixels; None for a
                bottom-up model.
            score: Of the box.

        Returns:
            The end of the config's test pipeline.
        """
        data = dict(
            self.metainfo, img=frame.image, img_path=frame.name, img_id=frame.index, id=frame.index
        )
        if box is not None:
            data.update(bbox=box[None], bbox_score=np.array([score], np.float32))
        return self.pipeline(data)

    @torch.inference_mode()
    def predict(self, batch: list[dict]) -> list[InstanceData]:
        """Find the poses in a batch.

        Args:
            batch: Of `prepare`, of one shape.

        Returns:
            MMPose's instances of each.
        """
        with half_precision(self.model, self.device) if self.half else nullcontext():
            samples = self.model.test_step(pseudo_collate(batch))
        return [sample.pred_instances for sample in samples]
