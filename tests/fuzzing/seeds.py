"""Write the seeds of the corpus: small valid files of each format.

python -m tests.fuzzing.seeds
"""

import io
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save

from tests.helpers import damaged_coco
from tests.helpers.journal_cases import failure, result

from .targets import TARGETS

_METAFILE = """\
Collections:
- Name: MogaNet
  Backbone: pose_backbones/models/backbones/moganet.py
  Upstream Results:
    td-hm_moganet-t: {val: {AP: 0.7}}
Models:
- Name: td-hm_moganet-t
  In Collection: MogaNet
  Config: configs/moganet/td-hm_moganet-t.py
  Metadata:
    Architecture: [MogaNet-T]
    Training Data: COCO
    Input Size: 256x192
    Parameters: 8100000
    FLOPs: 2200000000
    Attention FLOPs: 10
  Results:
  - Task: Body 2D Keypoint
    Dataset: COCO
    Metrics: {AP: 0.732}
  Weights: https://example.org/a.pth
  Licence: {Weights: Apache-2.0}
  Notes: [A note.]
"""
_CONFIG = """\
data_root = 'data/coco/'
codec = dict(type='MSRAHeatmap', input_size=(192, 256), sigma=-2.5)
weights = [1.0] * 17
model: dict = {'type': 'TopdownPoseEstimator', 'head': {'out_channels': 17}}
codec.update(sigma=3)
resume = None or True
"""


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
        metafile={'valid.yml': _METAFILE.encode()},
        journal={'valid.jsonl': _journal()},
        variables={'valid.py': _CONFIG.encode()},
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
