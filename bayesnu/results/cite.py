"""What to cite: bayesnu, the analysis of a card, and the sources of the data that it or a run used."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bayesnu
from bayesnu.errors import DataError
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux import reactor, stopped_pion
from bayesnu.resources import data_folder, read_manifest
from bayesnu.results.comparison import read_published
from bayesnu.results.runs import read_record
from bayesnu.shown import Shown

BIBTEX = """@software{{bayesnu,
  author  = {{{{the bayesnu authors}}}},
  title   = {{bayesnu: Bayesian inference on the electromagnetic properties of neutrinos}},
  version = {{{version}}},
}}"""
SAMPLER = (
    ("PyMC", "O. Abril-Pla et al., PeerJ Comput. Sci. 9 (2023) e1516, doi 10.7717/peerj-cs.1516"),
    ("ArviZ", "R. Kumar et al., J. Open Source Softw. 4 (2019) 1143, doi 10.21105/joss.01143"),
)
"""The programs whose draws and diagnostics every posterior by NUTS has."""
REFERENCE = re.compile(r"(?:arXiv:|doi )?\b(?:\d{4}\.\d{4,5}|hep-(?:ex|ph)/\d{7}|10\.\d{4,9}/[^\s,);]*[^\s,);.])")


SPECTRA = {"reactor": reactor.SOURCE, "stopped_pion": stopped_pion.SOURCE}
"""Sources of the neutrino spectra that a card asks for by a table of its own, by that table."""


@dataclass(frozen=True)
class DataSource:
    """Where one input came from.

    Attributes
    ----------
    role : str
        The card's key that names it.
    name : str
        Relative to the shipped data, or the path of a file of the user's own; "spectra" for those of the program.
    sha256 : str
        Of the file; empty for spectra.
    text : str
        What SOURCE.md of its folder says; empty for a file of the user's own without one.
    references : tuple of str
        arXiv numbers and DOIs in that text, in order.
    """

    role: str
    name: str
    sha256: str
    text: str
    references: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Citation(Shown):
    """What to cite for an analysis.

    Attributes
    ----------
    version : str
        Of bayesnu.
    bibtex : str
        The entry of bayesnu.
    programs : tuple of (str, str)
        Name and reference of the programs that sample and judge the draws.
    model, title, paper : str
        Of the card; empty without one.
    sources : tuple of DataSource
        Of every data file that the card or the run read.
    published : tuple of str
        Sources of the shipped limits that stand beside the results.
    entries : tuple of str
        BibTeX of every arXiv number and DOI among these, the card's own first: what the number itself tells, its year
        and address, and the card's words. Authors and titles are not known here.
    """

    version: str
    bibtex: str
    programs: tuple[tuple[str, str], ...]
    model: str
    title: str
    paper: str
    sources: tuple[DataSource, ...]
    published: tuple[str, ...]
    entries: tuple[str, ...] = ()


def cite(analysis: str | None = None) -> Citation:
    """Return what to cite.

    Parameters
    ----------
    analysis : str, optional
        A name in models/, the path of a card, or a run folder; bayesnu alone by default.

    Raises
    ------
    BayesnuError
        If it is none of these.
    """
    card: dict[str, Any] = {"name": "", "title": "", "source": {"paper": ""}, "couplings": {}}
    inputs: dict[str, tuple[str, str]] = {}
    if analysis is not None and (Path(analysis) / "run.json").exists():
        record = read_record(Path(analysis))
        card = record["card"]
        folder = record["card_folder"]
        beside = None if folder is None else Path(analysis) / folder
        inputs = {
            role: (os.path.normpath(beside / item["file"]) if beside else item["file"], item["sha256"])
            for role, item in record["inputs"].items()
        }
    elif analysis is not None:
        experiment = load_experiment(analysis)
        card = experiment.card.model_dump()
        inputs = {
            role: (str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for role, path in experiment.files.items()
        }
    read = [_source(role, name, digest) for role, (name, digest) in inputs.items() if role.split(": ")[-1] != "card"]
    cards = card.get("cards", {"": card}).values()
    computed = [_spectra(role, text) for role, text in SPECTRA.items() if any(own.get(role) for own in cards)]
    sources = (*computed, *read)
    table = next((data_folder() / s.name for s in sources if s.role == "comparison.published" and s.text), None)
    rows = [] if table is None else read_published(table)
    compared = tuple(dict.fromkeys(row.source for row in rows if row.coupling in card["couplings"]))
    paper = card["source"]["paper"]
    return Citation(
        bayesnu.__version__,
        BIBTEX.format(version=bayesnu.__version__),
        SAMPLER,
        card["name"],
        card["title"],
        paper,
        sources,
        compared,
        bibtex_entries(paper, [*(text for source in sources for text in source.references), *compared]),
    )


def bibtex_entries(paper: str, others: Sequence[str]) -> tuple[str, ...]:
    """Return a BibTeX entry for each arXiv number and DOI of a card's paper, with its words as note, and of others.

    The year is that of the arXiv number; a DOI tells none.
    """
    # One text for each reference: what has a number is found in both.
    own = dict.fromkeys(map(_bare, REFERENCE.findall(paper)), f"  note          = {{{_escaped(paper)}}},\n")
    found = {_bare(text): "" for words in others for text in REFERENCE.findall(words)} | own
    return tuple(_entry(reference, found[reference]) for reference in [*own, *(r for r in found if r not in own)])


def _bare(reference: str) -> str:
    return reference.removeprefix("arXiv:").removeprefix("doi ")


def _escaped(text: str) -> str:
    """Return text with what LaTeX would read as a command made plain; braces are left out."""
    return re.sub(r"([&%#_$])", r"\\\1", re.sub(r"[{}\\]", "", text))


def _entry(reference: str, note: str) -> str:
    """Return the entry of an arXiv number (2111.14884, hep-ex/0101039) or a DOI."""
    if reference.startswith("10."):
        fields = f"  doi           = {{{reference}}},\n  url           = {{https://doi.org/{reference}}},\n"
        return f"@misc{{doi:{reference},\n{fields}{note}}}"
    number = reference.rpartition("/")[2]
    # Numbers begin with the year and the month; the first are of 1991.
    year = (1900 if int(number[:2]) >= 91 else 2000) + int(number[:2])
    fields = f"  eprint        = {{{reference}}},\n  archivePrefix = {{arXiv}},\n  year          = {{{year}}},\n"
    fields += f"  url           = {{https://arxiv.org/abs/{reference}}},\n"
    return f"@misc{{arXiv:{reference},\n{fields}{note}}}"


def _spectra(role: str, text: str) -> DataSource:
    """Describe neutrino spectra that no file holds."""
    return DataSource(role, "spectra", "", text, tuple(dict.fromkeys(REFERENCE.findall(text))))


def _source(role: str, name: str, digest: str) -> DataSource:
    """Describe one input; a shipped file is known by its checksum, wherever it lay when it was read."""
    shipped = {found: known for known, found in read_manifest(data_folder()).items()}
    if digest not in shipped:
        text = _told_beside(Path(name))
        return DataSource(role, name, digest, text, tuple(dict.fromkeys(REFERENCE.findall(text))))
    page = (data_folder() / shipped[digest]).parent / "SOURCE.md"
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{page}: cannot be read ({error.strerror})") from error
    body = " ".join(line for line in text.splitlines() if line and not line.startswith(("#", "|")))
    return DataSource(role, shipped[digest], digest, body, tuple(dict.fromkeys(REFERENCE.findall(body))))


def _told_beside(path: Path) -> str:
    """Return the section about a file of SOURCE.md beside it; empty if there is none."""
    page = path.parent / "SOURCE.md"
    if not page.is_file():
        return ""
    told, about = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            about = line.lstrip("# ").strip() == path.name
        elif about and line and not line.startswith("|"):
            told.append(line)
    return " ".join(told)


def citation_json(found: Citation) -> dict[str, Any]:
    """Return a citation as JSON-able values."""
    return asdict(found)
