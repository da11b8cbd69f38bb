"""Write the seeds of the corpus: small valid files of each format.

python -m tests.fuzzing.seeds
"""

import io
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MessageHub
from mmengine.optim import MultiStepLR, OptimWrapper
from PIL import Image
from safetensors.torch import save

from pose_backbones.engine.saving import make_checkpoint_plain
from tests.helpers import damaged_coco
from tests.helpers.journal_cases import failure, result

from .targets import TARGETS, toy_model

#: seeds that are text and were written by hand: target → files of the corpus
_TEXTS = dict(
    metafile=('valid.yml',),
    variables=('valid.py',),
    run_config=('valid.py', 'from_file.py'),
    log=('valid.jsonl',),
)


def seeds() -> dict[str, dict[str, bytes]]:
    """Return target → file name → content."""

    def encode(value: object) -> bytes:
        return json.dumps(value).encode()

    small = damaged_coco.annotations(2)
    image_list = {**small, 'annotations': []}
    crowd = damaged_coco.annotations(2)
    crowd['annotations'][0].update(iscrowd=1, segmentation=dict(counts=[4, 4, 8], size=[4, 4]))
    return dict(
        checkpoint=_checkpoints(),
        annotations={
            'valid.json': encode(small),
            'image_list.json': encode(image_list),
            'crowd.json': encode(crowd),
        },
        results={'valid.json': encode(damaged_coco.results()[:2]), 'empty.json': b'[]'},
        detections={'valid.json': encode(damaged_coco.detections()[:2])},
        boxes={
            'detections.json': encode(damaged_coco.detections()[:2]),
            'annotations.json': encode(small),
        },
        journal={'valid.jsonl': _journal()},
        keypoints={'valid.json': encode(small)},
        training_state={'iter_3.pth': _training_state()},
        report={'valid.json': encode(damaged_coco.results()[:2])},
        image=_images(),
        **{
            name: {file: (TARGETS[name].corpus / file).read_bytes() for file in files}
            for name, files in _TEXTS.items()
        },
    )


def _checkpoints() -> dict[str, bytes]:
    weights = OrderedDict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.ones(2).half())
    weights._metadata = OrderedDict({'': dict(version=1)})
    optimizer = dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[dict(lr=1e-3)])
    files = {}
    for name, content, old in (
        ('weights.pth', weights, False),
        ('training.pth', dict(state_dict=weights, optimizer=optimizer, meta=dict(iter=3)), False),
        ('old_format.pth', dict(state_dict=weights), True),
    ):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=not old)
        files[name] = file.getvalue()
    files['weights.safetensors'] = save(dict(weights), metadata=dict(format='pt'))
    files['plain.pkl'] = pickle.dumps(dict(a=[1, 2.5, 'x', None, (True, b'y'), {3}]), 2)
    return files


def _training_state() -> bytes:
    """Return the checkpoint of a run after three iterations, with plain values."""
    model = toy_model()
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    schedule = MultiStepLR(wrapper, milestones=[3, 6], by_epoch=False)
    for _ in range(3):
        wrapper.update_params(model(torch.eye(3)).square().mean())
        schedule.step()
    hub = MessageHub('seeds')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('best_score', 0.25)
    metainfo = dict(
        dataset_name='two',
        num_keypoints=2,
        keypoint_id2name={0: 'left_eye', 1: 'right_eye'},
        flip_indices=[1, 0],
        skeleton_links=[(0, 1)],
        sigmas=torch.tensor([0.1, 0.2]),
    )
    checkpoint = dict(
        meta=dict(iter=3, epoch=0, seed=1, dataset_meta=metainfo, experiment_name='x'),
        state_dict=model.state_dict(),
        optimizer=wrapper.state_dict(),
        param_schedulers=[schedule.state_dict()],
        message_hub=hub.state_dict(),
    )
    make_checkpoint_plain(checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def _images() -> dict[str, bytes]:
    """Return small images in several formats and modes."""
    pixels = (np.arange(12 * 16 * 3) % 251).astype(np.uint8).reshape(12, 16, 3)
    image, files = Image.fromarray(pixels), {}
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    for name, variant, options in (
        ('rotated.jpg', image, dict(exif=exif)),
        ('progressive.jpg', image.convert('CMYK'), dict(progressive=True)),
        ('alpha.png', image.convert('RGBA'), {}),
        ('palette.png', image.convert('P'), {}),
        ('deep.png', deep, {}),
        ('frames.gif', image, dict(save_all=True, append_images=[image.rotate(180)])),
        ('image.bmp', image, {}),
        ('image.tiff', image, dict(compression='tiff_lzw')),
        ('image.webp', image, {}),
        ('image.ppm', image, {}),
        ('image.tga', image, {}),
    ):
        file = io.BytesIO()
        variant.save(file, {'jpg': 'JPEG'}.get(name[-3:], name.split('.')[1]), **options)
        files[name] = file.getvalue()
    return files


def _journal() -> bytes:
    """Return the lines after the settings: an image, and a video of two frames with a failure."""
    image = result(0)
    frames = [result(1, 2, 0), result(2, 1, 1)]
    lines = [dict(index=0, part=0, name=image.name, people=image.to_coco())]
    for frame in frames:
        people = [dict(person, track_id=7) for person in frame.to_coco()]
        lines.append(
            dict(
                index=frame.index,
                part=1,
                name=frame.name,
                people=people,
                frame=frame.frame,
                time=frame.time,
            )
        )
    broken = failure(3, 1, in_video=True)
    lines.append(dict(index=3, part=1, name=broken.name, error=str(broken.error), frame=None))
    lines.append(dict(index=3, part=1, end=True))
    return b''.join(json.dumps(line).encode() + b'\n' for line in lines)


def main() -> None:
    """Write the files."""
    for name, files in seeds().items():
        folder: Path = TARGETS[name].corpus
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, content in files.items():
            (folder / file_name).write_bytes(content)


if __name__ == '__main__':
    main()
