"""List what is wrong with annotations, detections or results: `pose-backbones check`."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import ConfigError, DatasetError, WorkDirError
from ..structures.coco import MAX_EXAMPLES, CocoFile, Finding
from ..structures.coco_checker import SAMPLE, check_annotations, check_detections, check_results
from ..utils.files import atomic_write, check_not_input, check_writable_file
from .entry_point import USER_ERROR

#: expected value of a file that cannot be read
_READABLE = 'expected annotations, an image list, detections or keypoint results'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `pose-backbones check`."""
    parser = argparse.ArgumentParser(
        prog='pose-backbones check',
        description="Check files in COCO's format: annotations, image lists, detections and "
        'keypoint results. Training and testing stop at an error. Warnings are implausible values. '
        'The exit status is 0 without findings, 1 with findings, and 2 if a file cannot be read: '
        'it is missing, is not JSON, or has no list of images, annotations or categories, or '
        'malformed names or limbs of the keypoints. The other files are checked nevertheless.',
    )
    parser.add_argument('files', nargs='+', metavar='FILE', help='file to check (.json)')
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='folder of the images of annotations and image lists: compare the sizes in the file '
        f'with the headers of {SAMPLE} images',
    )
    parser.add_argument(
        '--all-images', action='store_true', help='with --images: read the headers of all images'
    )
    parser.add_argument(
        '--annotations',
        metavar='FILE',
        help='annotations or image list to which detections or results belong',
    )
    parser.add_argument(
        '--no-area',
        action='store_true',
        help='the evaluation does not use `area`, as for CrowdPose: it may be missing',
    )
    parser.add_argument('--json', metavar='FILE', help='write the findings to this file as well')
    return parser.parse_args(argv)


def is_list(file: CocoFile) -> bool:
    """Return whether a file contains detections or results, not annotations or an image list."""
    return isinstance(file.content, list)


def check_file(
    file: CocoFile, args: argparse.Namespace, annotations: CocoFile | None = None
) -> list[Finding]:
    """Return the findings of a file, whose kind is recognized by its content.

    Args:
        file: The file.
        args: Arguments of the command line.
        annotations: The file of `--annotations`.

    Raises:
        DatasetError: If the content is not in COCO's format at all.
    """
    if not is_list(file):
        file.what = 'annotations'
        max_images = None if args.all_images else SAMPLE
        return check_annotations(file, args.images, max_images, use_area=not args.no_area)
    if not file.content:
        raise DatasetError(
            f'{file.path} is an empty list: expected at least one detection or keypoint result'
        )
    if any(isinstance(entry, dict) and 'keypoints' in entry for entry in file.content):
        file.what = 'results'
        return check_results(file, annotations)
    file.what = 'detections'
    return check_detections(file, annotations)


def check_options(args: argparse.Namespace, files: Sequence[CocoFile]) -> None:
    """Check that each option is used by one of the files.

    Raises:
        ConfigError: If one is not.
    """
    paths = ', '.join(file.path for file in files)
    if args.annotations and all(isinstance(file.content, dict) for file in files):
        raise ConfigError(
            '--annotations belongs to a list of detections or keypoint results, and there is '
            f'none: {paths}'
        )
    if args.images and all(map(is_list, files)):
        raise ConfigError(
            '--images belongs to annotations or an image list, and there are only detections or '
            f'keypoint results: {paths}'
        )


def unreadable(error: DatasetError) -> Finding:
    """Return the finding for a file that cannot be read."""
    finding = Finding('file', _READABLE, 1)
    finding.add(str(error))
    return finding


def print_findings(path: str, findings: list[Finding]) -> None:
    """Print the findings of a file, with the first `MAX_EXAMPLES` entries of each."""
    counts = {
        name: sum(finding.count for finding in findings if finding.is_error == is_error)
        for name, is_error in (('error', True), ('warning', False))
    }
    numbers = ', '.join(f'{count} {name}{"s" * (count != 1)}' for name, count in counts.items())
    print(f'{path}: {numbers}')
    for finding in findings:
        print(f'  {"error" if finding.is_error else "warning"}: {finding.expected}')
        print(f'    {finding.count} of {finding.total} entries ({finding.kind})')
        for example in finding.examples:
            print(f'    {example}')
        if finding.count > MAX_EXAMPLES:
            print(f'    and {finding.count - MAX_EXAMPLES} others')


def main(argv: list[str] | None = None) -> int:
    """Entry point of `pose-backbones check`.

    Args:
        argv: Arguments; None means those of the command line.

    Returns:
        0 without findings, 1 with findings, 2 if a file cannot be read.

    Raises:
        ConfigError, WorkDirError: For an option that cannot be used.
        DatasetError: If the file of `--annotations` cannot be read.
    """
    args = parse_args(argv)
    if args.all_images and not args.images:
        raise ConfigError('--all-images requires --images, the folder of the images')
    if args.json is not None:
        check_not_input(args.json, '--json', [*args.files, args.annotations])
        if Path(args.json).exists():
            raise WorkDirError(f'--json {args.json} already exists: choose another name')
        check_writable_file(Path(args.json), '--json')
    files: dict[str, CocoFile | DatasetError] = {}
    for path in args.files:
        try:
            files[path] = CocoFile(path, 'file')
        except DatasetError as error:
            files[path] = error
    readable = [file for file in files.values() if isinstance(file, CocoFile)]
    if len(readable) == len(files):
        check_options(args, readable)
    annotations = CocoFile(args.annotations) if args.annotations else None
    findings: dict[str, list[Finding]] = {}
    status = 0
    for path, file in files.items():
        try:
            if isinstance(file, DatasetError):
                raise file
            findings[path] = check_file(file, args, annotations)
            status = max(status, int(bool(findings[path])))
            print_findings(path, findings[path])
        except DatasetError as error:
            findings[path] = [unreadable(error)]
            status = USER_ERROR
            print(f'{path}: cannot be read\n  error: {error}')
    if args.json is not None:
        content = {
            path: [asdict(finding) for finding in entries] for path, entries in findings.items()
        }
        with atomic_write(Path(args.json)) as draft:
            draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n')
    return status
