"""The main steps of a user, each in a new process; CI runs this test in the oldest environment."""

import csv
import json

import pytest

from tests.helpers.tools import run_tool


@pytest.mark.smoke
def test_train_resume_test_and_predict(tiny_config, synthetic, tmp_path):
    work, metrics, out = tmp_path / 'work', tmp_path / 'metrics.json', tmp_path / 'predictions'
    data = ('--data-root', synthetic)

    def run(*command) -> str:
        done = run_tool(*command, real=True)
        assert done.returncode == 0, done.stdout
        return done.stdout

    train = ('train.py', tiny_config, *data, '--work-dir', work, '--cfg-options')
    run(*train, 'train_cfg.max_iters=10')
    text = run(*train[:-1], '--resume', '--cfg-options', 'train_cfg.max_iters=12')
    assert 'iter: 10' in text

    run('test.py', tiny_config, work / 'iter_12.pth', *data, '--out', metrics)
    assert 0 <= json.loads(metrics.read_text())['coco/AP'] <= 1

    image = sorted((synthetic / 'val').iterdir())[0]
    options = ('--model', tiny_config, '--weights', work / 'iter_12.pth', '--out', out)
    run('infer.py', image, *options)
    with (out / 'predictions.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]['file_name'] == str(image)
