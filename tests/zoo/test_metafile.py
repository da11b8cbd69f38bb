"""Tests of the metafiles against the configs and the tables of the original projects."""

import shutil
from functools import cache

import pytest
import yaml

from pose_backbones.cli import flops
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import get_config, list_models, read_families, read_models
from tests.helpers.golden_values import published_figures
from tests.helpers.tools import ROOT

MODELS = read_models()
DATA = {
    'COCO': 'CocoDataset',
    'CrowdPose': 'CrowdPoseDataset',
    'MPII': 'pose_backbones.MpiiDataset',
    'COCO-WholeBody': 'CocoWholeBodyDataset',
    'AP-10K': 'AP10KDataset',
    "any in COCO's layout": 'CocoDataset',
    'synthetic people': 'CocoDataset',
    'synthetic people (CrowdPose)': 'CrowdPoseDataset',
    'synthetic people (MPII)': 'pose_backbones.MpiiDataset',
}


@cache
def config_of(name: str):
    return get_config(name)


def start_weights(name: str) -> list:
    """URLs of the pretrained weights of the backbone or its parts."""
    backbone = config_of(name).model.backbone
    urls = [
        (backbone.get(key) or {}).get('checkpoint')
        for key in ('init_cfg', 'base_init_cfg', 'adapter_init_cfg')
    ]
    return [url for url in (*urls, backbone.get('pretrained')) if url]


def test_each_config_has_one_entry():
    names = [model.name for family in read_families() for model in family.models]
    assert sorted(names) == list_models()


@pytest.mark.parametrize('name', MODELS)
def test_entry_matches_config(name):
    model = MODELS[name]
    config = config_of(name)
    assert (ROOT / model.config).samefile(config.filename)
    assert model.config == f'configs/{model.family}/{name}.py'
    height, width = flops.input_shape(config)
    assert model.size == f'{height}x{width}'
    assert config.train_dataloader.dataset.type == DATA[model.data]
    arch = config.model.backbone.get('arch')
    if isinstance(arch, str):
        # XT is x-tiny, V2-Atto is v2-atto, S is small.
        # A suffix after a space is the variant of V2, or how HRCoMer is tested.
        short = (
            model.title.split(' ')[1]
            if ' V2' in model.title
            else model.title.split('-', 1)[-1].split(' ')[0]
        )
        assert (
            arch == short.lower() or short == ''.join(part[0] for part in arch.split('-')).upper()
        )


@pytest.mark.parametrize('name', MODELS)
def test_entry_is_complete(name):
    """Weights, results, source and licences are either all present or all missing."""
    model = MODELS[name]
    parts = model.weights, model.metrics, model.upstream, model.task
    assert all(parts) or not any(parts)
    assert ('Weights' in model.licence) == bool(model.weights)
    assert ('Backbone' in model.licence) == bool(start_weights(name))
    assert all(0.5 < value < 1 for value in model.metrics.values())
    if model.weights:
        assert model.weights.endswith('.pth')
        assert model.log.endswith('.log.json')
        assert model.upstream['FLOPs Count'] in ('layers', 'layers and attention')


def test_collections_are_complete():
    for family in read_families():
        names = {item['Name'] for item in family.collections}
        assert {model.collection for model in family.models} == names
        for item in family.collections:
            assert item['README'] == f'configs/{family.name}/README.md'
            assert item['Paper']['URL'].startswith('https://')
            assert item['Notes']


def test_non_commercial_weights_are_marked():
    for model in MODELS.values():
        assert (model.licence.get('Backbone') == 'CC-BY-NC-4.0') == any(
            'convnextv2' in str(source) for source in start_weights(model.name)
        )


def percent(metrics) -> dict[str, float]:
    return {key: round(100 * value, 1) for key, value in metrics.items()}


@pytest.mark.parametrize(('family', 'count'), [('moganet', 23), ('uniformer', 12)])
def test_all_published_results_are_included(family, count):
    """Results and URLs are those of the model or of an alternative release."""
    rows = published_figures(family)
    assert len(rows) == count
    for row in rows:
        (model,) = (
            model
            for model in MODELS.values()
            if model.metrics and (model.title, model.size) == (row['model'], row['size'])
        )
        releases = [(model.weights, model.log, model.metrics)]
        releases += [
            (other['Weights'], other['Log'], other['Metrics']) for other in model.alternatives
        ]
        (release,) = (item for item in releases if item[0] in row['urls'])
        assert release[1] in row['urls']
        assert percent(release[2]) == row['figures']
        if 'params' in row:
            assert model.upstream['Params'] == row['params']
            assert model.upstream['FLOPs'] == row['flops']


@pytest.fixture
def copy(tmp_path):
    """Directory with copies of the metafiles and model-index.yml."""
    for family in read_families():
        path = tmp_path / 'configs' / family.name / 'metafile.yml'
        path.parent.mkdir(parents=True)
        shutil.copy(family.path, path)
    shutil.copy(ROOT / 'model-index.yml', tmp_path)
    return tmp_path


def test_unknown_key_raises(copy):
    path = copy / 'configs/timm/metafile.yml'
    path.write_text(path.read_text().replace('    Input Size:', '    Input size:', 1))
    name = yaml.safe_load(path.read_text())['Models'][0]['Name']
    with pytest.raises(
        ConfigError,
        match=(
            f'timm/metafile.yml: entry {name}: missing keys: Metadata: Input Size; '
            'unknown keys: Input size'
        ),
    ):
        read_models(copy / 'configs')


URLS = ['https://a.b/x.pth', 'hf://owner/repo/x.pth@v1']


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(Weights=URLS[0]), (URLS[:1], None)),
        (dict(Weights=URLS), (URLS, None)),
        ({'Weights': URLS, 'Weights SHA256': 'a1' * 32}, (URLS, 'a1' * 32)),
        ({'Weights SHA256': 'a1' * 32}, 'Weights SHA256 without Weights'),
        (dict(Weights=[]), r'Weights is \[\]: expected a URL with https://, http://, hf://, or'),
        (dict(Weights=7), 'Weights is 7: expected a URL'),
        (dict(Weights='x.pth'), "Weights is 'x.pth': expected a URL"),
        (dict(Weights=[URLS[0], None]), 'Weights is .*None.: expected a URL'),
        (dict(Weights=URLS[:1] * 2), 'Weights is .*: expected .*a list of different ones'),
        ({'Weights': URLS, 'Weights SHA256': 'a1'}, "Weights SHA256 is 'a1': expected 64 hex"),
        ({'Weights': URLS, 'Weights SHA256': 1}, 'Weights SHA256 is 1: expected str'),
    ],
)
def test_weights_with_several_urls(copy, changes, expected):
    path = copy / 'configs/timm/metafile.yml'
    content = yaml.safe_load(path.read_text())
    entry = content['Models'][0]
    entry.pop('Weights', None)
    entry.update(changes)
    path.write_text(yaml.safe_dump(content))
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=f'entry {entry["Name"]}: {expected}'):
            read_models(copy / 'configs')
        return
    model = read_models(copy / 'configs')[entry['Name']]
    assert (list(model.release.urls), model.release.sha256) == expected
    assert model.weights == URLS[0]


def test_upstream_results_of_an_unknown_model_raise(copy):
    path = copy / 'configs/mspn/metafile.yml'
    name = 'td-hm_mspn-1stg_8xb32-96k_coco-256x192'
    path.write_text(path.read_text().replace(f'    {name}:', '    other:', 1))
    with pytest.raises(
        ConfigError,
        match=(
            'mspn/metafile.yml: Upstream Results of other: expected '
            'names of Models in the same file'
        ),
    ):
        read_models(copy / 'configs')


def test_upstream_results_are_of_models_without_weights():
    stated = [model for model in MODELS.values() if model.stated]
    assert any(model.family == 'mspn' for model in stated)
    for model in stated:
        assert not model.weights
        assert all(
            0.5 < value < 1 for metrics in model.stated.values() for value in metrics.values()
        )


def test_format_is_that_of_openmmlab(copy):
    """The tools of OpenMMLab read names, configs, and lists of results."""
    for family in read_families(copy / 'configs'):
        content = yaml.safe_load(family.path.read_text())
        assert set(content) == {'Collections', 'Models'}
        for entry in content['Models']:
            for result in entry.get('Results', []):
                assert set(result) == {'Task', 'Dataset', 'Metrics'}
                assert result['Dataset'] == entry['Metadata']['Training Data']
