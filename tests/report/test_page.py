"""Tests of the report page: contents, input files and errors."""

import json
import re
import shutil
from itertools import pairwise

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from pose_backbones.cli.report import main
from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.report.page import make_report, render
from pose_backbones.report.run_files import find_sources
from tests.helpers.report_cases import AREA, NAMES, POSE, SIGMAS, Case, Page
from tests.helpers.tools import ROOT, run_tool

UNSAFE_NAME = '<img src=x onerror=alert(1)> & "it\'s".jpg'


@pytest.fixture
def case():
    """Create two images, one person detected and one missed; the second has an unusual name."""
    case = Case()
    for number, name in enumerate(['plain.jpg', UNSAFE_NAME]):
        image = case.image(name)
        points = case.person(image, POSE + 50)
        if number == 0:
            case.predict(image, points + 1)
    return case


@pytest.fixture
def images(tmp_path, case):
    folder = tmp_path / 'images'
    folder.mkdir()
    _, jpeg = cv2.imencode('.jpg', np.full((500, 900, 3), 90, np.uint8))
    for image in case.images:
        folder.joinpath(image['file_name']).write_bytes(jpeg.tobytes())
    return folder


def report(case, folder, *options) -> Page:
    results, truth = case.write(folder)
    out = folder / 'page.html'
    main([results, '--ann', truth, '--out', str(out), '--overwrite', *map(str, options)])
    return Page(out.read_text(encoding='utf-8'))


def test_page_is_self_contained(case, images, tmp_path):
    page = report(case, tmp_path, '--images', images)
    assert page.all('script') == []
    urls = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ('src', 'href', 'srcset', 'xlink:href')
    ]
    assert len(urls) > 10
    assert all(url.startswith(('data:', '#')) for url in urls)
    (style,) = [words for words in page.words if ':root' in words]
    assert '@import' not in style
    assert 'url(' not in style
    images_on_page = page.all('img')
    assert len(images_on_page) == 4  # two images, twice
    assert all(image['alt'] for image in images_on_page)
    assert all((image['width'], image['height']) == ('560', '311') for image in images_on_page)


def test_names_are_escaped(case, images, tmp_path):
    title = '<script>alert(1)</script> & "x"'
    page = report(case, tmp_path, '--images', images, '--title', title)
    assert page.all('script') == []
    assert len(page.all('img')) == 4
    assert page.all('img')[0]['alt'] == f'{UNSAFE_NAME}, annotations'
    oks = np.exp(-2 / (2 * AREA * (2 * SIGMAS) ** 2)).mean()
    assert page.tables['worst'][1:] == [
        [UNSAFE_NAME, '0.000', '1', '1', '0'],
        ['plain.jpg', f'{oks:.3f}', '1', '0', '0'],
    ]
    assert page.words.count(title) == 2  # title and heading


def test_page_is_accessible(case, tmp_path):
    page = report(case, tmp_path)
    assert page.all('html') == [{'lang': 'en'}]
    levels = [tag for tag, _ in page.elements if re.fullmatch('h[1-6]', tag)]
    assert levels[0] == 'h1'
    assert levels.count('h1') == 1
    assert all(int(b[1]) - int(a[1]) <= 1 for a, b in pairwise(levels))
    assert len(page.all('caption')) == len(page.all('table'))
    assert {th['scope'] for th in page.all('th')} == {'row', 'col'}
    charts = page.all('svg')
    assert len(charts) >= 8
    for chart in charts:
        assert chart['role'] == 'img'
        assert len(chart['aria-label']) > 20
    ids = [attributes['id'] for _, attributes in page.elements if 'id' in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all('a'):
        assert link['href'][1:] in ids


def test_values_on_the_page(case, tmp_path):
    page = report(case, tmp_path)
    coco = {row[0]: row[1] for row in page.tables['coco'][1:]}
    # One of two people is detected: precision 1 up to a recall of one half.
    assert coco['AP'] == f'{51 / 101:.3f}'
    assert coco['AR'] == '0.500'
    assert coco['AP (L)'] == f'{51 / 101:.3f}'
    assert coco['AP (M)'] == 'n/a'
    assert page.tables['by-size'][1] == ['96 to 192', '2', '0.505', '0.505', '0.505', '0.500']
    assert [row[0] for row in page.tables['keypoints'][1:]] == [
        name.replace('_', ' ') for name in NAMES
    ]
    hip = page.tables['keypoints'][1 + NAMES.index('left_hip')]
    assert hip[1:2] + hip[3:] == ['1', '1.4', '0.0', '0.0', '0.0', '0.0']
    assert page.tables['missed'][-2:] == [['not found', '1'], ['total', '1']]
    assert page.tables['false'][-1] == ['total', '0', '0']
    assert page.tables['repairs'][1][:2] == ['uncorrected', '0.505']
    assert page.tables['reliability'][10][:3] == ['0.9 to 1.0', '1', '0.900']
    assert 'No example images: the folder of the images is not known' in page.text
    assert '1 of 2 images have no predictions.' in page.text
    assert 'no training log' in page.text


def test_worst_image_is_first(images, tmp_path):
    case = Case()
    for number in range(3):
        image = case.image('plain.jpg')
        points = case.person(image, POSE + 50)
        case.predict(image, points, 0.5)
        if number == 1:  # a detection without a person
            case.predict(image, POSE + 5000, 0.9)
        if number == 2:  # the same, with a score below the best threshold
            case.predict(image, POSE + 5000, 0.1)
    page = report(case, tmp_path, '--images', images)
    assert [row[1:] for row in page.tables['worst'][1:]] == [
        ['0.500', '1', '0', '1'],
        *[['1.000', '1', '0', '0']] * 2,
    ]
    assert len(page.all('img')) == 6  # each of the three images once


def test_missing_images_are_listed(case, images, tmp_path):
    images.joinpath('plain.jpg').unlink()
    images.joinpath(UNSAFE_NAME).write_bytes(b'no image')
    shutil.copy(__file__, images / 'other.jpg')
    page = report(case, tmp_path, '--images', images)
    assert page.all('img') == []
    assert f'2 images of 2 in {images} cannot be read' in page.text
    assert UNSAFE_NAME in page.text
    page = report(case, tmp_path, '--images', images, '--examples', 0)
    assert 'No example images were requested.' in page.text


def test_page_without_results(case, tmp_path):
    case.results.clear()
    page = report(case, tmp_path)
    assert 'The results are empty' in page.text
    assert page.tables['coco'][1][:2] == ['AP', '0.000']
    assert page.tables['missed'][-1] == ['total', '2']


def test_custom_keypoints(tmp_path):
    case = Case(('tip_left', 'tip_right', 'tail', 'fin_left', 'fin_right'))
    image = case.image()
    points = case.person(image, POSE[:5] * 4)
    case.predict(image, points[[1, 0, 2, 3, 4]])
    page = report(case, tmp_path)
    rows = {row[0]: row[1:] for row in page.tables['keypoints'][1:]}
    assert list(rows) == ['tip left', 'tip right', 'tail', 'fin left', 'fin right']
    assert rows['tip left'][-3:] == ['100.0', '0.0', '0.0']  # inversion
    assert rows['fin left'][-4:] == ['0.0'] * 4
    assert '.05 for others' in page.text


META = """
dataset_info = dict(
    dataset_name='fish', keypoint_info={{
        0: dict(name='a', id=0, swap='', type='', color=[0, 0, 0]),
        1: dict(name='b', id=1, swap='{swap}', type='', color=[0, 0, 0]),
        2: dict(name='c', id=2, swap='{back}', type='', color=[0, 0, 0])}},
    skeleton_info={{0: dict(link=('a', 'b'), id=0, color=[0, 0, 0])}},
    joint_weights=[1.] * 3, sigmas=[.1, .2, .3])
"""


def test_metainfo_option(tmp_path):
    case = Case(('x', 'y', 'z'))
    image = case.image()
    points = case.person(image, POSE[[0, 9, 15]])
    case.predict(image, points[[0, 2, 1]])
    meta = tmp_path / 'fish.py'
    meta.write_text(META.format(swap='c', back='b'))
    page = report(case, tmp_path, '--metainfo', meta)
    joints = page.tables['keypoints'][1:]
    assert [row[0] for row in joints] == ['a', 'b', 'c']
    assert [row[5] for row in joints] == ['0.0', '100.0', '100.0']
    facts = dict(page.tables['facts'][1:])
    assert facts['sigmas'] == f'{meta}: a 0.100, b 0.200, c 0.300'
    meta.write_text(META.format(swap='', back=''))
    page = report(case, tmp_path, '--metainfo', meta)
    assert [row[5] for row in page.tables['keypoints'][1:]] == ['0.0'] * 3


CONFIG = """
default_scope = 'mmpose'
test_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root='{folder}', ann_file='truth.json',
    data_prefix=dict(img='images/')))
test_evaluator = [dict(type='CocoMetric', ann_file='{folder}/truth.json',
                       outfile_prefix='{prefix}')]
"""


def work_dir(case, folder):
    """Create the work directory of a training run followed by a test."""
    case.write(folder)
    work = folder / 'work'
    logs = work / '20240101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    logs.joinpath('scalars.json').write_text(
        '\n'.join(
            map(
                json.dumps,
                [
                    dict(step=10, loss=3.0, acc_pose=0.2),
                    dict(step=20, loss=1.5, acc_pose=0.7),
                    {'step': 10, 'coco/AP': 0.1},
                    {'step': 20, 'coco/AP': 0.45},
                    dict(step=30, loss=float('nan'), acc_pose=0.8),
                ],
            )
        )
    )
    test = work / 'test'
    test.mkdir()
    test.joinpath('config.py').write_text(CONFIG.format(folder=folder, prefix=work / 'predictions'))
    shutil.move(folder / 'results.json', work / 'predictions.keypoints.json')
    return work


@pytest.mark.parametrize('start', ['', 'test', 'predictions.keypoints.json'])
def test_files_are_found_from_a_work_dir(case, images, tmp_path, start):
    work = work_dir(case, tmp_path)
    out = tmp_path / 'out' / 'page.html'
    main([str(work / start), '--out', str(out)])
    page = Page(out.read_text(encoding='utf-8'))
    facts = dict(page.tables['facts'][1:])
    assert facts['results'] == str(work / 'predictions.keypoints.json')
    assert facts['annotations'] == str(tmp_path / 'truth.json')
    assert facts['images'] == str(images)
    assert facts['training logs'] == str(work)
    assert 'CocoDataset of the config' in facts['sigmas']
    assert len(page.all('img')) == 4
    assert [line['class'] for line in page.all('polyline')] == [
        'line dash-0',
        'line dash-1',
        'line dash-2',
        'line',
        'line',
        'line',
    ]
    assert 'Loss on training images; last value 1.5.' in page.words
    assert 'coco/AP on validation images; last value 0.45.' in page.words


def test_truncated_log(case, tmp_path):
    work = work_dir(case, tmp_path)
    log = next(work.glob('*/vis_data/scalars.json'))
    log.write_text(log.read_text() + '\n{"step": 40, "lo')
    main([str(work), '--out', str(tmp_path / 'page.html')])
    page = Page((tmp_path / 'page.html').read_text(encoding='utf-8'))
    assert 'The training log cannot be read' in page.text


def test_tool(case, tmp_path):
    results, truth = case.write(tmp_path)
    out = tmp_path / 'page.html'
    out.touch()
    arguments = [results, '--ann', truth, '--out', str(out)]
    with pytest.raises(
        WorkDirError, match='choose another name with --out, or replace it with --overwrite'
    ):
        main(arguments)
    done = run_tool('report.py', *arguments, '--overwrite')
    assert done.returncode == 0, done.stdout
    assert f'AP 0.505, AR 0.500; wrote {out}' in done.stdout


def test_output_is_atomic_and_not_overwritten(case, tmp_path):
    results, truth = case.write(tmp_path)
    out = tmp_path / 'page.html'
    out.write_text('mine')
    sources = find_sources(results, truth)
    with pytest.raises(WorkDirError, match='already exists'):
        make_report(sources, str(out))
    assert out.read_text() == 'mine'
    with pytest.raises(ValueError, match='examples=-1: expected a number'):
        make_report(sources, str(tmp_path / 'x.html'), examples=-1)
    make_report(sources, str(out), overwrite=True)
    assert out.read_text().startswith('<!DOCTYPE html>')
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        'page.html',
        'results.json',
        'truth.json',
    ]


def _other_images(case):
    case.results[0]['image_id'] = 77


def _fewer_points(case):
    del case.results[0]['keypoints'][3:]


def _nan(case):
    case.results[0]['keypoints'][0] = float('nan')


def _score_as_text(case):
    case.results[0]['score'] = 'high'


def _no_score(case):
    del case.results[0]['score']


def _category(case):
    case.results[0]['category_id'] = 3


def _no_labels(case):
    for person in case.people:
        person['keypoints'] = [0] * 51


def _no_box(case):
    del case.people[1]['bbox']


def _short_labels(case):
    case.people[1]['keypoints'] = [1, 1, 2]


def _nowhere(case):
    case.people[1]['image_id'] = 9


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            _other_images,
            r'results.json: result at index 0, of image 77, has the image_id 77: expected the id '
            r'of an image of .*truth.json: use the annotations of the same',
        ),
        (
            _fewer_points,
            'result at index 0, of image 1, has 3 numbers in keypoints: expected 51, .* of the ann',
        ),
        (_nan, 'cannot read the results .* it contains NaN, which is not valid JSON'),
        (
            _score_as_text,
            "result at index 0, of image 1, has the score 'high': expected a finite number",
        ),
        (_no_score, 'result at index 0, of image 1, has no score: expected a finite number'),
        (_category, r'the category_id 3: expected the id of a category of .*truth.json'),
        (_no_labels, 'no annotation has a labelled keypoint'),
        (_no_box, 'annotation 2 has no bbox: expected '),
        (_short_labels, 'annotation 2 has 3 numbers in keypoints: expected 51'),
        (_nowhere, "annotation 2 has the image_id 9: expected the id of an entry of 'images'"),
    ],
)
def test_invalid_contents_raise(case, tmp_path, change, message):
    change(case)
    with pytest.raises(DatasetError, match=message):
        report(case, tmp_path)
    assert not (tmp_path / 'page.html').exists()


def test_invalid_files_raise(case, tmp_path):
    results, truth = case.write(tmp_path)
    out = ['--out', str(tmp_path / 'page.html')]
    broken = tmp_path / 'broken.json'
    broken.write_text('[{')
    empty = tmp_path / 'empty'
    empty.mkdir()
    for arguments, kind, message in (
        ([results], ConfigError, 'no annotations: expected --ann FILE'),
        (['none.json'], DatasetError, 'none.json does not exist: expected a '),
        ([str(empty)], ConfigError, 'has no results, .*outfile_prefix='),
        ([results, '--ann', 'no.json'], DatasetError, 'the annotations no.json do not exist$'),
        (
            [results, '--ann', results],
            DatasetError,
            'results.json is not a COCO annotations file: the top level has the type list',
        ),
        ([str(broken), '--ann', truth], DatasetError, 'cannot read the results .*broken.json'),
        ([truth, '--ann', truth], DatasetError, 'is not a COCO results file'),
        (
            [results, '--ann', truth, '--images', 'no'],
            DatasetError,
            '--images no: there is no such directory',
        ),
        (
            [results, '--ann', truth, '--logs', 'no'],
            DatasetError,
            '--logs no: there is no such directory',
        ),
        (
            [results, '--ann', truth, '--metainfo', 'no.py'],
            DatasetError,
            '--metainfo no.py is not a description of a dataset',
        ),
        (
            [results, '--ann', truth, '--examples', '-2'],
            ConfigError,
            '--examples -2: expected a number of at least 0',
        ),
    ):
        with pytest.raises(kind, match=message):
            main([*arguments, *out])
    with pytest.raises(ConfigError, match='--out p.pdf: expected the name'):
        main([results, '--ann', truth, '--out', 'p.pdf'])
    for name in ('a', 'b'):
        shutil.copy(results, empty / f'{name}.keypoints.json')
    with pytest.raises(ConfigError, match=r'several results \(a\.keypoints'):
        main([str(empty), '--ann', truth, *out])
    assert not (tmp_path / 'page.html').exists()


def test_missing_annotations_of_the_config_raise(case, images, tmp_path):
    work = work_dir(case, tmp_path)
    (tmp_path / 'truth.json').unlink()
    with pytest.raises(
        DatasetError, match=r'truth.json do not exist \(from the config\): pass the file with --ann'
    ):
        main([str(work), '--out', str(tmp_path / 'page.html')])


def test_annotations_disable_the_config_search(case, tmp_path):
    tmp_path.joinpath('mine.py').write_text('raise Wrong  # test_evaluator')
    assert report(case, tmp_path).tables['coco'][1][1] == '0.505'
    with pytest.raises(ConfigError, match=r'config unreadable: .*mine\.py'):
        main([str(tmp_path / 'results.json'), '--out', str(tmp_path / 'new.html')])


def test_annotations_of_crowds_only_raise(tmp_path):
    case = Case()
    image = case.image()
    case.predict(image, case.person(image, POSE, crowd=1))
    with pytest.raises(DatasetError, match='all annotations with labelled keypoints are crowd reg'):
        report(case, tmp_path)


def test_people_of_a_size_that_nobody_has(tmp_path):
    """Their metrics are undefined."""
    case = Case()
    image = case.image()
    case.predict(image, case.person(image, POSE))
    page = report(case, tmp_path)
    rows = {row[0]: row[1] for row in page.tables['coco'][1:]}
    assert (rows['AP (M)'], rows['AR (M)'], rows['AP (L)']) == ('n/a', 'n/a', '1.000')


def test_deprecated_option_name(case, images, tmp_path):
    with pytest.warns(DeprecationWarning, match='--pictures is now called --examples'):
        page = report(case, tmp_path, '--images', images, '--pictures', 1)
    assert len(page.all('img')) == 4  # one of the worst, one of the best


def test_undefined_template_variable_raises():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render({'notes': []})


def test_template_and_style_sheet_are_package_data(monkeypatch):
    """setuptools collects both as data files of the package."""
    from distutils.core import run_setup

    import setuptools  # noqa: F401  (provides distutils)

    monkeypatch.chdir(ROOT)
    distribution = run_setup('setup.py', stop_after='config')
    distribution.include_package_data = False  # otherwise it writes an egg-info folder
    build = distribution.get_command_obj('build_py')
    build.ensure_finalized()
    files = {f'{source}/{name}' for _, source, _, names in build.data_files for name in names}
    templates = 'pose_backbones/report/templates'
    assert {f'{templates}/report.html.j2', f'{templates}/report.css'} <= files
