"""What to cite, as text for the terminal."""

from __future__ import annotations

import textwrap

from bayesnu.results.cite import Citation

WIDTH = 100


def citation_text(found: Citation) -> str:
    """Return a citation as paragraphs: bayesnu, its programs, the paper of the analysis, its data, and BibTeX."""
    parts = [found.bibtex, "\n".join(_item(f"{name}: {reference}") for name, reference in found.programs)]
    if found.model:
        parts.append(_item(f"Analysis ({found.model}, {found.title}): {found.paper}"))
    names: dict[str, dict[str, None]] = {}
    for source in found.sources:
        names.setdefault(source.text, {})[source.name] = None
    for text, files in names.items():
        told = text or "your own; cite where it is from."
        parts.append(_item(f"{', '.join(files)}: {told}"))
    if found.published:
        parts.append(_item(f"Limits compared with: {'; '.join(found.published)}"))
    parts += found.entries
    return "\n\n".join(parts)


def _item(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
