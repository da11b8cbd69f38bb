"""List what is wrong with annotations, detections or results: `pose-backbones check`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ..errors import ConfigError, WorkDirError
from ..structures.coco import MAX_EXAMPLES, CocoFile, Finding
from ..structures.coco_checker import SAMPLE, check_annotations, check_detections, check_results
from ..utils.files import atomic_write, check_not_input, check_writable_file


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `pose-backbones check`."""
    parser = argparse.ArgumentParser(
        prog='pose-backbones check',
        description="Check files in COCO's format: annotations, image lists, detections and "
        'keypoint results. Training and testing refuse files with errors. Warnings are implausible '
        'values. The exit status is 0 without findings, 1 with findings, and 2 if a file cannot be '
        'read.',
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


def check_file(args: argparse.Namespace, file: CocoFile) -> list[Finding]:
    """Return the findings of a file, whose kind is recognized by its content."""
    if isinstance(file.content, list):
        truth = CocoFile(args.annotations) if args.annotations else None
        if any(isinstance(entry, dict) and 'keypoints' in entry for entry in file.content):
            file.what = 'results'
            return check_results(file, truth)
        file.what = 'detections'
        return check_detections(file, truth)
    file.what = 'annotations'
    max_images = None if args.all_images else SAMPLE
    return check_annotations(file, args.images, max_images, use_area=not args.no_area)


def print_findings(path: str, findings: list[Finding]) -> None:
    """Print the findings of a file, with the first `MAX_EXAMPLES` entries of each."""
    counts = {
        name: sum(finding.count for finding in findings if finding.is_error == is_error)
        for name, is_error in (('error', True), ('warning', False))
    }
    shown = ', '.join(f'{count} {name}{"s" * (count != 1)}' for name, count in counts.items())
    print(f'{path}: {shown}')
    for finding in findings:
        print(f'  {"error" if finding.is_error else "warning"}: {finding.expected}')
        print(f'    {finding.count} of {finding.total} entries ({finding.kind})')
        for example in finding.examples:
            print(f'    {example}')
        if finding.count > MAX_EXAMPLES:
            print(f'    and {finding.count - MAX_EXAMPLES} others')


def main(argv: list[str] | None = None) -> int:
    """Entry point of `pose-backbones check`; returns 1 if there are findings, otherwise 0."""
    args = parse_args(argv)
    if args.all_images and not args.images:
        raise ConfigError('--all-images requires --images, the folder of the images')
    if args.json is not None:
        check_not_input(args.json, '--json', [*args.files, args.annotations])
        if Path(args.json).exists():
            raise WorkDirError(f'--json {args.json} already exists: choose another name')
        check_writable_file(Path(args.json), '--json')
    found = {path: check_file(args, CocoFile(path, 'file')) for path in args.files}
    for path, findings in found.items():
        print_findings(path, findings)
    if args.json is not None:
        content = {
            path: [asdict(finding) for finding in entries] for path, entries in found.items()
        }
        with atomic_write(Path(args.json)) as draft:
            draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n')
    return int(any(found.values()))
