"""Write what the shipped data contain beyond copied numbers: background table, sidecars, responses, manifest.

Run from a checkout: ``python analyses/dune_em_properties/make_data.py``. The
flux, Table 1 and the published limits are inputs and stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from bayesnu.detector.response import build_response
from bayesnu.detector.store import response_name
from bayesnu.errors import UsageError
from bayesnu.experiment.backgrounds import background_table, computed_backgrounds
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.load import load_card
from bayesnu.experiment.response import response_settings
from bayesnu.flux.table import FluxTable, read_flux
from bayesnu.resources import MANIFEST, data_folder, manifest_lines, write_text


def made_for(card: Card, flux: FluxTable, description: str, keys: tuple[str, ...]) -> str:
    """Return the TOML text that names the set-up of a table."""
    values = {
        "description": description,
        "flux_sha256": flux.digest,
        "pot_per_year": card.flux.pot_per_year,
        "mass_tonnes": card.target.mass_tonnes,
        "material": card.target.material,
        "threshold_mev": card.detector.threshold_mev,
        "angular_resolution_deg": card.detector.angular_resolution_deg,
        "energy_resolution": card.detector.energy_resolution,
    }
    common = ("description", "flux_sha256", "pot_per_year", "mass_tonnes", "material")
    return "".join(f"{key} = {json.dumps(values[key])}\n" for key in (*common, *keys))


def electron_card(model: str, overrides: Sequence[str] = ()) -> Card:
    """Return a card of ν-e scattering.

    Raises
    ------
    UsageError
        If it is of another kind.
    """
    card = load_card(model, overrides).card
    if not isinstance(card, Card):
        raise UsageError(f"{model}: is no card of neutrino-electron scattering")
    return card


def main() -> None:
    """Write the files."""
    data = data_folder()
    write_text(data / MANIFEST, manifest_lines(data))
    card = electron_card("dune-prism", ['backgrounds.model="ccqe"'])
    flux = read_flux(data / "flux" / "dune_nd.csv")
    table = data / "backgrounds" / "dune_ccqe_pi0.csv"
    write_text(table, background_table(card, computed_backgrounds(card, flux)))
    description = "Computed model: nu_e CCQE without visible hadrons, and misidentified pi0; counts per year"
    write_text(
        table.with_suffix(".toml"),
        made_for(card, flux, description, ("threshold_mev", "angular_resolution_deg", "energy_resolution")),
    )
    events = data / "events" / "dune_table1.csv"
    description = "Table 1 of arXiv:2111.14884: SM nu-e events per year above threshold"
    write_text(events.with_suffix(".toml"), made_for(card, flux, description, ("threshold_mev",)))
    write_text(data / MANIFEST, manifest_lines(data))
    wanted = {}
    for name in ("dune-on-axis", "dune-prism"):
        settings = response_settings(electron_card(name), flux)
        wanted[response_name(settings)] = settings
    for path in (data / "responses").glob("*.nc"):
        if path.name not in wanted:
            path.unlink()
    for name, settings in wanted.items():
        if not (data / "responses" / name).exists():
            build_response(settings).save(data / "responses" / name)
            print(f"built {name}")
    write_text(data / MANIFEST, manifest_lines(data))


if __name__ == "__main__":
    main()
