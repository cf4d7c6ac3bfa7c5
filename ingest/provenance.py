"""What a run is about: model, dictionaries, sites, text. Shared between runs, so always merged, never deleted with a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ingest import runs
from ingest.connection import Database, Transaction
from ingest.feature_ids import site_of_feature, sites_of
from ingest.rundir import RunDirectory
from ingest.sites import points_of, site_of
from ingest.validate import split_uid

#: For each ``row`` the node ``f`` of ``row.feature``, made if need be, by run ``$n``. A node of another program with the same uid is not
#: taken over: what it lacks is filled in and noted in ``filled``, to be taken off again when no run points to it any more.
MERGE_FEATURE = (
    "MERGE (f:Feature {uid: row.feature.uid}) "
    "ON CREATE SET f = row.feature, f.brought_by = $n, f:$('Layer' + toString(row.feature.layer)) "
    "ON MATCH SET f.brought_by = f.brought_by "  # takes the lock: two runs that load the same feature see what the other wrote
    "WITH *, CASE WHEN f.brought_by IS NULL THEN properties(f) END AS own "  # of our own features the rows hold no second copy
    "FOREACH (_ IN CASE WHEN own IS NOT NULL THEN [1] ELSE [] END | SET f += row.feature, f += own, "
    "f.filled = coalesce(own.filled, []) + [name IN keys(row.feature) WHERE row.feature[name] IS NOT NULL AND own[name] IS NULL]) "
)


@dataclass(frozen=True)
class RunSite:
    """One site of a run, from its features' uids and, where the run carries them, its facts. ``name`` is what the ids begin with."""

    name: str
    layer: int
    hook: str
    model: str
    sae: str
    release: str
    sae_id: str
    facts: dict[str, Any]

    def feature(self, row: dict[Any, Any]) -> dict[str, Any]:
        """Properties of a Feature, from its row of features.parquet."""
        return {
            "uid": row["uid"],
            "id": row["id"],
            "model": self.model,
            "release": self.release,
            "sae_id": self.sae_id,
            "layer": self.layer,
            "hook": self.hook,
            "index": int(row["index"]),
            "decoder_norm": None if pd.isna(row["decoder_norm"]) else float(row["decoder_norm"]),
            "neuronpedia_url": row["neuronpedia_url"] or None,
        }


def site_from(run: RunDirectory, features: pd.DataFrame) -> RunSite:
    """The site of features that share it."""
    first = features.iloc[0]
    model, dictionary, _ = split_uid(first["uid"])
    name, layer = site_of_feature(first["id"]), int(first["layer"])
    facts = next((s for s in run.sites if site_of(s) == name), {})
    release = str(facts.get("release") or run.config.get("sae_release") or "")
    if not dictionary.startswith(f"{release}/"):
        release = dictionary.partition("/")[0]
    return RunSite(name, layer, str(first["hook"]), model, f"{model}/{dictionary}", release, dictionary.removeprefix(f"{release}/"), facts)


def run_sites(run: RunDirectory, features: pd.DataFrame) -> list[RunSite]:
    """The sites of a run, by layer and name."""
    by_site = features.groupby(sites_of(features["id"]))
    return sorted((site_from(run, frame) for _, frame in by_site), key=lambda site: (site.layer, site.name))


def write(database: Database, lease: runs.Claim, run: RunDirectory, features: pd.DataFrame) -> None:
    """Merge model, dictionaries, sites and text, and the run's relations to them."""
    database.write(lambda tx: _write(tx, lease, run, run_sites(run, features)))


def _write(tx: Transaction, lease: runs.Claim, run: RunDirectory, sites: list[RunSite]) -> None:
    runs.hold(tx, lease)
    tx.run(
        "MATCH (r:Run {id: $id}) UNWIND $sites AS site "
        "MERGE (m:Model {uid: site.model}) ON CREATE SET m.name = site.model_name, m.sha256 = site.model_sha256 "
        "MERGE (d:SAE {uid: site.sae}) SET d.release = site.release, d.sae_id = site.sae_id, "
        "d.d_sae = coalesce(site.d_sae, d.d_sae), d.architecture = coalesce(site.architecture, d.architecture), "
        "d.sha256 = coalesce(site.sha256, d.sha256) "
        "MERGE (p:Site {uid: site.uid}) ON CREATE SET p.layer = site.layer, p.hook = site.hook "
        "SET p.name = coalesce(p.name, site.name), p.point = coalesce(site.point, p.point), p.d_in = coalesce(site.d_in, p.d_in), "
        "p.kind = coalesce(site.kind, p.kind), p.reads = coalesce(site.reads, p.reads), p.writes = coalesce(site.writes, p.writes) "
        "MERGE (r)-[:OF_MODEL]->(m) MERGE (r)-[:USES_SAE]->(d) MERGE (r)-[:COVERS]->(p)",
        id=lease.id,
        sites=[_row(site) for site in sites],
    )
    dataset = run.config.get("dataset")
    if dataset:
        tx.run(
            "MATCH (r:Run {id: $id}) MERGE (d:Dataset {uid: $uid}) SET d.name = $name, d.n_tokens = $n_tokens MERGE (r)-[:ON]->(d)",
            id=lease.id,
            uid=dataset_uid(run.config),
            name=str(dataset),
            n_tokens=run.config.get("n_tokens"),
        )


def dataset_uid(config: Mapping[str, Any]) -> str:
    """``name/split``, or ``name/configuration/split`` of a data set that has configurations: two of them are two texts."""
    parts = [config.get("dataset"), config.get("dataset_config"), config.get("dataset_split", "train")]
    return "/".join(str(part) for part in parts if part is not None)


def _row(site: RunSite) -> dict[str, Any]:
    name, _, sha256 = site.model.rpartition("@")
    optional = {key: site.facts.get(key) for key in ("d_sae", "architecture", "sha256", "point", "d_in")}
    return {
        "model": site.model,
        "model_name": name,
        "model_sha256": sha256,
        "sae": site.sae,
        "release": site.release,
        "sae_id": site.sae_id,
        "uid": f"{site.sae}@{site.hook}",
        "name": site.name,
        "layer": site.layer,
        "hook": site.hook,
        **optional,
        **points_of(site.facts),
    }
