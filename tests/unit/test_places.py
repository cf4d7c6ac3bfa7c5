"""Which pairs of sites can be edges, against a block that is run by name with marks in place of numbers."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.artifacts.errors import SiteError
from feature_graph.artifacts.places import SitePlace, can_drive, is_weight, ordered_sites, pairs, site_kind, spans
from ingest.site_kinds import SiteKind

KINDS: tuple[SiteKind, ...] = get_args(SiteKind)
N_BLOCKS = 3


class MarkedModel:
    """A model whose tensors are sets of marks: each says which sites' writes it depends on."""

    def __init__(self, sites: list[SitePlace], *, parallel: bool) -> None:
        self.sites, self.parallel, self.seen = sites, parallel, {}
        stream = self.at("residual", -1, frozenset())
        for block in range(N_BLOCKS):
            stream = self.at("residual", block, self.block(block, stream))

    def block(self, block: int, stream: frozenset[str]) -> frozenset[str]:
        """Attention, then the MLP, each from what it reads to what it adds; a mark in the input marks everything computed from it."""
        attention = self.at("attn_out", block, self.at("hook_z", block, stream))
        before_mlp = stream if self.parallel else self.at("resid_mid", block, stream | attention)
        self.see("transcoder", block, before_mlp)  # what two dictionaries read at one point is read before either writes
        mlp_input = self.at("mlp_in", block, before_mlp)
        return stream | attention | before_mlp | self.write("transcoder", block, self.at("mlp_out", block, mlp_input))

    def at(self, kind: str, block: int, tensor: frozenset[str]) -> frozenset[str]:
        """A tensor that dictionaries of a kind read and write."""
        self.see(kind, block, tensor)
        return self.write(kind, block, tensor)

    def see(self, kind: str, block: int, tensor: frozenset[str]) -> None:
        for site in self.sites:
            if site.kind == kind and site.block == block:
                self.seen[site.name] = tensor

    def write(self, kind: str, block: int, tensor: frozenset[str]) -> frozenset[str]:
        return tensor | {site.name for site in self.sites if site.kind == kind and site.block == block}


def every_site(*, parallel: bool) -> list[SitePlace]:
    kinds = [kind for kind in KINDS if not (parallel and kind == "resid_mid")]
    return [SitePlace(layer, kind, parallel=parallel) for layer in range(N_BLOCKS) for kind in kinds]


@given(st.booleans(), st.data())
def test_a_pair_exists_where_what_is_read_depends_on_what_is_written(parallel: bool, data: st.DataObject) -> None:
    sites = data.draw(st.lists(st.sampled_from(every_site(parallel=parallel)), unique=True))
    seen = MarkedModel(sites, parallel=parallel).seen
    expected = {(source, target) for target, marks in seen.items() for source in marks}
    assert {(s.name, t.name) for s, t in pairs(sites, weights=True)} == expected
    weights = {(s.name, t.name) for s, t in product(sites, sites) if is_weight(s, t)}
    assert {(s.name, t.name) for s, t in pairs(sites)} == expected - weights


INSIDE = {
    "z attn", "attn mid", "attn mlpin", "attn tc", "attn mlp", "z mid", "z mlpin", "z tc", "z mlp",
    "mid mlpin", "mid tc", "mid mlp", "mlpin mlp",
}  # fmt: skip


def names(found: list[tuple[SitePlace, SitePlace]]) -> set[str]:
    return {" ".join(site.name.partition(".")[2] for site in pair) for pair in found}


def test_the_pairs_inside_a_block_are_those_of_the_list() -> None:
    components = [SitePlace(4, kind) for kind in KINDS if kind != "residual"]
    assert names(pairs(components)) == INSIDE
    parallel = [SitePlace(4, kind, parallel=True) for kind in KINDS if kind not in ("residual", "resid_mid")]
    assert names(pairs(parallel)) == {"z attn", "mlpin mlp"}


@pytest.mark.parametrize(("parallel", "weights"), [(False, {"mlp ", "tc "}), (True, {"mlp ", "tc ", "z ", "attn "})])
def test_what_a_block_adds_to_its_own_stream_is_a_pair_only_on_request(parallel: bool, weights: set[str]) -> None:
    sites = [site for site in every_site(parallel=parallel) if site.layer == 1]
    assert names(pairs(sites, weights=True)) - names(pairs(sites)) == weights
    assert all(t.kind == "residual" for s, t in pairs(sites, weights=True) if is_weight(s, t))


def test_between_blocks_everything_drives_everything() -> None:
    lower, upper = ([site for site in every_site(parallel=False) if site.layer == layer] for layer in (0, 2))
    assert all(can_drive(s, t) and not can_drive(t, s) for s, t in product(lower, upper))


def test_a_residual_site_lies_where_it_is_read() -> None:
    """A dictionary on blocks.5.hook_resid_pre that the user calls layer 5 lies before that block's MLP; on hook_resid_post after it."""
    mlp, before, after = SitePlace(5, "mlp_out"), SitePlace(5, point=5), SitePlace(5)
    assert (before.block, after.block, SitePlace(0, point=0).block) == (4, 5, -1)
    assert pairs([mlp, before]) == [(before, mlp)]
    assert pairs([mlp, after]) == []
    assert pairs([mlp, after], weights=True) == [(mlp, after)]
    assert pairs([SitePlace(4, "mlp_out"), before], weights=True) == [(SitePlace(4, "mlp_out"), before)]
    assert pairs([SitePlace(4, "mlp_out"), before]) == []


def test_names_are_the_ids_prefixes() -> None:
    assert [SitePlace(5, kind).name for kind in KINDS] == ["L5", "L5.mid", "L5.mlp", "L5.attn", "L5.z", "L5.mlpin", "L5.tc"]
    assert [site_kind(SitePlace(5, kind).name) for kind in KINDS] == [(5, kind) for kind in KINDS]
    for name in ("L5.foo", "5.mlp", "mlp", "L5_F3", "L5.", 5):
        with pytest.raises(SiteError, match=r"expected a layer with the kind of site, as ids begin with it: L5, L5\.mid, "):
            site_kind(name)  # type: ignore[arg-type]


def test_spans_count_distinct_layers() -> None:
    attn, mlp, later = SitePlace(3, "attn_out"), SitePlace(3, "mlp_out"), SitePlace(9)
    layers = [3, 3, 7, 9]
    assert [spans(attn, mlp, layers), spans(mlp, later, layers), spans(attn, SitePlace(7), layers)] == [0, 2, 1]


def test_sites_of_no_model_are_refused() -> None:
    with pytest.raises(SiteError, match=r"L3\.mlp given twice; a layer has one dictionary of each kind"):
        ordered_sites([SitePlace(3, "mlp_out"), SitePlace(3, "mlp_out")])
    with pytest.raises(SiteError, match="none lies between them"):
        SitePlace(3, "resid_mid", parallel=True)
    with pytest.raises(SiteError, match="got the kind of site 'mlp'; expected one of residual"):
        SitePlace(3, "mlp")  # type: ignore[arg-type]
    with pytest.raises(SiteError, match="property of the model"):
        ordered_sites([SitePlace(3, "mlp_out"), SitePlace(4, "mlp_out", parallel=True)])
    with pytest.raises(SiteError, match=r"L2 lies after L3\.mlp in the model"):
        ordered_sites([SitePlace(3, "mlp_out"), SitePlace(2, point=9)])
