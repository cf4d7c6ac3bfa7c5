"""What passes between the stages and how it is stored on disk. Stages meet here and nowhere else."""

from feature_graph.artifacts.activations import ActivationStore, ActivationWriter
from feature_graph.artifacts.atlas import AtlasWriter, CoactivationAtlas
from feature_graph.artifacts.candidates import Candidate, CandidateSet, FeatureRef, StageCount
from feature_graph.artifacts.errors import ArtifactError, SiteError
from feature_graph.artifacts.features import FeatureNumbers, number_features, number_pairs
from feature_graph.artifacts.interactions import Interaction, InteractionSet, stored_columns
from feature_graph.artifacts.measures import DoseSet, GateSet, InsertionSet, MediationSet, Pair, Triple
from feature_graph.artifacts.parts import FrameFiles, JsonParts, PartFiles, PartFormat, keep_only
from feature_graph.artifacts.places import SitePlace, can_drive, is_pair, is_weight, ordered_sites, site_kind, spans
from feature_graph.artifacts.recall import STAGE_NAMES, PruningRecall, StageLoss
from feature_graph.artifacts.response_parts import ResponseBlock, ResponseParts
from feature_graph.artifacts.responses import ResponseSources, ResponseStore, ResponseWriter
from feature_graph.artifacts.rundir import RunPaths
from feature_graph.artifacts.site_keys import (
    BySite,
    SiteKey,
    as_key,
    blocks_between,
    by_keys,
    by_site,
    id_site_of,
    is_component_key,
    key_of,
    keys_of,
    kind_of,
    layer_of,
    read_key,
    with_sites,
)
from feature_graph.artifacts.site_order import SiteSequence, contradiction, site_sequence
from feature_graph.artifacts.sites import (
    Site,
    feature_id,
    feature_key,
    indices_by_layer,
    key_of_site,
    pairs_in_window,
    parse_feature_id,
    read_feature_id,
    site_facts,
)
from feature_graph.artifacts.splits import CONFIRM, SELECT, TEST, halve_documents, split_documents
from ingest.site_kinds import ID_SITES, SiteKind

__all__ = [
    "CONFIRM",
    "ID_SITES",
    "SELECT",
    "STAGE_NAMES",
    "TEST",
    "ActivationStore",
    "ActivationWriter",
    "ArtifactError",
    "AtlasWriter",
    "BySite",
    "Candidate",
    "CandidateSet",
    "CoactivationAtlas",
    "DoseSet",
    "FeatureNumbers",
    "FeatureRef",
    "FrameFiles",
    "GateSet",
    "InsertionSet",
    "Interaction",
    "InteractionSet",
    "JsonParts",
    "MediationSet",
    "Pair",
    "PartFiles",
    "PartFormat",
    "PruningRecall",
    "ResponseBlock",
    "ResponseParts",
    "ResponseSources",
    "ResponseStore",
    "ResponseWriter",
    "RunPaths",
    "Site",
    "SiteError",
    "SiteKey",
    "SiteKind",
    "SitePlace",
    "SiteSequence",
    "StageCount",
    "StageLoss",
    "Triple",
    "as_key",
    "blocks_between",
    "by_keys",
    "by_site",
    "can_drive",
    "contradiction",
    "feature_id",
    "feature_key",
    "halve_documents",
    "id_site_of",
    "indices_by_layer",
    "is_component_key",
    "is_pair",
    "is_weight",
    "keep_only",
    "key_of",
    "key_of_site",
    "keys_of",
    "kind_of",
    "layer_of",
    "number_features",
    "number_pairs",
    "ordered_sites",
    "pairs_in_window",
    "parse_feature_id",
    "read_feature_id",
    "read_key",
    "site_facts",
    "site_kind",
    "site_sequence",
    "spans",
    "split_documents",
    "stored_columns",
    "with_sites",
]
