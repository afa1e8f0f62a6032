"""What to cite, and where the data came from."""

import json
import re
from pathlib import Path

import pytest

import bayesnu
from bayesnu import resources
from bayesnu.errors import DataError, UsageError
from bayesnu.experiment.own import new_experiment
from bayesnu.report.cite import WIDTH, citation_text
from bayesnu.results.cite import bibtex_entries, citation_json, cite
from bayesnu.results.runs import Run

ROOT = Path(__file__).parents[3]


def test_program_alone() -> None:
    found = cite()
    assert (found.version, found.sources, found.paper) == (bayesnu.__version__, (), "")
    page = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (author,) = re.findall(r"- name: (.*)", page)
    assert f"{{{{{author}}}}}" in found.bibtex
    assert re.search(r"^title: (\w+)", page, re.MULTILINE)[1] in found.bibtex  # type: ignore[index]
    # The version has one place.
    assert bayesnu.__version__ not in page
    assert found.bibtex.count("{") == found.bibtex.count("}")


def test_sources_of_a_card() -> None:
    found = cite("dune-on-axis")
    assert found.paper.startswith("arXiv:2111.14884")
    flux = next(source for source in found.sources if source.role == "flux.file")
    assert (flux.name, flux.references) == ("flux/dune_nd.csv", ("arXiv:2103.13910", "arXiv:2111.14884"))
    assert flux.sha256 == resources.read_manifest(resources.data_folder())[flux.name]
    assert {"hep-ex/0101039", "arXiv:0906.1926"} <= set(found.published)
    text = citation_text(found)
    assert text.count("Technical Design Report") == 1
    assert max(map(len, text.splitlines())) <= WIDTH
    assert json.loads(json.dumps(citation_json(found)))["model"] == "dune-on-axis"


def test_spectra_that_no_file_holds() -> None:
    assert [source.role for source in cite("nucleus-10g").sources][:1] == ["reactor"]
    found = {source.role: source for source in cite("coherent-csi-2017").sources}
    assert "doi 10.5281/zenodo.1228631" in found["stopped_pion"].references
    assert "arXiv:1708.01294" in found["counts.file"].references


def test_run_is_that_of_its_card(finished_run: Run) -> None:
    assert cite(str(finished_run.folder)) == cite("dune-on-axis")


def test_own_file_has_no_source(edited_card, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "flux.csv"
    own.write_bytes((resources.data_folder() / "flux" / "dune_nd.csv").read_bytes() + b"\n")
    card = edited_card(("flux/dune_nd.csv", "flux.csv"))
    source = next(s for s in cite(str(card)).sources if s.role == "flux.file")
    assert (source.name, source.text, source.references) == (str(own), "", ())
    assert f"{own}: your own" in " ".join(citation_text(cite(str(card))).split())


def test_source_page_of_a_new_experiment(tmp_path: Path) -> None:
    written = new_experiment(tmp_path / "mine", "dune-on-axis")
    found = {source.role: source for source in cite(str(written.card)).sources}
    assert "arXiv:2103.13910" in found["flux.file"].references
    assert found["counts.file"].text.startswith("Not a measurement: the rounded expectation")
    page = tmp_path / "mine" / "SOURCE.md"
    page.write_text("# flux.csv\n\nOurs, arXiv:2101.00001.\n\n# other.csv\n\nNothing.\n")
    again = {source.role: source for source in cite(str(written.card)).sources}
    assert again["flux.file"].text == "Ours, arXiv:2101.00001."
    assert again["flux.file"].references == ("arXiv:2101.00001",)
    assert again["counts.file"].text == ""
    copied = {s.role: s for s in cite(str(new_experiment(tmp_path / "csi", "coherent-csi-2017").card)).sources}
    assert "arXiv:1708.01294" in copied["counts.file"].references


def test_what_is_refused(share_copy: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'dune-prism"):
        cite("dune-pris")
    (share_copy / "data" / "flux" / "SOURCE.md").unlink()
    with pytest.raises(DataError, match=r"SOURCE\.md: cannot be read"):
        cite("dune-on-axis")


def test_bibtex_of_what_has_a_number() -> None:
    """Year and address of the number; the card's own papers first, with its words, none twice."""
    assert bibtex_entries("arXiv:1708.01294 (50% & {more})", ["hep-ph/9905001", "arXiv:1708.01294, a release"]) == (
        "@misc{arXiv:1708.01294,\n  eprint        = {1708.01294},\n  archivePrefix = {arXiv},\n"
        "  year          = {2017},\n  url           = {https://arxiv.org/abs/1708.01294},\n"
        "  note          = {arXiv:1708.01294 (50\\% \\& more)},\n}",
        "@misc{arXiv:hep-ph/9905001,\n  eprint        = {hep-ph/9905001},\n  archivePrefix = {arXiv},\n"
        "  year          = {1999},\n  url           = {https://arxiv.org/abs/hep-ph/9905001},\n}",
    )
    doi = "@misc{doi:10.5281/zenodo.1228631,\n  doi           = {10.5281/zenodo.1228631},\n"
    assert bibtex_entries("", ["doi 10.5281/zenodo.1228631"]) == (
        f"{doi}  url           = {{https://doi.org/10.5281/zenodo.1228631}},\n}}",
    )


def test_bibtex_of_a_card() -> None:
    found = cite("lsnd-nue")
    keys = [entry.splitlines()[0].removeprefix("@misc{").rstrip(",") for entry in found.entries]
    assert keys[0] == "arXiv:hep-ex/0101039"
    assert len(set(keys)) == len(keys)
    assert {f"arXiv:{text.removeprefix('arXiv:')}" for text in found.published} <= set(keys)
    assert all(entry in citation_text(found) for entry in found.entries)
    assert cite("nucleus-10kg").entries[0].startswith("@misc{arXiv:1106.0687,")
    assert cite().entries == ()
