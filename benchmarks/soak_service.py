"""Task `service` of benchmarks/soak.py: call the inference in one process, until it is stopped."""

import contextlib
import ctypes
import io
import itertools
import shutil
import sys
from pathlib import Path

from pose_backbones.cli import infer
from pose_backbones.inference.inferencer import PoseInferencer

from .soak import MODEL


def serve(weights: str, data: str, clip: str, out: str) -> None:
    """Predict with an inferencer that is kept, and with tools that are started again.

    Args:
        weights: Checkpoint.
        data: Dataset of `make_synthetic_coco`.
        clip: Video.
        out: Output directory, which is emptied after each round.
    """
    inferencer = PoseInferencer(MODEL, weights)
    images = sorted(map(str, Path(data, 'val').iterdir()))
    boxes = Path(data, 'annotations/person_keypoints_val.json')
    for number in itertools.count():
        for inputs, options in ((images, {}), (clip, dict(track=True, smooth=True))):
            count = sum(1 for _ in inferencer(inputs, **options))
        next(iter(inferencer(clip)))  # an iterator that is not finished
        folder = Path(out, f'round{number}')
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            command = [*images, '--boxes', boxes] if number % 2 else [clip, '--track']
            command += ['--model', MODEL, '--weights', weights, '--out', folder]
            status = infer.main([*map(str, command)])
        print(f'round {number}: {count} frames, exit status {status}', flush=True)
        shutil.rmtree(folder)
        _return_freed_memory()


def _return_freed_memory() -> None:
    """Return freed memory to the system, so that the samples do not depend on what glibc keeps."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


if __name__ == '__main__':
    serve(*sys.argv[1:])
