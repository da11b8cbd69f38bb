"""Tests of the source distribution and the wheel: their files, and the installed package."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path, PurePosixPath

import pytest

from tests.helpers.tools import ROOT

PACKAGES = ('pose_backbones', 'pose_backbones_env')
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def run(code: str, *arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run Python in a directory.

    Args:
        code: Python code.
        *arguments: `sys.argv[1:]` of the code.
        cwd: Working directory.
        path: Directory to import from first.

    Returns:
        The last line of the output.
    """
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(path or ''), 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope='module')
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp('distribution')
    source = folder / 'source'
    source.mkdir()
    for name in (*PACKAGES, 'configs'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE', 'NOTICE', 'model-index.yml'):
        shutil.copy(ROOT / name, source)
    sdist = folder / run(BUILD, 'build_sdist', str(folder), cwd=source)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / 'unpacked', filter='data')
    (unpacked,) = (folder / 'unpacked').iterdir()
    return sdist, folder / run(BUILD, 'build_wheel', str(folder), cwd=unpacked)


def shipped() -> dict[str, bytes]:
    """Return path in the package → content of all files that are not modules."""
    files = {'pose_backbones/py.typed': b''}
    for path in sorted((ROOT / 'configs').rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            files[f'pose_backbones/.mim/{path.relative_to(ROOT)}'] = path.read_bytes()
    files['pose_backbones/.mim/model-index.yml'] = (ROOT / 'model-index.yml').read_bytes()
    for pattern in ('*.css', '*.j2', '*.json'):
        for path in (ROOT / 'pose_backbones').rglob(pattern):
            files[str(path.relative_to(ROOT))] = path.read_bytes()
    return files


def test_sdist_contains_configs_as_files(built):
    with tarfile.open(built[0]) as archive:
        members = {str(PurePosixPath(*Path(m.name).parts[1:])): m for m in archive.getmembers()}
        assert not [name for name, member in members.items() if member.issym() or member.islnk()]
        for name, content in shipped().items():
            assert archive.extractfile(members[name]).read() == content, name
    assert {'LICENSE', 'NOTICE', 'README.md', 'pyproject.toml'} <= members.keys()


def test_wheel_contains_configs_as_files_and_no_others(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
        for name, content in shipped().items():
            assert archive.read(name) == content, name
    modules = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob('*.py')
        if '.mim' not in path.parts
    }
    rest = {name for name in names - modules - shipped().keys() if '.dist-info/' not in name}
    assert modules <= names
    assert rest == {'pose_backbones.pth'}


def test_wheel_lists_its_files(built):
    """pip removes the listed files when it uninstalls the package."""
    with zipfile.ZipFile(built[1]) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith('.dist-info/RECORD'))
        listed = dict(line.rsplit(',', 2)[:2] for line in archive.read(record).decode().split())
        for name in set(archive.namelist()) - {record}:
            digest = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest())
            assert listed.pop(name) == f'sha256={digest.decode().rstrip("=")}', name
    assert list(listed) == [record]


def test_metadata(built):
    with zipfile.ZipFile(built[1]) as archive:
        info = built[1].name.rsplit('-', 3)[0] + '.dist-info'
        metadata = message_from_string(archive.read(f'{info}/METADATA').decode())
        entries = archive.read(f'{info}/entry_points.txt').decode()
        for name in ('LICENSE', 'NOTICE'):
            assert archive.read(f'{info}/licenses/{name}') == (ROOT / name).read_bytes()
    version = run(
        'import runpy; print(runpy.run_path("version.py")["__version__"])',
        cwd=ROOT / 'pose_backbones',
    )
    assert metadata['Version'] == version
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Requires-Python'] == '<3.15,>=3.10'
    assert metadata.get_all('Provides-Extra') == [
        'openmmlab',
        'openmmlab-lite',
        'detection',
        'export',
        'int8',
        'video',
        'supervision',
        'datasets',
        'augment',
        'demo',
    ]
    assert 'pose-backbones = pose_backbones_env.command:main' in entries.splitlines()


def test_installed_wheel_finds_its_configs(built, tmp_path):
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(tmp_path / 'site')
    code = """
import json, pose_backbones
names = pose_backbones.list_models()
config = pose_backbones.get_config('td-hm_moganet-s_8xb32-210e_coco-256x192')
print(json.dumps([pose_backbones.__file__, names, config.filename, config.model.backbone.arch]))
"""
    package = tmp_path / 'site/pose_backbones'
    file, names, config, arch = json.loads(run(code, cwd=tmp_path, path=tmp_path / 'site'))
    assert Path(file) == package / '__init__.py'
    name = 'moganet/td-hm_moganet-s_8xb32-210e_coco-256x192.py'
    assert Path(config) == package / '.mim/configs' / name
    assert names == sorted(path.stem for path in (ROOT / 'configs').glob('[!_]*/*.py'))
    assert arch == 'small'


@pytest.fixture(scope='module')
def site(built, tmp_path_factory) -> Path:
    """Directory that contains the unpacked wheel, as `site-packages` does."""
    folder = tmp_path_factory.mktemp('site')
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(folder)
    return folder


#: makes a directory a site directory: its modules are found, and its .pth files are read
ADD_SITE = """
import site, sys
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'ReplacementFinder']
sys.modules.pop('pose_backbones_env.finder', None)
site.addsitedir(sys.argv.pop(1))
"""


@pytest.mark.parametrize(
    'imports',
    [
        # the first imports of MuseTalk, of DWPose, and of a program with a detector
        'from mmpose.apis import inference_topdown, init_model\n'
        'from mmpose.structures import merge_data_samples',
        'from mmpose.datasets import transforms\nfrom mmpose.registry import MODELS',
        'from mmdet.apis import inference_detector, init_detector',
    ],
)
def test_packages_import_without_import_of_pose_backbones(site, tmp_path, imports):
    code = ADD_SITE + f'{imports}\nfrom mmcv.ops import nms\nprint(nms.__module__)'
    assert run(code, str(site), cwd=tmp_path) == 'mmcv.ops.nms'


#: runs a script as `python SCRIPT …` does
RUN_SCRIPT = ADD_SITE.replace('sys.argv.pop(1))', 'sys.argv.pop(1))\ndel sys.argv[0]') + (
    "import runpy\nrunpy.run_path(sys.argv[0], run_name='__main__')"
)


def test_scripts_of_mmpose_need_no_change(site, tmp_path, tiny_config, synthetic):
    """MMPose's own scripts train, resume, and test a checkpoint that MMEngine has written."""
    import mmpose

    tools = Path(mmpose.__file__).parent / '.mim/tools'
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/synthetic').symlink_to(synthetic)
    options = ['--work-dir', 'work', '--cfg-options']
    for iterations, resume in (('2', []), ('4', ['--resume'])):
        length = f'train_cfg.max_iters={iterations}'
        arguments = [str(tools / 'train.py'), str(tiny_config), *resume, *options, length]
        run(RUN_SCRIPT, str(site), *arguments, cwd=tmp_path)
    logs = [path.read_text() for path in sorted((tmp_path / 'work').glob('*/*.log'))]
    assert 'resumed epoch: 0, iter: 2' in logs[1]
    config, checkpoint = 'work/tiny.py', 'work/iter_4.pth'
    arguments = [str(tools / 'test.py'), config, checkpoint, '--work-dir', 'tested']
    run(RUN_SCRIPT, str(site), *arguments, cwd=tmp_path)
    (metrics,) = (tmp_path / 'tested').glob('*/*.json')
    assert 0 <= json.loads(metrics.read_text())['coco/AP'] <= 1


#: a small RetinaNet on the synthetic dataset
DETECTOR = """
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py']
data = dict(
    data_root=ROOT,
    ann_file='annotations/person_keypoints_val.json',
    data_prefix=dict(img='val/'),
    metainfo=dict(classes=('person',)),
    indices=4)
model = dict(
    backbone=dict(
        _delete_=True, type='pose_backbones.MogaNet', arch='xtiny', out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[32, 64, 96, 192], out_channels=32),
    bbox_head=dict(num_classes=1, in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0.0))
size = dict(type='Resize', scale=(160, 128), keep_ratio=True)
load = dict(type='LoadImageFromFile')
boxes = dict(type='LoadAnnotations', with_bbox=True)
workers = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **workers, dataset=dict(
    **data, pipeline=[load, boxes, size, dict(type='PackDetInputs')]))
val_dataloader = dict(**workers, dataset=dict(**data, pipeline=[load, size, boxes, dict(
    type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                     'scale_factor'))]))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=ROOT + '/' + data['ann_file'])
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
work_dir = 'detector'
"""


def test_scripts_of_mmdet_need_no_change(site, tmp_path, synthetic):
    """MMDetection's own scripts train and test a detector with a backbone of this package."""
    import mmdet

    tools = Path(mmdet.__file__).parent / '.mim/tools'
    config = tmp_path / 'detector.py'
    config.write_text(DETECTOR.replace('ROOT', repr(str(synthetic))))
    run(RUN_SCRIPT, str(site), str(tools / 'train.py'), str(config), cwd=tmp_path)
    arguments = [str(tools / 'test.py'), str(config), 'detector/epoch_1.pth']
    run(RUN_SCRIPT, str(site), *arguments, '--work-dir', 'tested', cwd=tmp_path)
    (metrics,) = (tmp_path / 'tested').glob('*/*.json')
    assert 0 <= json.loads(metrics.read_text())['coco/bbox_mAP'] <= 1
