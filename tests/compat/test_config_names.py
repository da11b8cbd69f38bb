"""Tests of configs that are loaded by name, in a checkout and from a wheel."""

import shutil
import subprocess
import sys
import sysconfig

import pytest
from mmengine.config import Config

from pose_backbones import configs
from pose_backbones._compat import config_names
from pose_backbones.configs import load_config
from pose_backbones.errors import ConfigError
from tests.helpers.tools import ROOT, tool_env

NAME = 'td-hm_moganet-xt_8xb32-210e_coco-256x192.py'


def to_dict(config: Config) -> dict:
    """Return the content of a config as a plain dict."""
    return config._cfg_dict.to_dict()


def test_fromfile_resolves_prefixed_name():
    named = Config.fromfile(f'pose_backbones::moganet/{NAME}')
    assert to_dict(named) == to_dict(Config.fromfile(str(ROOT / 'configs/moganet' / NAME)))
    assert to_dict(load_config(f'pose_backbones::moganet/{NAME}')) == to_dict(named)


def test_base_config_by_name_adds_no_scope(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        f"_base_ = 'pose_backbones::moganet/{NAME}'\n"
        'model = dict(test_cfg=dict(flip_test=False))\n'
        'val_dataloader = _base_.val_dataloader\n'
    )
    expected = to_dict(Config.fromfile(f'pose_backbones::moganet/{NAME}'))
    expected['model']['test_cfg']['flip_test'] = False
    assert to_dict(Config.fromfile(str(path))) == expected


def test_names_of_other_packages_are_resolved_by_mmengine(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("_base_ = 'mmpose::_base_/default_runtime.py'\n")
    assert Config.fromfile(str(path)).default_scope == 'mmpose'


def test_unknown_config_name_suggests_similar_names():
    wrong = 'pose_backbones::moganet/td-hm_moganet-xt_8xb32-210e_coco.py'
    with pytest.raises(FileNotFoundError, match=f'did you mean .*::.*{NAME}'):
        Config.fromfile(wrong)
    with pytest.raises(ConfigError, match=f'config not found: {wrong}; did '):
        load_config(wrong)


def test_install_twice_has_no_effect():
    before = Config.fromfile, Config._get_cfg_path
    config_names.install('pose_backbones', configs.resolve)
    assert (Config.fromfile, Config._get_cfg_path) == before


USE = """
import pose_backbones
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
print(pose_backbones.__file__)
named = Config.fromfile('pose_backbones::moganet/NAME')
assert get_config('pose_backbones::moganet/NAME').model == named.model
user = Config.fromfile('user.py')
assert user.model.head.out_channels == 5
init_default_scope('mmpose')
print(MODELS.build(user.model).head.final_layer.weight.shape[0])
"""


def test_wheel_contains_configs(tmp_path):
    """Install the wheel in another environment, which also has the dependencies."""
    source = shutil.copytree(
        ROOT,
        tmp_path / 'source',
        symlinks=True,
        ignore=shutil.ignore_patterns(
            '.git', '.venv*', 'data', 'work_dirs', 'docs', 'build', '*.egg-info', '__pycache__'
        ),
    )
    run = dict(check=True, capture_output=True, text=True, cwd=tmp_path)
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '-q',
            '--no-deps',
            '--no-build-isolation',
            '-w',
            tmp_path,
            source,
        ],
        **run,
    )
    (wheel,) = tmp_path.glob('pose_backbones-*.whl')
    shutil.rmtree(source)

    environment = tmp_path / 'environment'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', environment], **run)
    python = environment / 'bin/python'
    (site,) = environment.glob('lib/python*/site-packages')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', site, wheel], **run
    )
    # Packages of this environment are found after those of the new one.
    (site / 'dependencies.pth').write_text(sysconfig.get_path('purelib'))

    (tmp_path / 'user.py').write_text(
        f"_base_ = 'pose_backbones::moganet/{NAME}'\n"
        'model = dict(backbone=dict(init_cfg=None), '
        'head=dict(out_channels=5))\n'
    )
    env = tool_env()
    del env['PYTHONPATH']
    done = subprocess.run(
        [python, '-W', 'ignore', '-c', USE.replace('NAME', NAME)],
        env=env,
        **{**run, 'check': False},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(site / 'pose_backbones/__init__.py')
    assert lines[-1] == '5'
