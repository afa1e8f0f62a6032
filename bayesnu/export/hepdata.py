"""A submission folder for HEPData: one YAML file for each table of a run, and ``submission.yaml`` that lists them.

The schema is 1.1.1 of HEPData.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bayesnu.errors import RunError, silent
from bayesnu.experiment.base import Experiment
from bayesnu.export.hepdata_format import Table, plain, to_yaml
from bayesnu.export.hepdata_tables import tables_of
from bayesnu.export.source import write_folder
from bayesnu.results.runs import Run
from bayesnu.results.verdict import withhold

MOST_BYTES = 10_485_760
"""Of one file: HEPData takes no larger one."""
REACTIONS = {
    "electron": "NU E- --> NU E-",
    "electron-window": "NU E- --> NU E-",
    "nucleus": "NU NUCLEUS --> NU NUCLEUS",
}


def submission(run: Run, tables: Iterable[Table]) -> dict[str, str]:
    """Return the files of a submission, name to YAML.

    Raises
    ------
    RunError
        If two tables would share a file, or one is larger than HEPData takes.
    """
    information, limits = run.information, run.limits
    withheld = withhold(limits)["withheld"]
    comment = f"{limits['title']} ({limits['model']}), {information['card']['source']['paper']}. "
    comment += "Data: observed counts. " if limits["observed"] else "Data: Asimov, the Standard Model expectation. "
    comment += f"Computed by bayesnu {information['versions']['bayesnu']}, run {limits['hash']}."
    if withheld:
        comment += f" The sampler's verdict on {', '.join(withheld)} is fail."
    if limits["without_limit"]:
        comment += f" No count depends on {', '.join(limits['without_limit'])}: no limit."
    reaction = REACTIONS[information["card"]["scattering"]]
    files: dict[str, str] = {}
    documents: list[dict[str, Any]] = [{"comment": plain(comment)}]
    for table in tables:
        if table.file in files:
            raise RunError(f"table '{table.name}': another table has its file name {table.file}")
        keywords = {"reactions": [reaction], "observables": list(table.observables)}
        keywords["phrases"] = ["neutrino electromagnetic properties"]
        documents.append(
            {
                "name": table.name,
                "description": table.description,
                "keywords": [{"name": name, "values": values} for name, values in keywords.items()],
                "data_file": table.file,
            }
        )
        files[table.file] = to_yaml([table.content()])
        if len(files[table.file]) > MOST_BYTES:
            raise RunError(
                f"table '{table.name}': {len(files[table.file]) / 2**20:.0f} MiB, more than the {MOST_BYTES / 2**20:g} "
                "that HEPData takes in one file"
            )
    return {"submission.yaml": to_yaml(documents)} | files


def own_file(name: str) -> bool:
    """Return whether a name is one that a submission has."""
    return name == "submission.yaml" or (name.startswith("table-") and name.endswith(".yaml"))


def write_submission(
    run: Run,
    experiment: Experiment,
    folder: Path,
    *,
    force: bool = False,
    allow_unconverged: bool = False,
    notice: Callable[[str], None] = silent,
) -> list[Table]:
    """Write the submission of a run into a folder that holds nothing else; return its tables.

    Raises
    ------
    RunError
        If a posterior is missing, or the folder holds something else or cannot be written.
    """
    tables = tables_of(run, experiment, allow_unconverged=allow_unconverged, notice=notice)
    write_folder(folder, submission(run, tables), force, own_file)
    return tables
