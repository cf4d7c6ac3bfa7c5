"""Names of what this library's loader notes in a dictionary's metadata."""

#: The release and the id that it was loaded by.
RELEASE_KEY, ID_KEY = "feature_graph_release", "feature_graph_sae_id"
