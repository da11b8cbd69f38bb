"""Tests of the Python code in docs/index.md and docs/deployment.md, with random weights."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

import pose_backbones
from pose_backbones.checkpoints.downloads import cached_file
from pose_backbones.zoo import read_models
from tests.helpers.pose_cases import make_image
from tests.helpers.tools import ROOT

NAME = 'td-hm_moganet-s_8xb32-210e_coco-256x192'


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Cache directory of PyTorch that contains random weights in place of the released ones."""
    home = tmp_path_factory.mktemp('torch')
    torch.manual_seed(0)
    weights = pose_backbones.build(NAME).state_dict()
    file = cached_file(read_models()[NAME].weights, str(home / 'hub/checkpoints'))
    file.parent.mkdir(parents=True)
    torch.save(dict(state_dict=weights), file)
    return home


@pytest.fixture(autouse=True)
def _files_of_the_pages(cache, tmp_path, monkeypatch):
    (tmp_path / 'images').mkdir()
    for name in ('photo.jpg', 'image.jpg', 'images/000000000007.jpg'):
        assert cv2.imwrite(str(tmp_path / name), make_image(7, 320, 240))
    detection = dict(image_id=7, category_id=1, bbox=[10, 5, 40, 50], score=0.9)
    (tmp_path / 'detections.json').write_text(json.dumps([detection] * 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(cache))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)


def run(page: str) -> list[dict]:
    """Run each Python code block and return the names that it defines."""
    namespaces = []
    for code in re.findall('```python\n(.*?)```', (ROOT / page).read_text('utf-8'), re.DOTALL):
        names: dict = {}
        exec(code, names)
        namespaces.append(names)
    return namespaces


def test_index_page(tmp_path, capsys):
    (names,) = run('docs/index.md')
    result = names['result']
    assert (len(result), result.keypoints.shape, result.scores.shape) == (1, (1, 17, 2), (1, 17))
    assert "'nose', 'left_eye', 'right_eye'" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'drawn.jpg')).shape == (240, 320, 3)


def test_deployment_page(capsys):
    first, second = run('docs/deployment.md')
    assert capsys.readouterr().out.endswith('000000000007.jpg (2, 17, 2)\n')
    result = first['result']
    assert result.image is None
    (person,) = second['people']
    assert person.pred_instances.keypoints.shape == (1, 17, 2)
    # The maxima of random heatmaps are mostly at the same positions in half precision.
    inferencer = pose_backbones.PoseInferencer(NAME)
    (single,) = inferencer('images/', boxes='detections.json')
    assert np.mean(np.abs(result.keypoints - single.keypoints) < 3) > 0.8
