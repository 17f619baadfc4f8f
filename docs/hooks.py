"""Links of the pages into the repository: what they lead to becomes part of the site.

A page may link `../config/planner.yaml`, which works where the repository is read as it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINKED = (
    'benchmark_results/*.*', 'config/*', 'msg/*', 'action/*',
    'grasp_ros/models/pretrained/*/manifest.json',
    'CHANGELOG.rst', 'LICENSE', 'NOTICE', 'QUALITY_DECLARATION.md', 'SECURITY.md', 'package.xml',
    'requirements.txt',
)
"""Files that pages may link, beside those of docs/."""
LINK = re.compile(r'(\]\()(?![a-z]+:|#|/)([^)#\s]+)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the linked files, under their paths in the repository."""
    for pattern in LINKED:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite relative links from paths in the repository to paths in the site."""
    source = page.file.src_uri
    is_ours = Path(page.file.abs_src_path or '').is_relative_to(config.docs_dir)
    folder = posixpath.dirname(f'docs/{source}' if is_ours else source)

    def rewritten(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        target = 'index.md' if target == 'README.md' else target.removeprefix('docs/')
        return link[1] + posixpath.relpath(target, posixpath.dirname(source) or '.')

    return LINK.sub(rewritten, markdown)
