"""Tests of demo/top_down_img_demo.py, which draws poses for the boxes of a COCO file."""

import json

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.cli.image_demo import main
from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.utils.images import write_image
from tests.helpers.pose_cases import make_image, write_checkpoint, write_config
from tests.helpers.tools import ROOT, run_tool

BOXES = {7: [[10, 8, 30, 50], [50, 12, 28, 44]], 9: []}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Paths of a config, a checkpoint, a directory of images, and a COCO file."""
    folder = tmp_path_factory.mktemp('demo')
    images = [dict(id=number, file_name=f'{number}.png') for number in BOXES]
    for image in images:
        cv2.imwrite(str(folder / image['file_name']), make_image(image['id'], 96, 64))
    people = [
        dict(image_id=number, category_id=1, bbox=box, iscrowd=0)
        for number, boxes in BOXES.items()
        for box in boxes
    ]
    file = folder / 'people.json'
    file.write_text(json.dumps(dict(images=images, annotations=people)))
    return (str(write_config(folder)), str(write_checkpoint(folder)), str(folder), str(file))


def test_script_draws_all_images(files, tmp_path):
    config, weights, folder, file = files
    done = run_tool(
        ROOT / 'demo/top_down_img_demo.py',
        config,
        weights,
        '--img-root',
        folder,
        '--json-file',
        file,
        '--out-img-root',
        tmp_path / 'out',
        '--device',
        'cpu',
        '--kpt-thr',
        '0',
    )
    assert done.returncode == 0, done.stdout
    pose = PoseInferencer(config, weights, device='cpu')
    paths = [f'{folder}/{number}.png' for number in BOXES]
    for index, result in enumerate(pose(paths, file)):
        write_image(tmp_path / 'expected.jpg', result.draw(threshold=0.0))
        expected, drawn = (
            cv2.imread(str(tmp_path / name)).astype(int)
            for name in ('expected.jpg', f'out/vis_{index}.jpg')
        )
        # A batch of another size may change the last bit of a pixel's colour.
        assert np.abs(drawn - expected).mean() < 0.1
        assert len(result) == len(BOXES[result.image_id])
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['vis_0.jpg', 'vis_1.jpg']


def test_images_of_another_run_are_kept(files, tmp_path):
    config, weights, folder, file = files
    (tmp_path / 'vis_3.jpg').write_bytes(b'mine')
    with pytest.raises(WorkDirError, match='contains images of another run'):
        main(
            [
                config,
                weights,
                '--img-root',
                folder,
                '--json-file',
                file,
                '--out-img-root',
                str(tmp_path),
            ]
        )
    assert (tmp_path / 'vis_3.jpg').read_bytes() == b'mine'


def test_arguments_are_checked_before_loading_the_model(files, tmp_path):
    _, _, _, file = files
    start = ['none.py', 'none.pth']
    with pytest.raises(ConfigError, match='nothing to do: expected --show'):
        main([*start, '--json-file', file])
    out = ['--out-img-root', str(tmp_path / 'out')]
    with pytest.raises(DatasetError, match='annotations missing.json: there is no such'):
        main([*start, '--json-file', 'missing.json', *out])
    with pytest.raises(
        DatasetError,
        match=r'7\.png, which does not exist: check '
        'that --img-root .*is the directory of the images',
    ):
        main([*start, '--json-file', file, '--img-root', str(tmp_path), *out])
    other = tmp_path / 'list.json'
    other.write_text('[]')
    with pytest.raises(
        DatasetError, match='list.json is not a COCO annotations file: the top level has the type'
    ):
        main([*start, '--json-file', str(other), *out])
