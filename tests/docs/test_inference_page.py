"""Tests of the Python code in docs/inference.md and README.md, which runs unchanged.

Only the downloads, which are the weights and the detector, are replaced.
"""

import json
import re
import shlex

import cv2
import numpy as np
import pytest
import torch

import pose_backbones
from pose_backbones import inference
from pose_backbones.cli import infer
from pose_backbones.zoo import find_name, models
from tests.helpers.pose_cases import make_image
from tests.helpers.tools import ROOT

NAME = 'moganet-s_coco-256x192'
BOX = [10, 5, 40, 50]  # left, top, width, height


def blocks(page: str) -> list[str]:
    """Return the Python code blocks that use `PoseInferencer`."""
    text = (ROOT / page).read_text(encoding='utf-8')
    return [
        code
        for code in re.findall('```python\n(.*?)```', text, re.DOTALL)
        if ' PoseInferencer' in code or ' load_detector' in code
    ]


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = str(tmp_path_factory.mktemp('weights') / 'weights.pth')
    model = pose_backbones.build(find_name(NAME))
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture
def folder(weights, tmp_path, monkeypatch):
    """Directory with the files that the page uses: photographs, detections and a video."""
    (tmp_path / 'photographs').mkdir()
    for number in (7, 12):
        assert cv2.imwrite(str(tmp_path / f'photographs/{number:012}.jpg'), make_image(number))
    (tmp_path / 'detections.json').write_text(
        json.dumps([dict(image_id=12, category_id=1, bbox=BOX, score=0.9)])
    )
    writer = cv2.VideoWriter(
        str(tmp_path / 'street.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10.0, (80, 60)
    )
    for number in range(2):
        writer.write(make_image(number))
    writer.release()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, '_source', lambda entry, pretrained: weights)
    x, y, width, height = BOX
    monkeypatch.setattr(
        inference,
        'load_detector',
        lambda name: (
            lambda image: np.array([[x, y, x + width, y + height, 0.8], [0, 0, 9, 9, 0.1]])
        ),
    )
    return tmp_path


def test_inference_page(folder):
    code, detector = blocks('docs/inference.md')
    names: dict = {}
    exec(code, names)
    result = names['result']
    assert result.name.endswith('000000000012.jpg')
    assert result.keypoints.shape == (1, 17, 2)
    np.testing.assert_array_equal([names['x'], names['y']], result.keypoints[0, 9])
    assert names['scores'].shape == (17,)
    exec(detector, names)
    result = names['result']
    assert (result.frame, result.track_ids.tolist()) == (1, [1])


def test_readme(folder, capsys):
    """Its command and its Python, for a photograph in the working directory."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    (command,) = re.findall('^pose-backbones infer (.*)$', text, re.MULTILINE)
    assert cv2.imwrite('photo.jpg', make_image(7))
    assert infer.main(shlex.split(command)) == 0
    (person,) = json.loads((folder / 'results/predictions.json').read_text())
    expected = np.reshape(person['keypoints'], (17, 3))
    assert len((folder / 'results/predictions.csv').read_text().splitlines()) == 2
    drawn = cv2.imread(str(folder / 'results/pictures/photo.jpg'))
    assert drawn.shape == make_image(7).shape
    capsys.readouterr()
    (code,) = blocks('README.md')
    names: dict = {}
    exec(code, names)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == list(names['result'].names)
    printed = [[float(value) for value in line[1:]] for line in lines]
    np.testing.assert_allclose(printed, expected, atol=0.06)
    np.testing.assert_array_equal(cv2.imread('drawn.jpg'), drawn)
