"""`pose-backbones convert-dataset` with files like those of LSP and LSPET."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from pose_backbones.cli import check as checker
from pose_backbones.cli.convert_dataset import main
from pose_backbones.errors import DatasetError
from pose_backbones.structures.annotation_tools.lsp import JOINTS
from pose_backbones.structures.metainfo import read_metainfo

COUNT, SIDE = 6, 80


def write(folder: Path, is_extended: bool) -> np.ndarray:
    """Write images and `joints.mat`, and return x, y and the flag of each joint, (N, 14, 3)."""
    random = np.random.default_rng(0)
    joints = random.integers(40, 4 * (SIDE - 10), (COUNT, 14, 3)) / 4
    joints[..., 2] = random.integers(0, 2, (COUNT, 14))
    joints[:, :4, 2] = is_extended  # some joints of each person are labelled
    if is_extended:
        joints[joints[..., 2] == 0, :2] = np.nan
    images = folder if is_extended else folder / 'images'
    images.mkdir(parents=True)
    for number in range(1, COUNT + 1):
        name = f'im{number:05}.png' if is_extended else f'im{number:04}.jpg'
        assert cv2.imwrite(str(images / name), np.full((SIDE, SIDE, 3), number, np.uint8))
    axes = (1, 2, 0) if is_extended else (2, 1, 0)
    savemat(folder / 'joints.mat', dict(joints=joints.transpose(axes)))
    return joints


def convert(folder: Path, *options: str) -> list[dict]:
    """Convert a dataset and return the annotations in the order of the images."""
    out = folder.parent / 'out'
    main([str(folder), str(out), *options])
    found = {}
    for file in sorted((out / 'annotations').iterdir()):
        content = json.loads(file.read_text())
        images = {image['id']: image['file_name'] for image in content['images']}
        for entry in content['annotations']:
            found[Path(images[entry['image_id']]).stem] = entry
        assert checker.main([str(file), '--images', str(out / 'images'), '--all-images']) == 0
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize('is_extended', [True, False])
def test_values(tmp_path: Path, is_extended: bool) -> None:
    joints = write(tmp_path / 'data', is_extended)
    entries = convert(tmp_path / 'data')
    assert len(entries) == COUNT
    for expected, entry in zip(joints, entries, strict=True):
        points = np.reshape(entry['keypoints'], (14, 3))
        flags = expected[:, 2] == 1
        if is_extended:
            assert points[:, 2].tolist() == np.where(flags, 2, 0).tolist()
            assert points[~flags].tolist() == [[0, 0, 0]] * (~flags).sum()
            np.testing.assert_array_equal(points[flags, :2], expected[flags, :2])
        else:
            assert points[:, 2].tolist() == np.where(flags, 1, 2).tolist()
            np.testing.assert_array_equal(points[:, :2], expected[:, :2])
    info = read_metainfo(tmp_path / 'out/metainfo.py')
    assert tuple(info['keypoint_name2id']) == JOINTS
    assert info['flip_indices'] == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]


def test_split_of_lsp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('pose_backbones.structures.annotation_tools.lsp._LSP_TRAIN', 4)
    write(tmp_path / 'data', is_extended=False)
    convert(tmp_path / 'data')
    for split, numbers in (('train', range(1, 5)), ('val', range(5, 7))):
        content = json.loads((tmp_path / f'out/annotations/{split}.json').read_text())
        names = [Path(image['file_name']).name for image in content['images']]
        assert names == [f'im{number:04}.jpg' for number in numbers]


@pytest.mark.parametrize(
    ('joints', 'message'),
    [
        (np.zeros((14, 2, 3)), r'joints is an array \(14, 2, 3\) of float64: expected '),
        (np.full((14, 3, 1), np.nan), 'image 1: a value of joints is nan: expected a finite'),
        (np.full((14, 3, 1), 7.0), 'image 1: the third value of a joint is 7: expected 0 or 1'),
        (np.ones((14, 3, 9)), r'image 7: the image im00007.jpg does not exist in '),
    ],
)
def test_invalid_files(tmp_path: Path, joints: np.ndarray, message: str) -> None:
    write(tmp_path / 'data', is_extended=True)
    savemat(tmp_path / 'data/joints.mat', dict(joints=joints))
    with pytest.raises(DatasetError, match=message):
        main([str(tmp_path / 'data/joints.mat'), str(tmp_path / 'out')])
    (tmp_path / 'data/joints.mat').write_bytes(b'no MATLAB file')
    with pytest.raises(DatasetError, match=r'has no array joints of MATLAB \(.*\): expected'):
        main([str(tmp_path / 'data/joints.mat'), str(tmp_path / 'out')])
    assert [path.name for path in tmp_path.iterdir()] == ['data']
