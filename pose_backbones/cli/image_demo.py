"""Command line of `demo/top_down_img_demo.py`: draw poses for the boxes of a COCO file."""

import argparse
from pathlib import Path

import cv2

from ..errors import ConfigError, DatasetError, WorkDirError
from ..inference.inferencer import PoseInferencer
from ..structures.coco import CocoFile, has_fields
from ..utils.arguments import check_display
from ..utils.files import check_writable_dir, convert_write_errors
from ..utils.images import write_image


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line, whose options are named as in MMPose 0.x."""
    parser = argparse.ArgumentParser(
        description='Draw the poses of the people whose bounding boxes are in a COCO annotation '
        'file. tools/infer.py has more options.'
    )
    parser.add_argument('pose_config', metavar='CONFIG')
    parser.add_argument('pose_checkpoint', metavar='CHECKPOINT')
    parser.add_argument(
        '--img-root',
        default='',
        metavar='DIR',
        help='directory of the images (default: the current one)',
    )
    parser.add_argument(
        '--json-file', required=True, metavar='FILE', help='images and annotations in COCO format'
    )
    parser.add_argument(
        '--show', action='store_true', help='show each image in a window until a key is pressed'
    )
    parser.add_argument(
        '--out-img-root',
        metavar='DIR',
        help='directory for the drawn images, vis_0.jpg, vis_1.jpg, …',
    )
    parser.add_argument(
        '--device', help='device, such as cpu or cuda:0 (default: a GPU if available)'
    )
    parser.add_argument(
        '--kpt-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='draw keypoints with at least this score (default: 0.3)',
    )
    args = parser.parse_args(argv)
    if not args.show and not args.out_img_root:
        raise ConfigError('nothing to do: expected --show, --out-img-root DIR, or both')
    return args


def main(argv: list[str] | None = None) -> None:
    """Draw the poses of the people in a COCO annotation file.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Raises:
        PoseBackbonesError: If an argument or an input file is invalid.
    """
    args = parse_args(argv)
    if args.show:
        check_display('--show', '--out-img-root DIR')
    images = _image_paths(args.json_file, args.img_root)
    out = Path(args.out_img_root) if args.out_img_root else None
    if out is not None:
        check_writable_dir(out, '--out-img-root')
    if out is not None and any(out.glob('vis_*.jpg')):
        raise WorkDirError(
            f'--out-img-root {out} contains images of another run: remove them, '
            'or choose another directory'
        )
    inferencer = PoseInferencer(args.pose_config, args.pose_checkpoint, device=args.device)
    for result in inferencer(images, args.json_file, strict=True):
        image = result.draw(threshold=args.kpt_thr)
        if out is not None:
            with convert_write_errors(out, '--out-img-root'):
                out.mkdir(parents=True, exist_ok=True)
                write_image(out / f'vis_{result.index}.jpg', image)
        if args.show:
            cv2.imshow(result.name, image)
            cv2.waitKey(0)
            cv2.destroyWindow(result.name)


def _image_paths(json_file: str, folder: str) -> list[str]:
    """Return the paths of the images that a COCO file lists."""
    file = CocoFile(json_file)
    images = file.entries('images')
    file.check('image', images, has_fields('file_name'))
    paths = [str(Path(folder) / image['file_name']) for image in images]
    for path in paths:
        if not Path(path).is_file():
            raise DatasetError(
                f'{json_file} lists the image {path}, which does not exist: check that '
                f'--img-root {folder or "(the current directory)"} is the directory of the images'
            )
    return paths
