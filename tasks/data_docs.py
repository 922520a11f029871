"""Data Docs that ask nobody for anything: Great Expectations writes pages that load styles, scripts and a counted logo from
seven other sites, and four megabytes of fonts and moving pictures that no page shows.
"""

import html
import re
import shutil
from pathlib import Path

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
body { margin: 0 auto; padding: 16px; max-width: 1100px; font: 15px/1.5 system-ui, "Noto Sans CJK SC", sans-serif; }
table { border-collapse: collapse; margin: 8px 0; } th, td { border: 1px solid #cbd5dc; padding: 4px 8px; text-align: left; }
.modal, .d-none, footer, nav button, #ge-cta-footer { display: none; } .alert { padding: 4px 8px; background: #f5f7f9; }
@media (prefers-color-scheme: dark) { body { color: #e4e9ee; background: #161c22; } .alert { background: #1e262e; } }
"""
HEAD = f'<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
_ELSEWHERE = re.compile(r"""<(?:link|img)\b[^>]*?(?:href|src)=["']?[^"'>]*//[^>]*>""", re.IGNORECASE)
_ICON = re.compile(r"<link\b[^>]*static/[^>]*>", re.IGNORECASE)
_ADVERTS = re.compile(r"""href=["']https?://[^"']*["']|(?:background:\s*)?url\(\s*['"]?https?://[^)]*\)[^;}]*;?""")


def make_local(docs: Path) -> None:
    """Strip every page below `docs` of what it would load, and forbid the browser the rest; write a plain index."""
    shutil.rmtree(docs / "static", ignore_errors=True)
    (docs / "index.html").unlink(missing_ok=True)
    pages = sorted(docs.rglob("*.html"))
    for page in pages:
        page.write_text(_local(page.read_text(encoding="utf-8")), encoding="utf-8")
    links = "\n".join(
        f'<li><a href="{html.escape(name)}">{html.escape(name.split("/")[0])}: {html.escape(name.split("/")[1])}</a></li>'
        for name in (page.relative_to(docs).as_posix() for page in pages)
    )
    (docs / "index.html").write_text(
        f"<!DOCTYPE html>\n<html>{HEAD}<style>{STYLE}</style><title>Data Docs</title></head>\n"
        f"<body><h1>Data Docs</h1>\n<ul>\n{links}\n</ul></body></html>\n",
        encoding="utf-8",
    )


def _local(page: str) -> str:
    for pattern in (_SCRIPT, _ELSEWHERE, _ICON, _ADVERTS):
        page = pattern.sub("", page)
    return page.replace("<head>", HEAD, 1).replace("</head>", f"<style>{STYLE}</style></head>", 1)
