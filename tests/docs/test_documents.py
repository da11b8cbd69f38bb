"""Tests of the documents that are generated from the metafiles."""

import re
import shutil

import pytest
from PIL import Image

from make_model_zoo import documents, main, make, stale
from model_zoo import figure
from model_zoo.documents import BEGIN, END, replace_summary
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import read_families, read_models
from tests.helpers.tools import ROOT, run_tool

NAME = 'td-hm_moganet-s_8xb32-210e_coco-256x192'


@pytest.fixture
def copy(tmp_path):
    """Directory with copies of the documents and metafiles."""
    for path in ('README.md', 'model-index.yml', 'docs', 'configs'):
        source = ROOT / path
        if source.is_dir():
            shutil.copytree(source, tmp_path / path)
        else:
            shutil.copy(source, tmp_path / path)
    return tmp_path


def test_documents_are_up_to_date():
    """If this test fails, run python docs/scripts/make_model_zoo.py."""
    assert stale(ROOT) == []


def test_changed_metafile_makes_documents_out_of_date(copy, capsys):
    """Only documents that show the changed value are out of date, and the tool updates them."""
    # The documents link to the code.
    (copy / 'pose_backbones').symlink_to(ROOT / 'pose_backbones')
    main(['--check'], copy)
    assert 'all documents' in capsys.readouterr().out
    path = copy / 'configs/moganet/metafile.yml'
    before, start, after = path.read_text().partition(f'- Name: {NAME}\n')
    path.write_text(before + start + after.replace('AP: 0.749', 'AP: 0.987', 1))
    with pytest.raises(ConfigError, match='^out of date: ') as error:
        main(['--check'], copy)
    # 98.7 is also the best value of the family.
    for name in (
        'configs/moganet/README.md',
        'docs/model_zoo.md',
        'README.md',
        'docs/model_zoo.png',
    ):
        assert name in str(error.value)
    assert 'uniformer' not in str(error.value)
    assert '98.7' not in (copy / 'README.md').read_text()
    main([], copy)
    for name in ('configs/moganet/README.md', 'docs/model_zoo.md', 'README.md'):
        assert '98.7' in (copy / name).read_text()
    main(['--check'], copy)


def test_figure_of_other_data_is_out_of_date(copy):
    image = copy / 'docs/model_zoo.png'
    families = read_families(copy / 'configs')
    figure.draw(figure.points(families)[1:], image)
    assert image in stale(copy)
    Image.new('RGB', (4, 4)).save(image)
    assert figure.shown_digest(image) is None
    assert image in make(copy)
    assert image not in stale(copy)


def test_figure_has_a_marker_for_each_result():
    data = figure.points(read_families())
    models = read_models().values()
    assert len(data) == sum(bool(model.metrics) for model in models) == 29
    assert ('UniFormer', 'UniFormer-B', '256x192', 9.225, 75.0) in data
    path = ROOT / 'docs/model_zoo.png'
    assert path.stat().st_size < 100_000
    with Image.open(path) as image:
        assert image.size == (800, 500)


def test_check_option_and_exclusive_options():
    done = run_tool('make_model_zoo.py', '--check')
    assert done.returncode == 0, done.stdout
    done = run_tool('make_model_zoo.py', '--check', '--measure')
    assert done.returncode == 2
    assert '--check and --measure exclude each other' in done.stdout


def test_outside_a_checkout_raises(tmp_path):
    with pytest.raises(ConfigError, match='has no model-index.yml: expected a checkout'):
        main(['--check'], tmp_path)


@pytest.mark.parametrize(
    'text',
    ['no table', f'{BEGIN}', f'{END} {BEGIN}', f'{BEGIN} {BEGIN} {END}', f'{BEGIN} {END} {END}'],
)
def test_readme_without_markers_raises(text):
    with pytest.raises(ConfigError, match='README.md: expected <!-- models'):
        replace_summary(text, read_families())


def test_only_the_table_of_the_readme_is_replaced():
    text = replace_summary(f'before {BEGIN} old {END} after', read_families())
    assert text.startswith(f'before {BEGIN}\n| family')
    assert text.endswith(f'|\n{END} after')
    assert 'old' not in text


def test_links_exist_and_table_rows_have_equal_length():
    for path, text in documents(ROOT).items():
        for target in re.findall(r'\]\(((?!https?:)[^)#]+)', text):
            assert (path.parent / target).exists(), (path, target)
        for block in re.findall(r'(?:^\|.*\n)+', text, re.M):
            counts = {len(re.findall(r'(?<!\\)\|', line)) for line in block.splitlines()}
            assert len(counts) == 1, block


def test_table_has_measured_and_stated_values():
    """Values of the source are in brackets, and attention is listed separately."""
    text = (ROOT / 'configs/uniformer/README.md').read_text()
    model = read_models()['td-hm_uniformer-b_8xb32-210e_coco-384x288']
    (row,) = (line for line in text.splitlines() if model.name in line)
    assert row.split(' | ')[1:8] == [
        '384x288',
        '53.46 (53.5)',
        '19.66 + 2.47 (14.8)',
        '76.7',
        '90.8',
        '84.1',
        '81.9',
    ]
    assert model.weights in row
    assert model.explanation in text
    for other in model.alternatives:
        assert other['Weights'] in text
