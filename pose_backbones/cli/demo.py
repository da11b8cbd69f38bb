"""Command `demo`: a local web page that estimates poses, with Gradio."""

import argparse
import ipaddress
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, PoseBackbonesError, first_line
from .demo_options import DEFAULT_MODEL, parse_args
from .stopping import when_stopped

if TYPE_CHECKING:
    from ..inference.inferencer import PoseInferencer

_TITLE = 'Pose estimation'
#: choices of the boxes
_DETECTOR = 'Find people with the detector'
_WHOLE_IMAGE = 'The whole image shows one person'
_MAX_UPLOAD = '256mb'
_KEPT = 600  # seconds after which uploads and results are removed, while the page is open
_CSS = 'footer {display: none !important}'


def main(argv: list[str] | None = None) -> int:
    """Serve the page until the process is stopped.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Raises:
        ConfigError: If Gradio is not installed, an option is invalid, or the port is in use.
        CheckpointError: If the weights of --model cannot be loaded.
    """
    args = parse_args(argv)
    when_stopped(lambda: 'the page is closed')
    with tempfile.TemporaryDirectory(prefix='pose-backbones-demo-') as folder:
        gradio = _import_gradio(Path(folder, 'uploads'))
        _check_port(args.host, args.port)
        demo = Demo(args, Path(folder, 'results'))
        if args.model is not None:
            demo.load(args.model)
        page = _build_page(gradio, args, demo)
        try:
            page.queue(default_concurrency_limit=1, api_open=False).launch(
                server_name=args.host,
                server_port=args.port,
                share=False,
                quiet=True,
                ssr_mode=False,
                mcp_server=False,
                footer_links=[],
                max_file_size=_MAX_UPLOAD,
                prevent_thread_lock=True,
                theme=gradio.themes.Default(font='system-ui', font_mono='monospace'),
                css=_CSS,
            )
        except OSError as error:  # another process was faster
            raise ConfigError(_port_in_use(args.host, args.port, error)) from error
        try:
            host = f'[{args.host}]' if ':' in args.host else args.host
            print(f'http://{host}:{args.port} (Ctrl-C ends it)', flush=True)
            if not ipaddress.ip_address(args.host).is_loopback:
                print(
                    f'warning: with --host {args.host}, other machines can use this page, without '
                    'a password',
                    file=sys.stderr,
                    flush=True,
                )
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return 0


class Demo:
    """Estimates the poses of one upload at a time; keeps the last model and the detector.

    Args:
        args: The options.
        folder: Directory of the results.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args, self._folder = args, folder
        self._name: str | None = None
        self._inferencer: PoseInferencer | None = None
        self._detector: Any = None

    def run(self, upload: str, model: str, boxes: str) -> tuple[Path, Path, str]:
        """Estimate the poses in an image or a clip.

        Args:
            upload: Path of the file.
            model: Name of the model.
            boxes: `_DETECTOR` or `_WHOLE_IMAGE`; not used for a bottom-up model.

        Returns:
            The drawn image or video, the poses as JSON, and a summary.

        Raises:
            PoseBackbonesError: If the file or the model cannot be used.
        """
        from ..inference.boxes import WHOLE_IMAGE
        from ..inference.export import AnnotatedOutputs
        from ..inference.video_reader import is_video

        source = Path(upload)
        if not source.is_file():
            raise ConfigError('the uploaded file was removed in the meantime: upload it again')
        pose = self.load(model)
        arguments: dict[str, Any] = {}
        if pose.is_top_down and boxes == _DETECTOR:
            arguments = dict(boxes=self._load_detector(), min_score=0.3)
        elif pose.is_top_down:
            arguments = dict(boxes=WHOLE_IMAGE)
        shutil.rmtree(self._folder, ignore_errors=True)  # those of the previous run
        self._folder.mkdir(parents=True)
        in_video = is_video(upload)
        self._check_length(pose, upload)
        results = pose([upload], strict=True, track=in_video, smooth=in_video, **arguments)
        outputs = AnnotatedOutputs(
            self._folder, [upload], 'all', dict(threshold=0.3, boxes=False, ids=in_video)
        )
        entries = []
        try:
            with outputs:
                for result in results:
                    outputs.add(result, 0)
                    entry = result.to_dict()
                    entry['name'] = entry['name'].replace(upload, source.name)
                    entries.append(entry)
                outputs.close()
        finally:
            results.close()
        if outputs.failures:
            raise ConfigError(f'{source.name} cannot be drawn; the log of the command says why')
        poses = self._folder / f'{source.stem}.json'
        poses.write_text(json.dumps(entries, allow_nan=False), encoding='utf-8')
        people = sum(len(entry['people']) for entry in entries)
        summary = '1 person' if people == 1 else f'{people} people'
        if in_video:
            summary += f' in {len(entries)} frames'
        if not people:
            summary += ': try another model, or another choice of boxes'
        return outputs.paths[0], poses, summary

    def load(self, name: str) -> 'PoseInferencer':
        """Load a model, unless it is the last one.

        Args:
            name: Name of the model, or --model.

        Raises:
            PoseBackbonesError: If the model cannot be used, or its weights cannot be loaded.
        """
        from ..inference.inferencer import PoseInferencer
        from ..zoo.names import find_name

        if not name:
            raise ConfigError('no model is selected: choose one')
        if self._inferencer is None or name != self._name:
            args = self._args
            weights = args.weights if name == args.model else None
            # A config contains Python code, and users of the page can upload files.
            model = name if name == args.model else find_name(name)
            self._inferencer = None  # two models at a time would need more memory
            try:
                self._inferencer = PoseInferencer(model, weights, device=args.device)
            except (TypeError, ValueError) as error:
                raise ConfigError(str(error)) from error
            self._name = name
        return self._inferencer

    def _load_detector(self) -> Any:
        from ..inference.detector import load_detector

        if self._detector is None:
            args = self._args
            self._detector = load_detector(args.detector, args.detector_weights, args.device)
        return self._detector

    def _check_length(self, pose: 'PoseInferencer', upload: str) -> None:
        from ..inference.inputs import Inputs

        count, limit = Inputs([upload]).announced_count(), self._args.max_frames
        if count is None or count > limit:
            length = 'does not state its length' if count is None else f'has {count} frames'
            raise ConfigError(
                f'{Path(upload).name} {length}: expected at most {limit} frames (--max-frames), or '
                'use pose-backbones infer'
            )


def _import_gradio(uploads: Path) -> Any:
    """Import Gradio without its analytics.

    Args:
        uploads: Directory of uploaded files.
    """
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['GRADIO_TEMP_DIR'] = str(uploads)
    os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
    try:
        import gradio
    except ImportError as error:
        raise ConfigError(
            f"the demo page needs Gradio: pip install 'pose_backbones[demo]' ({error})"
        ) from error
    return gradio


def _check_port(host: str, port: int) -> None:
    """Raise if the port cannot be used, before anything is loaded."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError as error:
            raise ConfigError(_port_in_use(host, port, error)) from error


def _port_in_use(host: str, port: int, error: OSError) -> str:
    reason = error.strerror or first_line(error)
    return f'the page cannot be served on {host}, port {port}: {reason}. Choose another --port'


def _models(first: str | None) -> list[str]:
    """Return the names of the 2D models with released weights.

    Args:
        first: Name at the start. Default: the full name of `DEFAULT_MODEL`.

    Returns:
        The names; after the first one, those of this package and then those of MMPose.
    """
    from ..zoo import find_name, list_models, list_releases
    from ..zoo.mmpose import read_mmpose_models

    own, mmpose = list_models(), read_mmpose_models()
    released = [name for name, release in list_releases().items() if release is not None]
    names = [name for name in released if name in own]
    # PoseInferencer does not take models with 3D keypoints.
    names += [name for name in released if name not in own and '_3d_' not in mmpose[name].task]
    return list(dict.fromkeys([first or find_name(DEFAULT_MODEL), *names]))


def _build_page(gradio: Any, args: argparse.Namespace, demo: Demo) -> Any:
    """Return the `gradio.Blocks` of the page."""
    from ..inference.video_reader import is_video

    models = _models(args.model)

    def estimate(upload: str | None, model: str, boxes: str) -> list[Any]:
        if not upload:
            raise gradio.Error('Upload an image or a clip first', print_exception=False)
        try:
            drawn, poses, summary = demo.run(upload, model, boxes)
        except PoseBackbonesError as error:
            message = str(error).replace(upload, Path(upload).name)
            raise gradio.Error(message, duration=None, print_exception=False) from error
        is_clip = is_video(upload)
        return [
            gradio.Image(None if is_clip else str(drawn), visible=not is_clip),
            gradio.Video(str(drawn) if is_clip else None, visible=is_clip),
            gradio.File([str(drawn), str(poses)], visible=True),
            summary,
        ]

    with gradio.Blocks(
        title=_TITLE, analytics_enabled=False, delete_cache=(60, _KEPT), fill_width=True
    ) as page:
        gradio.Markdown(f'# {_TITLE}')
        with gradio.Row():
            with gradio.Column(scale=1, min_width=320):
                upload = gradio.File(label='Image or short clip', elem_id='upload')
                model = gradio.Dropdown(
                    models,
                    value=models[0],
                    label='Model',
                    info='type to search; the weights are downloaded on first use',
                    allow_custom_value=True,
                    elem_id='model',
                )
                boxes = gradio.Radio(
                    [_DETECTOR, _WHOLE_IMAGE],
                    value=_WHOLE_IMAGE,
                    label='Boxes',
                    info=f'detector: {args.detector}. Bottom-up models need no boxes',
                    elem_id='boxes',
                )
                button = gradio.Button('Estimate poses', variant='primary', elem_id='run')
            with gradio.Column(scale=2, min_width=320):
                image = gradio.Image(
                    label='Result',
                    interactive=False,
                    buttons=['download', 'fullscreen'],  # without sharing
                    elem_id='image',
                )
                video = gradio.Video(
                    label='Result',
                    interactive=False,
                    visible=False,
                    buttons=['download'],
                    height=480,
                    elem_id='video',
                )
                summary = gradio.Markdown(elem_id='summary')
                files = gradio.File(
                    label='Downloads', interactive=False, visible=False, elem_id='files'
                )
        button.click(
            estimate,
            [upload, model, boxes],
            [image, video, files, summary],
            api_visibility='private',
        )
    return page
