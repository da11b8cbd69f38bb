"""Tests that project files agree with the package, its pinned requirements and its metafiles."""

import re
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pose_backbones.version import __version__
from tests.helpers.tools import ROOT


def pins(name: str) -> dict[str, set[str]]:
    """Return package → pinned versions in a requirements file."""
    versions: dict[str, set[str]] = {}
    for package, version in re.findall(r'^([\w.-]+)==([^\s;]+)', (ROOT / name).read_text(), re.M):
        versions.setdefault(package, set()).add(version)
    return versions


def required(package: str) -> set[str]:
    """Return the packages that an installed package requires here, without its extras."""
    requirements = map(Requirement, metadata.requires(package))
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({'extra': ''})
    }


def collections() -> list[dict]:
    """Return the families of the metafiles."""
    files = sorted((ROOT / 'configs').glob('*/metafile.yml'))
    return [entry for file in files for entry in yaml.safe_load(file.read_text())['Collections']]


def test_pre_commit_has_the_pinned_versions():
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    used = {pin for hook in hooks for pin in hook['additional_dependencies']}
    (version,) = pins('requirements-dev.txt')['ruff']
    assert {pin for pin in used if pin.startswith('ruff==')} == {f'ruff=={version}'}


def test_development_requirements_include_the_pinned_requirements():
    users, developers = pins('requirements.txt'), pins('requirements-dev.txt')
    both = users.keys() & developers.keys()
    assert {'jinja2', 'packaging'} <= both
    assert {name: developers[name] for name in both} == {name: users[name] for name in both}


def test_pins_are_exact():
    for name in ('requirements.txt', 'requirements-dev.txt'):
        lines = [
            line for line in (ROOT / name).read_text().splitlines() if line[:1] not in ('#', '')
        ]
        assert len(lines) > 50
        assert [line for line in lines if not re.match(r'[\w.-]+==[^\s;]+( ; .+)?$', line)] == []
    assert 'chumpy' not in pins('requirements.txt')


@pytest.mark.parametrize('package', ['mmpose', 'mmdet', 'mmcv-lite'])
def test_dependencies_include_those_of_packages_installed_without_them(package):
    """pip cannot install the dependencies of mmpose, so the package declares them."""
    if package == 'mmcv-lite' and 'mmcv' in {d.name for d in metadata.distributions()}:
        package = 'mmcv'
    left_out = {'chumpy', 'xtcocotools'}
    assert left_out <= required('mmpose')
    declared = required('pose_backbones')
    declared |= required('mmengine') | required('matplotlib')
    assert required(package) - left_out - declared == set()


def test_citation():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == __version__
    assert citation['license'] == 'Apache-2.0'
    cited = {reference['url']: reference['title'] for reference in citation['references']}
    for family in collections():
        paper = family['Paper']
        url = paper['URL'].replace('https://doi.org/10.5281/zenodo.4414861', family['Code']['URL'])
        assert cited[url] == paper['Title']
    assert all(reference['authors'] for reference in citation['references'])


@pytest.mark.parametrize('family', collections(), ids=lambda family: family['Name'])
def test_notice_names_the_source_of_each_family(family):
    assert f'Source: {family["Code"]["URL"]}\n' in (ROOT / 'NOTICE').read_text()


def test_license_is_apache_2():
    text = (ROOT / 'LICENSE').read_text()
    assert 'Apache License\n                           Version 2.0, January 2004' in text
    assert 'Copyright 2026 The pose_backbones authors' in text
    assert '[yyyy]' not in text


def test_changelog_names_what_is_deprecated():
    text = (ROOT / 'CHANGELOG.md').read_text()
    assert text.split('\n## ')[1].startswith('Unreleased')
    deprecated = text.split('### Deprecated')[1].split('###')[0]
    for path in (ROOT / 'tools').glob('*.py'):
        if 'run_module(' in path.read_text() and path.name != '_moved.py':
            assert f'`tools/{path.name}`' in deprecated
    for path in (ROOT / 'pose_backbones').rglob('*.py'):
        if path.read_text().startswith('"""Deprecated: '):
            module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
            assert f'`{module}`' in deprecated
