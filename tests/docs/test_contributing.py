"""Tests of the example in CONTRIBUTING.md, whose files and diffs are applied to a copy."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.fork_server import ForkServer
from tests.helpers.tools import ROOT, tool_env

NAME = 'td-hm_toynet-t_8xb32-210e_coco-256x192'


def apply_diff(text: str, diff: str) -> str:
    """Apply a hunk without line numbers; its old lines must be unique in the text."""
    lines = diff.splitlines(keepends=True)
    old = ''.join(line[1:] for line in lines if line[0] in ' -')
    new = ''.join(line[1:] for line in lines if line[0] in ' +')
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope='module')
def copy(tmp_path_factory) -> Path:
    """Copy of the repository with the backbone of CONTRIBUTING.md."""
    folder = tmp_path_factory.mktemp('copy')
    ignored = shutil.ignore_patterns('__pycache__')
    for name in ('pose_backbones', 'pose_backbones_env', 'configs', 'tests', 'tools', 'docs'):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ('model-index.yml', 'pyproject.toml', 'README.md'):
        shutil.copy(ROOT / name, folder)
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    files = re.findall(r'^`([^`\n]+)`:\n\n```(?!diff)\w+\n(.*?)^```', text, re.S | re.M)
    diffs = re.findall(r'^```diff\n--- (\S+)\n(.*?)^```', text, re.S | re.M)
    for path, content in files:
        (folder / path).parent.mkdir(exist_ok=True)
        assert not (folder / path).exists()
        (folder / path).write_text(content, encoding='utf-8')
    for path, diff in diffs:
        changed = apply_diff((folder / path).read_text(encoding='utf-8'), diff)
        (folder / path).write_text(changed, encoding='utf-8')
    assert (len(files), len(diffs)) == (4, 5)
    return folder


@pytest.fixture(scope='module')
def server(copy) -> Iterator[ForkServer]:
    """A new process that has imported the package of the copy."""
    server = ForkServer(tool_env(PYTHONPATH=str(copy)), cwd=copy)
    yield server
    server.close()


@pytest.fixture
def run(server, copy, monkeypatch) -> Callable[..., str]:
    """Return a function that runs a script in the copy and returns its output."""
    monkeypatch.chdir(copy)

    def run(script: str, *arguments: str) -> str:
        done = server.run([str(copy / script), *arguments], tool_env(PYTHONPATH=str(copy)), 280)
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    return run


def test_contract_test_of_the_example(copy, run):
    """All contract tests of the backbone pass, and the backbone is registered."""
    (copy / 'contract.py').write_text('import sys, pytest\nsys.exit(pytest.main(sys.argv[1:]))')
    command = ('contract.py', 'tests/models/test_contract.py', '-p', 'no:cacheprovider')
    output = run(*command, '-k', 'ToyNet or test_every_backbone_has_a_case')
    (passed,) = re.findall(r'(\d+) passed', output)
    assert int(passed) >= 18
    assert 'skipped' not in output


def test_original_parameter_names_load(copy, run):
    code = f"""
import json, re, torch, pose_backbones
from model_zoo.measure import measure_config
from pose_backbones.checkpoints.conversion import inspect_state_dict
from pose_backbones.models.backbones import ToyNet

torch.manual_seed(0)
net = ToyNet('tiny').eval()
net.init_weights()
def original(name):
    name = re.sub(r'^stages.(.)', lambda m: f'layer{{int(m[1]) + 1}}', name)
    return re.sub(r'^embeddings.(.)', lambda m: f'down{{int(m[1]) + 1}}', name)
released = {{original(name): value for name, value in net.state_dict().items()}}
released['fc.weight'] = torch.zeros(10, 128)
torch.save(released, 'toynet.pth')
result = inspect_state_dict(released)
pretrained = ToyNet('tiny', init_cfg=dict(type='Pretrained', checkpoint='toynet.pth')).eval()
pretrained.init_weights()
loaded = ToyNet('tiny').eval()
loaded.load_state_dict(released)
x = torch.randn(1, 3, 64, 64)
with torch.no_grad():
    maps = [n(x)[-1] for n in (net, pretrained, loaded)]
model = pose_backbones.build({NAME!r})
size = measure_config(pose_backbones.get_config({NAME!r}))
print(json.dumps(dict(
    file=pose_backbones.__file__, family=result.family, naming=result.naming,
    left_out=sorted(result.left_out), names=sorted(result.weights)[:1],
    equal=[torch.equal(maps[0], other) for other in maps[1:]],
    parameters=[size.params, sum(p.numel() for p in model.parameters() if p.requires_grad)])))
"""
    sys_path = "import sys; sys.path.append('docs/scripts')\n"
    (copy / 'names.py').write_text(sys_path + code)
    result = json.loads(run('names.py').splitlines()[-1])
    assert result['file'] == str(copy / 'pose_backbones/__init__.py')
    assert (result['family'], result['naming']) == ('ToyNet', 'ImageNet release')
    assert result['left_out'] == ['fc.weight']
    assert result['names'] == ['backbone.embeddings.0.0.weight']
    assert result['equal'] == [True, True]
    assert result['parameters'][0] == result['parameters'][1] > 1_000_000


@pytest.mark.slow
def test_example_trains(copy, run, synthetic):
    """An epoch on synthetic people changes the weights, and the checkpoint can be tested."""
    data = {
        'batch_size': 16,
        'num_workers': 0,
        'persistent_workers': False,
        'dataset.ann_file': 'annotations/person_keypoints_val.json',
        'dataset.data_prefix.img': 'val/',
    }
    options = [f'train_dataloader.{key}={value}' for key, value in data.items()]
    options += ['train_cfg.max_epochs=1', 'default_hooks.logger.interval=1']
    config = f'configs/toynet/{NAME}.py'
    where = ('--data-root', str(synthetic), '--work-dir', 'work')
    output = run('tools/train.py', config, *where, '--no-validate', '--cfg-options', *options)
    losses = [float(loss) for loss in re.findall(r'Epoch\(train\).* loss: ([\d.]+)', output)]
    assert losses
    assert all(0 < loss < 1 for loss in losses)
    code = f"""
import torch, pose_backbones
model = pose_backbones.build({NAME!r}, pretrained='work/epoch_1.pth')
print(int(model.backbone.stages[0][0].norm1.num_batches_tracked))
"""
    (copy / 'trained.py').write_text(code)
    assert int(run('trained.py').splitlines()[-1]) == len(losses)
