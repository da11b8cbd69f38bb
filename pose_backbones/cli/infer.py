"""Command line of `tools/infer.py`: estimate poses in images and videos."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from ..errors import ConfigError, PoseBackbonesError, WorkDirError
from ..inference.box_file import BoxFile
from ..inference.boxes import WHOLE_IMAGE, BoxesLike
from ..inference.detector import load_detector
from ..inference.export import AnnotatedOutputs, write_predictions, write_table
from ..inference.inferencer import PoseInferencer
from ..inference.inputs import Inputs
from ..inference.journal import Journal
from ..inference.loading import check_model
from ..inference.pose_result import PoseResult
from ..inference.prediction_stream import Results
from ..inference.video_reader import is_video
from ..utils.files import (
    PROBE_FILE,
    check_no_symlinks,
    check_not_input,
    check_writable_dir,
    os_error_reason,
    remove_drafts,
    remove_empty,
)
from ..utils.lock import LOCK, lock_directory
from ..utils.option_values import AUTO, JOURNAL, PREDICTIONS, TABLE
from .allocator import keep_freed_memory
from .cores import limit_threads
from .infer_options import DRAWINGS_DIR, parse_args
from .stopping import finishing, when_stopped

#: exit status if some inputs could not be used or drawn
SOME_FAILED = 1


def main(argv: list[str] | None = None) -> int:
    """Run `tools/infer.py`.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Returns:
        The exit status.

    Raises:
        PoseBackbonesError: If the options or inputs are invalid.
    """
    args = parse_args(argv)
    out = Path(args.out)
    when_stopped(
        lambda: 'continue with --resume' if _is_run(out) else 'nothing was done yet: start again'
    )
    _check_out(out, args.resume)
    inputs = Inputs(
        [
            int(source) if source.isdecimal() and not Path(source).exists() else source
            for source in args.inputs
        ]
    )
    if args.keep_freed_memory:
        keep_freed_memory()
    limit_threads()
    with _lock_output(out):
        _check_out(out, args.resume)  # again, while the lock is held
        return _infer(args, inputs, out)


def _infer(args: argparse.Namespace, inputs: Inputs, out: Path) -> int:
    """Estimate the poses, write the results, and return the exit status."""
    annotated = AnnotatedOutputs(
        out / DRAWINGS_DIR,
        inputs.parts,
        args.draw,
        dict(threshold=args.threshold, boxes=args.draw_boxes, ids=args.draw_ids),
    )
    files = [out / JOURNAL, out / PREDICTIONS, out / TABLE]
    check_not_input(
        [*files, *annotated.paths],
        '--out',
        [*inputs.parts, args.boxes, args.weights, args.model, args.detector, args.detector_weights],
    )
    images = [out / DRAWINGS_DIR / name for name in annotated.names]
    check_no_symlinks([*files, *(path.parent for path in images)], out, '--out')
    if args.resume:
        remove_drafts([*files, out / PROBE_FILE, *images])
    results = _results(args, inputs.parts)
    names = results.skeleton.names
    with _writing_to(out):
        journal = Journal(out, _settings(args, inputs.parts), args.save_every, args.resume)
        try:
            _run(results, journal, annotated)
        finally:
            with finishing():  # also after a signal
                journal.close()
                people = write_predictions(out / PREDICTIONS, journal.entries())
                write_table(out / TABLE, journal.entries(), names)
                print(f'{people} people in {out / PREDICTIONS}')
                if not people:
                    print(f'warning: {_reason_of_no_people(args)}', file=sys.stderr)
    return _report(journal, annotated)


def _is_run(out: Path) -> bool:
    return (out / JOURNAL).is_file()


def _is_of_start(name: str) -> bool:
    """Return whether a file is one that another process writes and removes when it starts."""
    return name == LOCK or (name.startswith(f'{PROBE_FILE}.') and name.endswith('.part'))


def _check_out(out: Path, resume: bool) -> None:
    check_writable_dir(out, '--out')
    if resume:
        if not _is_run(out):
            raise WorkDirError(f'--resume: {out / JOURNAL} does not exist: run without --resume')
        return
    with suppress(FileNotFoundError):  # another process can remove it meanwhile
        if not all(map(_is_of_start, os.listdir(out))):
            raise WorkDirError(
                f'--out {out} is not empty: choose another directory, or, if a run '
                'was stopped, continue it with --resume'
            )


@contextmanager
def _lock_output(out: Path) -> Iterator[None]:
    """Create and lock the output directory; remove it again if it stays empty."""
    created: list[Path] = []
    try:
        with lock_directory(out, '--out', created):
            yield
    finally:
        remove_empty(created)


def _results(args: argparse.Namespace, parts: list[str | int]) -> Results:
    """Return the iterator of results, before any pose is estimated."""
    boxes: BoxesLike | None = WHOLE_IMAGE if args.whole_image else None
    if args.boxes:
        boxes = BoxFile(args.boxes, _category(args.box_category))
    check_model(args.model)  # before the weights of the detector are downloaded
    if args.detector:  # before the model, which may be exported for minutes
        boxes = load_detector(args.detector, args.detector_weights, args.device)
    try:
        inferencer = PoseInferencer(
            args.model,
            args.weights,
            device=args.device,
            batch_size=args.batch_size,
            half=args.half,
            flip_test=args.flip_test,
            backend=args.backend,
        )
        return inferencer(
            parts,
            boxes,
            min_score=_min_score(args),
            strict=args.strict,
            keep_images=args.draw != 'none',
            track=args.track,
            smooth=args.smooth,
            detector_interval=args.detector_interval,
        )
    except PoseBackbonesError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _reason_of_no_people(args: argparse.Namespace) -> str:
    """Return why the results are empty."""
    minimum = f'--min-score {_min_score(args):g}'
    if args.detector:
        return f'no image could be used, or the detector found no person with {minimum}'
    if not args.boxes:
        return f'no image could be used, or the model found no person with {minimum}'
    scores = BoxFile(args.boxes, _category(args.box_category)).scores
    if not scores:
        return f'{args.boxes} has no boxes of single people'
    if max(scores) < _min_score(args):
        return (
            f'all {len(scores)} boxes of {args.boxes} have scores below {minimum}; the highest '
            f'is {max(scores):g}'
        )
    return (
        f'none of the {len(scores)} boxes of {args.boxes} is inside an image that could be used, '
        f'with a score of at least {minimum}'
    )


def _category(value: str | None) -> int | str | None:
    """Return the ID of a category, which is a number in most files."""
    return int(value) if value is not None and value.lstrip('-').isdecimal() else value


def _min_score(args: argparse.Namespace) -> float:
    if args.min_score is not None:
        return args.min_score
    return 0.3 if args.detector else 0.0


def _settings(args: argparse.Namespace, parts: list[str | int]) -> dict:
    """Return the options and inputs that determine the results."""
    names = (
        'model',
        'weights',
        'boxes',
        'detector',
        'detector_weights',
        'whole_image',
        'min_score',
        'half',
        'flip_test',
        'track',
        'smooth',
    )
    settings = {name: getattr(args, name) for name in names}
    # Journals of earlier versions do not have these.
    if args.box_category is not None:
        settings['box_category'] = args.box_category
    if args.backend != AUTO:
        settings['backend'] = args.backend
    if args.detector_interval != 1:
        settings['detector_interval'] = args.detector_interval
    return {**settings, 'inputs': parts}


@contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    """Convert errors of writing to a `WorkDirError` that says how to continue."""
    try:
        yield
    except WorkDirError:
        raise
    except OSError as error:
        raise WorkDirError(
            f'cannot write to {out}: {os_error_reason(error)}. Images listed in '
            f'{JOURNAL} are finished: free up disk space, and continue with --resume'
        ) from error


def _run(results: Results, journal: Journal, annotated: AnnotatedOutputs) -> None:
    """Write each result as soon as it is available."""
    part, index = journal.next_part, journal.next_index

    def end_part() -> None:
        if is_video(results.inputs.parts[part]):
            annotated.close()
            journal.end_video(part, index)

    with (
        annotated,
        closing(results.iterate_from(part, index)) as items,
        tqdm(
            total=results.inputs.announced_count(), initial=index, unit=' images', disable=None
        ) as bar,
    ):
        for item_part, item in items:
            if item_part != part:
                end_part()
            part, index = item_part, item.index
            if isinstance(item, PoseResult):
                annotated.add(item, part)
                journal.add(item, part)
            else:
                journal.add_failure(item)
            bar.update(index + 1 - bar.n)
        if part < len(results.inputs.parts):
            end_part()


def _report(journal: Journal, annotated: AnnotatedOutputs) -> int:
    """Print what is missing in the outputs, and return the exit status."""
    if annotated.drawn < annotated.keypoints / 2:
        print(
            f'{annotated.drawn} of {annotated.keypoints} keypoints were drawn; the scores of the '
            f'others are below --threshold {annotated.style["threshold"]:g}'
        )
    if journal.failures:
        print(
            f'{journal.failures} of the inputs could not be used; they are listed in '
            f'{journal.path}',
            file=sys.stderr,
        )
    if annotated.failures:
        print(
            f'{annotated.failures} of the inputs could not be drawn, see above; their poses were '
            'saved',
            file=sys.stderr,
        )
    return SOME_FAILED if journal.failures or annotated.failures else 0
