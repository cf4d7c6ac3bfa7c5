"""The file formats of a run: every Parquet file's columns, types, versions and meaning.

This is the contract between the program that computes a run and the one that loads it. Another program's results can be ingested if
they are written in this form. docs/artifacts.md is made from this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.casting import FormatError, convertible, lossless
from ingest.columns import Column, ColumnType, FileFormat
from ingest.reading import TableFile

__all__ = [
    "CANDIDATES",
    "DECODERS",
    "FEATURES",
    "FORMATS",
    "INTERACTIONS",
    "INTERVENING",
    "Column",
    "FileFormat",
    "FormatError",
    "TableWriter",
    "read_meta",
    "read_table",
    "write_table",
]

FEATURES = FileFormat(
    "features",
    1,
    "features.parquet",
    "One row a feature of the run: every source and every target that was measured, sorted by fid.",
    (
        Column("fid", "int64", "dense number of the feature within the run, from 0"),
        Column(
            "id",
            "string",
            'short id "L<layer>_F<index>", or "L<layer>.<site>_F<index>" where a layer has several sites; unique within the run',
        ),
        Column("uid", "string", '"<model>@<weights hash>/<release>/<SAE id really loaded>/<index>", the same in every run'),
        Column("layer", "int32", "layer as the configuration names it"),
        Column("index", "int32", "index in the dictionary"),
        Column("hook", "string", "hook that was really read", absent=""),
        Column("label", "string", "top activating tokens in context; empty if unknown", absent=""),
        Column("density", "float64", "share of counted tokens at which the feature is active; null if unknown", True),
        Column("mean_act", "float64", "mean activation where active, 0 if never; null if unknown", True),
        Column("max_act", "float64", "largest activation; null if unknown", True),
        Column(
            "decoder_norm",
            "float64",
            "norm of the decoder row as shipped; activations are in units of a row of norm 1; null if unknown",
            True,
        ),
        Column("dead", "bool", "never active on the run's text", absent=False),
        Column("dense", "bool", "active at more than a fifth of the tokens; null if unknown", True),
        Column("importance", "float64", "frequency × causal effect on the output; null if not measured", True),
        Column("neuronpedia_url", "string", "page of the feature; empty if there is none", absent=""),
    ),
)

CANDIDATES = FileFormat(
    "candidates",
    1,
    "candidates.parquet",
    "One row a pair that is to be measured, sorted by PMI, descending.",
    (
        Column("src_layer", "int32", "layer of the source"),
        Column("src_index", "int32", "index of the source"),
        Column("tgt_layer", "int32", "layer of the target"),
        Column("tgt_index", "int32", "index of the target"),
        Column("pmi", "float64", "pointwise mutual information in nats on the select documents, 0 where never seen together"),
        Column("coactivation_prob", "float64", "P(target active | source active) at the same position"),
        Column("joint_count", "int64", "tokens with both active, at the same or up to position_horizon later positions"),
        Column(
            "decoder_alignment",
            "float64",
            "signed mean alignment of the decoder direction with the target's encoder (through the blocks between)",
        ),
        Column("arm", "string", "how the pair got in: kept, rescue_jacobian or rescue_random"),
    ),
)

_STRENGTH = "target units per source unit"
#: Methods that measure by intervening on many samples, with a test; an imported attribution graph has one prompt and no test.
INTERVENING = ("clamping", "jacobian")


def _tested(name: str, kind: ColumnType, meaning: str) -> Column:
    """A column that every intervening method gives, and others may not."""
    return Column(name, kind, meaning, True, INTERVENING)


INTERACTIONS = FileFormat(
    "interactions",
    1,
    "interactions.parquet",
    "One row a measured (source, target, method), sorted by source fid, target fid and method.",
    (
        Column("src_fid", "int64", "fid of the source in features.parquet"),
        Column("tgt_fid", "int64", "fid of the target in features.parquet"),
        Column("src_id", "string", "short id of the source"),
        Column("tgt_id", "string", "short id of the target"),
        Column("src_layer", "int32", "layer of the source"),
        Column("tgt_layer", "int32", "layer of the target"),
        Column("method", "string", "clamping or jacobian; another lower-case name for edges of another program, such as attribution"),
        Column(
            "interaction_type",
            "string",
            "excitatory, inhibitory, or pass_through (the decoder's own direction, carried on). Its sign is that of mean_strength, or of "
            "the effect that let the edge in where mean_strength did not pass: of direct_strength where significant_by begins with direct, "
            "of later_strength where it is later",
            derived_from=("mean_strength", "direct_strength", "later_strength", "significant_by"),
        ),
        Column("span", "int32", "analysed sites crossed; 1 = the next one"),
        Column("mean_strength", "float64", f"total effect at the same position, {_STRENGTH}"),
        Column("abs_strength", "float64", "magnitude of mean_strength", derived_from=("mean_strength",)),
        Column(
            "direct_strength",
            "float64",
            f"effect with the analysed sites between put back to their clean features, {_STRENGTH}",
            derived_from=("mean_strength",),
        ),
        Column(
            "later_strength",
            "float64",
            f"change summed over the next position_horizon positions, {_STRENGTH}; null without later positions",
            True,
        ),
        _tested("copy_strength", "float64", f"part that the identity path alone gives, {_STRENGTH}"),
        Column(
            "computed_strength",
            "float64",
            "mean_strength − copy_strength",
            True,
            INTERVENING,
            derived_from=("mean_strength", "copy_strength"),
        ),
        Column(
            "preactivation_strength",
            "float64",
            f"total effect before the target's non-linearity, {_STRENGTH}",
            derived_from=("mean_strength",),
        ),
        _tested("p_on_change", "float64", "P(target active | high) − P(target active | low)"),
        Column("standardised_effect", "float64", "mean change of the target in its standard deviations over counted tokens", True),
        Column("strength_jacobian", "float64", f"mean gated derivative at the clean point, {_STRENGTH}; null unless method is both", True),
        Column("direct_jacobian", "float64", f"its direct twin, {_STRENGTH}; null unless method is both", True),
        _tested("se", "float64", "standard error of mean_strength over documents"),
        _tested("ci_low", "float64", "lower end of the 95 % interval of mean_strength over documents"),
        _tested("ci_high", "float64", "upper end"),
        _tested("p_value", "float64", "raw p of the total effect; 1 below the floor"),
        _tested(
            "q_value", "float64", "p_value adjusted over the family of all tests of the run; 1 in an exhaustive run where it does not pass"
        ),
        _tested("p_direct", "float64", "raw p of the direct effect; 1 below the floor"),
        _tested("q_direct", "float64", "p_direct adjusted in its own family"),
        _tested("p_later", "float64", "raw p of the later effect; 1 below the floor or without later positions"),
        _tested("q_later", "float64", "p_later adjusted in its own family"),
        Column(
            "significant",
            "bool",
            "q_value, q_direct or q_later is below the level; of a method without a test: the edge belongs to its graph",
            derived_from=("significant_by",),
        ),
        Column("significant_by", "string", "which of total, direct, later passed, joined by +; empty if none"),
        _tested("floor", "float64", "smallest |total strength| that counts: max of min_effect and the placebo quantile"),
        _tested("floor_direct", "float64", "the same for the direct effect"),
        _tested("floor_later", "float64", "the same for the later effect"),
        Column(
            "placebo_quantile", "float64", "share of placebo directions whose |strength| is below this edge's; null without placebos", True
        ),
        Column("n_samples", "int32", "test samples (document, position) used", absent=1),
        Column("n_documents", "int32", "distinct test documents", absent=1),
        Column("n_later", "int32", "samples that have a later position", absent=0),
        Column("confirm_strength", "float64", f"total effect on the confirmation documents, {_STRENGTH}; null if too few", True),
        Column("n_confirm", "int32", "confirmation documents", absent=0),
        Column("replicated", "bool", "same sign and above half the floor on the confirmation documents; null if not measured", True),
        _tested("clamp_low", "float64", "low level of the source, activation units"),
        _tested("clamp_high", "float64", "high level of the source, activation units"),
        _tested(
            "achieved",
            "float64",
            "(re-encoded high − re-encoded low) / (clamp_high − clamp_low), mean over samples; 1 = the clamp was reached",
        ),
        _tested("spill", "float64", "norm of the change of the other features of the source's site, per source unit (analytic, d · W_enc)"),
        Column("pmi", "float64", "of the candidate pair", True),
        Column("coactivation_prob", "float64", "of the candidate pair", True),
        Column("decoder_alignment", "float64", "of the candidate pair", True),
        Column(
            "arm",
            "string",
            "of the candidate pair; exhaustive where every pair was measured and only significant rows are kept; empty if unknown",
            absent="",
        ),
    ),
)

DECODERS = FileFormat(
    "decoders",
    1,
    "decoders.parquet",
    "One row a feature whose decoder direction is to be in the graph, sorted by fid. `feature-graph vectors` writes it on request; "
    "`feature-graph ingest` loads it where it is there, also onto a run that is in the graph already. It is no part of the run's id.",
    (
        Column("fid", "int64", "fid of the feature in features.parquet"),
        Column("uid", "string", "its uid there"),
        Column("decoder", "list<float32>", "decoder row divided by its norm; as long as the residual stream is wide, alike in all rows"),
    ),
)

FORMATS = {f.kind: f for f in (FEATURES, CANDIDATES, INTERACTIONS, DECODERS)}


def write_table(path: str | Path, fmt: FileFormat, table: pa.Table, meta: dict[str, Any] | None = None) -> None:
    """Write ``table`` (its columns in any order) in the given format, with ``meta`` as JSON in the file's metadata.

    Columns that the format allows to be absent may be absent.

    Raises:
        FormatError: If a column is missing, of another type, or null where it may not be.
    """
    with TableWriter(path, fmt, meta, table.column_names) as writer:
        writer.write(table)


class TableWriter:
    """Writes a table in the given format piece by piece; a context manager. One piece is one row group.

    Args:
        path: The file.
        fmt: Its format.
        meta: Kept as JSON in the file's metadata.
        columns: Names of the columns that every piece has; all of the format if None.

    Raises:
        FormatError: If a column is missing, or not one of the format.
    """

    def __init__(self, path: str | Path, fmt: FileFormat, meta: dict[str, Any] | None = None, columns: list[str] | None = None) -> None:
        self._path, self._fmt = path, fmt
        names = fmt.names if columns is None else columns
        lacking = sorted(c.name for c in fmt.columns if c.name not in names and not c.may_be_absent)
        surplus = sorted(set(names) - set(fmt.names))
        if lacking or surplus:
            raise FormatError(f"{path}: columns of {fmt.kind} version {fmt.version}: missing {lacking}, unknown {surplus}")
        self._columns = [c for c in fmt.columns if c.name in names]
        metadata = dict(fmt.schema.metadata or {}) | {b"meta": json.dumps(meta or {}, allow_nan=False).encode()}
        self._schema = pa.schema([fmt.schema.field(c.name) for c in self._columns], metadata=metadata)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Write rows; columns may be in any order.

        Raises:
            FormatError: If a column is missing, of another type, or null where it may not be.
        """
        lacking = [c.name for c in self._columns if c.name not in table.column_names]
        if lacking:
            raise FormatError(f"{self._path}: columns of {self._fmt.kind} version {self._fmt.version}: missing {lacking}")
        self._writer.write_table(self._checked(table))

    def _checked(self, table: pa.Table) -> pa.Table:
        """The table in the format's order and types."""
        try:
            made = pa.table([lossless(_joined(table[c.name]), c.arrow, c.name) for c in self._columns], schema=self._schema)
        except (FormatError, ValueError) as error:
            raise FormatError(f"{self._path}: {self._fmt.kind} version {self._fmt.version}: {error}") from error
        for column in self._columns:
            nulls = made.column(column.name).null_count
            if nulls and not column.nullable:
                raise FormatError(f"{self._path}: column {column.name} has {nulls} nulls; none are allowed")
            if nulls and column.required_of:
                self._check_methods(made, column)
        return made

    def _check_methods(self, table: pa.Table, column: Column) -> None:
        methods = table.filter(pc.is_null(table[column.name]))["method"].unique().to_pylist()
        wrong = ", ".join(sorted(set(methods) & set(column.required_of)))
        if wrong:
            raise FormatError(f"{self._path}: column {column.name} has nulls in rows of method {wrong}; none are allowed there")


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def read_meta(path: str | Path, fmt: FileFormat) -> dict[str, Any]:
    """Check kind, version and columns of a file and give back its ``meta``.

    Raises:
        FormatError: If the file is missing, no Parquet, of another kind or version, or lacks a column or has one of another type that
            cannot be converted without loss.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such file; expected {fmt.kind} version {fmt.version} ({fmt.name})")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: not a readable Parquet file: {error}") from error
    metadata = schema.metadata or {}
    kind, version = metadata.get(b"kind", b"").decode(), metadata.get(b"version", b"").decode()
    if (kind, version) != (fmt.kind, str(fmt.version)):
        raise FormatError(f"{path}: got kind {kind or 'none'} version {version or 'none'}; expected {fmt.kind} version {fmt.version}")
    wrong = [text for column in fmt.columns if (text := _wrong(schema, column))]
    if wrong:
        raise FormatError(f"{path}: {'; '.join(wrong)}; see docs/artifacts.md, or let ingest.from_frames write the file")
    return dict(json.loads(metadata.get(b"meta", b"{}")))


def _wrong(schema: pa.Schema, column: Column) -> str:
    """What is wrong with a column of a file; empty if nothing is."""
    if column.name not in schema.names:
        return "" if column.may_be_absent else f"column {column.name} is missing, expected {column.type}"
    found = schema.field(column.name).type
    return "" if convertible(found, column.arrow) else f"column {column.name}: found {found}, expected {column.type}"


def read_table(path: str | Path, fmt: FileFormat) -> pa.Table:
    """Read a file after checking that it is in its format; a column that it may be without is filled.

    Raises:
        FormatError: As :func:`read_meta`, or if the data behind the header cannot be read or converted without loss.
    """
    read_meta(path, fmt)
    try:
        with TableFile(path, fmt, verified=True) as file:
            return file.table(fmt.names)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: damaged: {error}") from error
