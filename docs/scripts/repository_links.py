"""MkDocs hook that adds pages for files of the repository outside of docs/.

The Markdown files in docs/ link to such files with relative paths (`../configs/…`), which work on
GitHub. In the site, each linked Markdown file becomes a page, and each other linked file becomes a
page that shows its text. These pages are in `repository/`. Links in them are followed as well.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PREFIX = 'repository/'
#: pages of the navigation that may have no links from other pages
ENTRIES = ('CONTRIBUTING.md', 'CHANGELOG.md')

#: matches code, which contains no links, or the target of a link
_LINK = re.compile(
    r'(?P<code>^(?P<fence>```+).*?^(?P=fence)|``[^\n]+?``|`[^`\n]+`)'
    r'|(?P<start>\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<end>\))',
    re.DOTALL | re.MULTILINE,
)


def _repository_path(target: str, source: str) -> str | None:
    """Return the path of a link target relative to the repository root, or None for a URL.

    Args:
        target: Target of the link, relative to `source`.
        source: Path of the file that contains the link, relative to the repository root.

    Raises:
        PluginError: If the target does not exist.
    """
    if re.match(r'[a-z]+:', target):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if (ROOT / path).is_dir():
        path = f'{path}/README.md'
    if path.startswith('../') or not (ROOT / path).is_file():
        raise PluginError(f'{source}: the target of the link {target} does not exist')
    return path


def _site_path(path: str) -> str:
    """Return the source path in the site of a file of the repository."""
    if path.startswith('docs/'):
        return path.removeprefix('docs/')
    return f'{PREFIX}{path}' if path.endswith('.md') else f'{PREFIX}{path}.md'


def _source_of(site_path: str) -> str:
    """Return the inverse of `_site_path`."""
    path = site_path.removeprefix(PREFIX)
    if path == site_path:
        return f'docs/{path}'
    return path if (ROOT / path).is_file() else path.removesuffix('.md')


def _markdown(path: str) -> str:
    """Return the content of the page for a file outside of docs/."""
    text = (ROOT / path).read_text(encoding='utf-8')
    if path.endswith('.md'):
        return text
    suffix = Path(path).suffix.removeprefix('.') or 'text'
    language = {'yml': 'yaml', 'sh': 'bash', 'ipynb': 'json', 'txt': 'text'}.get(suffix, suffix)
    return f'# `{path}`\n\n````{language}\n{text.rstrip()}\n````\n'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside of docs/ that a page links to."""
    waiting = [f'docs/{file.src_uri}' for file in files.documentation_pages()]
    waiting += ENTRIES
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        if not source.startswith('docs/'):
            content = _markdown(source)
            files.append(File.generated(config, _site_path(source), content=content))
        if not source.endswith('.md'):
            continue
        for match in _LINK.finditer((ROOT / source).read_text(encoding='utf-8')):
            path = match['target'] and _repository_path(match['target'], source)
            if path and path not in seen and not path.startswith('docs/'):
                seen.add(path)
                waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace links to files of the repository with links to their pages."""
    here = page.file.src_uri
    source = _source_of(here)
    if not source.endswith('.md'):
        return markdown

    def replace(match: re.Match[str]) -> str:
        path = match['target'] and _repository_path(match['target'], source)
        if not path:
            return match[0]
        link = posixpath.relpath(_site_path(path), posixpath.dirname(here))
        return f'{match["start"]}{link}{match["anchor"] or ""}{match["end"]}'

    return _LINK.sub(replace, markdown)
