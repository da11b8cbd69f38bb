"""Tests of the names of models of this package and of MMPose."""

import re
from pathlib import Path

import mmpose
import pytest
from mmengine.config import Config
from mmengine.hub import get_config as get_mmengine_config

import pose_backbones
from pose_backbones.cli import flops, memory, test, train
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import config_path, find_model, find_name, get_config, list_models
from pose_backbones.zoo.mmpose import PREFERRED, mmpose_folder, read_mmpose_models
from pose_backbones.zoo.names import short_names
from tests.helpers.tools import ROOT

OWN = 'td-hm_moganet-s_8xb32-210e_coco-256x192'
#: name of a config of both packages
SHARED = 'td-hm_swin-b-p4-w7_8xb32-210e_coco-256x192'


def test_list_models():
    names = pose_backbones.list_models()
    files = {path.stem for path in (ROOT / 'configs').glob('[a-z]*/*.py')}
    assert names == sorted(files)
    assert pose_backbones.list_models('*swin-l*') == [
        'td-hm_swin-l-p4-w7_8xb32-210e_coco-256x192',
        'td-hm_swin-l-p4-w7_8xb32-210e_coco-384x288',
    ]
    assert pose_backbones.list_models('swin') == []


def test_models_of_mmpose():
    """Each config of MMPose that is not a base config has a name, which MMEngine finds, too."""
    folder = Path(mmpose.__file__).parent / '.mim'
    files = [path for path in (folder / 'configs').rglob('*.py') if '_base_' not in path.parts]
    names = list_models(source='mmpose')
    assert names == sorted(path.stem for path in files)
    assert len(names) == len(set(names)) > 400
    assert set(list_models(source='all')) == {*names, *list_models()}
    assert list_models('rtmo-s*', source='mmpose') == [
        'rtmo-s_8xb32-600e_body7-640x640',
        'rtmo-s_8xb32-600e_coco-640x640',
        'rtmo-s_8xb32-700e_crowdpose-640x640',
    ]
    name = 'rtmo-s_8xb32-600e_body7-640x640'
    expected = get_mmengine_config(f'mmpose::body_2d_keypoint/rtmo/body7/{name}.py', True)
    assert get_config(name)._cfg_dict == Config.fromfile(expected.filename)._cfg_dict
    assert find_model(name).weights == expected.model_path
    with pytest.raises(ValueError, match="source is 'mmdet': expected 'pose_backbones', 'mmpose'"):
        list_models(source='mmdet')


def test_metafiles_of_mmpose():
    models = read_mmpose_models()
    model = models['td-hm_hrnet-w32_8xb64-210e_coco-256x192']
    assert (model.task, model.data) == ('body_2d_keypoint', 'COCO')
    assert model.metrics['COCO'] == {
        'AP': 0.746, 'AP@0.5': 0.904, 'AP@0.75': 0.819, 'AR': 0.799, 'AR@0.5': 0.942
    }  # fmt: skip
    assert all(
        each.weights is None or each.weights.startswith('https://download.openmmlab.com/')
        for each in models.values()
    )
    assert sum(each.weights is not None for each in models.values()) > 350
    assert set(PREFERRED.values()) <= set(models)


def test_parts_of_a_name():
    assert find_name('moganet-s_coco-256x192') == find_name(OWN) == OWN
    assert all(find_name(name) == name for name in list_models(source='all'))
    with pytest.raises(
        ConfigError,
        match="model 'mspn-2stg_coco-256x192' is ambiguous: expected the full name, "
        'td-hm_mspn-2stg_8xb32-210e_coco-256x192 or .*-96k_',
    ):
        find_name('mspn-2stg_coco-256x192')
    with pytest.raises(ConfigError, match='ambiguous: .* dekr_hrnet-w32_.*coco-512x512 or dekr_'):
        find_name('dekr_hrnet-w32')


@pytest.mark.parametrize(
    ('family', 'short'),
    [
        ('rtmpose', {'rtmpose-t', 'rtmpose-s', 'rtmpose-m', 'rtmpose-l'}),
        ('rtmw', {'rtmw-m', 'rtmw-l'}),
        ('hrnet', {'hrnet-w32', 'hrnet-w48'}),
        ('litehrnet', {'litehrnet-18'}),
    ],
)
def test_family_of_several_sizes(family: str, short: set[str]):
    """Each config is listed, by its full name, or by the short name of its size."""
    with pytest.raises(ConfigError, match=f"'{family}' is ambiguous: expected a short na") as error:
        find_name(family)
    names, hint, _ = str(error.value).partition(f'; pose-backbones models {family} lists all')
    listed = set(re.split(', | or ', names.partition('full name, ')[2]))
    assert listed >= short
    assert {find_name(name) for name in listed} <= set(list_models(source='mmpose'))
    sizes = re.compile(rf'(?:^|_)({family}(?:-[^_]*)?)(?:_|$)', re.IGNORECASE)
    found = {name: sizes.search(name) for name in list_models(source='mmpose')}
    members = {name: match[1].lower() for name, match in found.items() if match}
    for name, size in members.items():
        assert {name, size, *short_names(name)} & listed, name
    assert bool(hint) == (len(listed) < len(members))


def test_listed_names_lead_to_the_package_that_is_searched():
    """This package has a config of one of the names, too."""
    with pytest.raises(ConfigError, match='is ambiguous: expected the full name, ') as error:
        find_model('mmpose::swin-b-p4-w7')
    names = re.split(', | or ', str(error.value).partition('full name, ')[2])
    assert f'mmpose::{SHARED}' in names
    assert {find_model(name).source for name in names} == {'mmpose'}
    with pytest.raises(ConfigError, match=rf'did you mean .*\bmmpose::{SHARED}'):
        find_model(f'mmpose::{SHARED}x')


@pytest.mark.parametrize('name', [None, Path('rtmpose-m'), 5])
def test_name_of_another_type(name: object):
    with pytest.raises(TypeError, match=re.escape(f'{name!r} is not the name of a model')):
        pose_backbones.build(name)


@pytest.mark.parametrize(
    ('name', 'source', 'pattern'),
    [
        ('MSPN', 'pose_backbones', '*_mspn-*'),
        ('uniformer', 'pose_backbones', '*_uniformer-*'),
        ('dekr_hrnet', 'mmpose', 'dekr_hrnet-*'),
    ],
)
def test_parts_without_their_size(name: str, source: str, pattern: str):
    names = list_models(pattern, source=source)
    with pytest.raises(
        ConfigError, match=f"'{name}' is ambiguous: expected the full name"
    ) as error:
        find_name(name)
    assert set(re.split(', | or ', str(error.value).partition('full name, ')[2])) == set(names)


def test_single_model_with_another_size_is_not_chosen():
    assert len(list_models('rtmpose-m_*_ap10k-*', source='mmpose')) == 1
    with pytest.raises(ConfigError, match="unknown model 'rtmpose-m_ap10k'"):
        find_name('rtmpose-m_ap10k')


def test_long_list_of_names_is_shortened():
    with pytest.raises(ConfigError, match="'mmpose::td-hm' is ambiguous") as error:
        find_name('mmpose::td-hm')
    assert str(error.value).count('td-hm_') == 20
    assert str(error.value).endswith('; pose-backbones models td-hm lists all')


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('rtmpose-m', 'rtmpose-m_8xb256-420e_body8-256x192'),
        ('RTMPose-M', 'rtmpose-m_8xb256-420e_body8-256x192'),
        ('human', 'rtmpose-m_8xb256-420e_body8-256x192'),
        ('rtmo', 'rtmo-l_16xb16-600e_body7-640x640'),
        ('ViTPose', 'td-hm_ViTPose-base-simple_8xb64-210e_coco-256x192'),
        ('wholebody', 'rtmpose-m_8xb64-270e_coco-wholebody-256x192'),
        ('hand', 'rtmpose-m_8xb256-210e_hand5-256x256'),
        ('face', 'rtmpose-m_8xb256-120e_face6-256x256'),
        ('animal', 'rtmpose-m_8xb64-210e_ap10k-256x256'),
        ('rtmo-s', 'rtmo-s_8xb32-600e_body7-640x640'),
        ('vitpose-b', 'td-hm_ViTPose-base-simple_8xb64-210e_coco-256x192'),
        ('vitpose-small_coco-256x192', 'td-hm_ViTPose-small_8xb64-210e_coco-256x192'),
        ('mmpose::hrnet-w32', 'td-hm_hrnet-w32_8xb64-210e_coco-256x192'),
        (
            'mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
            'rtmo-s_8xb32-600e_coco-640x640',
        ),
    ],
)
def test_short_names_of_mmpose(text: str, name: str):
    assert find_model(text).name == name
    assert find_model(text).source == 'mmpose'
    assert get_config(text).filename == str(read_mmpose_models()[name].config)


def test_own_model_has_priority():
    assert SHARED in list_models()
    assert SHARED in list_models(source='mmpose')
    own, other = find_model(SHARED), find_model(f'mmpose::{SHARED}')
    assert own.config.is_relative_to(ROOT)
    assert other.config.is_relative_to(mmpose_folder())
    assert find_model(f'pose_backbones::{SHARED}') == own
    assert find_name(f'mmpose::{SHARED}') == f'mmpose::{SHARED}'
    assert find_name(f'pose_backbones::{SHARED}') == SHARED
    with pytest.raises(ConfigError, match=f"unknown model 'mmpose::{OWN}'"):
        find_model(f'mmpose::{OWN}')


@pytest.mark.parametrize('function', [get_config, pose_backbones.build])
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('td-hm_moganet-s_8xb3-210e_coco-256x192', f'did you mean {OWN}'),
        ('rtmpse-m', 'did you mean rtmpose-m'),
        ('humn', 'did you mean human'),
        ('moganet-s_256', 'the 62 names of pose_backbones.list_models.. or the 4.. names of'),
        ('mmdet::rtmdet', "'mmdet::rtmdet': expected a name with pose_backbones or mmpose"),
        (
            'mmpose::nonsense/dir/rtmo-s_8xb32-600e_coco-640x640.py',
            'config not found: .*; did you mean '
            'mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
        ),
        (f'pose_backbones::x/{OWN}.py', f'did you mean pose_backbones::moganet/{OWN}.py'),
        ('mmpose::body_2d_keypoint/rtmo/none.py', "unknown model 'mmpose::body_2d_keypoint/rtmo"),
        ('configs/x.py', "'configs/x.py' is the path of a config: expected the name of a model"),
    ],
)
def test_unknown_name(function, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        function(text)


def test_path_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A name is no path, even if there is a directory of this name."""
    monkeypatch.chdir(tmp_path)
    Path('face').mkdir()
    assert config_path('face') == str(read_mmpose_models()[find_name('face')].config)
    for path in ('missing.py', 'folder/missing', str(tmp_path / 'x')):
        assert config_path(path) == path
    Path('human').write_text('')
    assert config_path('human') == 'human'


def test_tools_take_names(capsys: pytest.CaptureFixture):
    flops.main(['rtmpose-t_8xb256-420e_coco-256x192'])
    output = capsys.readouterr().out
    assert 'Input: 256x192' in output
    assert 'Params: 3.3' in output
    for main, arguments in (
        (flops.main, []),
        (memory.main, []),
        (test.main, ['weights.pth']),
        (train.main, []),
    ):
        with pytest.raises(
            ConfigError, match="unknown model 'rtmpse-m': .* did you mean rtmpose-m"
        ):
            main(['rtmpse-m', *arguments])
