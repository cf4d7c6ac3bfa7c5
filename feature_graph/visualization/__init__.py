"""Pictures of interaction graphs: interactive pages that work offline, figures, and static SVG. This is the only package that draws."""

from feature_graph.visualization.cascade import render_cascade_overlay
from feature_graph.visualization.charts import (
    plot_copy_share,
    plot_degree_distribution,
    plot_interaction_type_breakdown,
    plot_layer_distance_decay,
    plot_layer_matrix,
    plot_strengths,
)
from feature_graph.visualization.graphs import render_interactive_graph, render_neighborhood, render_static_graph
from feature_graph.visualization.motifs import motif_svg, plot_motif_nulls, render_motif_page
from feature_graph.visualization.page import css, figure_section, graph_script, graph_section, plotly_script
from feature_graph.visualization.scene import network_scene
from feature_graph.visualization.steering import (
    plot_compensation,
    plot_divergence,
    plot_divergence_change,
    plot_side_effects,
    plot_token_changes,
    render_side_effects,
)
from feature_graph.visualization.style import layer_colors
from feature_graph.visualization.validation import plot_faithfulness, plot_forecast, plot_overlap

__all__ = [
    "css",
    "figure_section",
    "graph_script",
    "graph_section",
    "layer_colors",
    "motif_svg",
    "network_scene",
    "plot_compensation",
    "plot_copy_share",
    "plot_degree_distribution",
    "plot_divergence",
    "plot_divergence_change",
    "plot_faithfulness",
    "plot_forecast",
    "plot_interaction_type_breakdown",
    "plot_layer_distance_decay",
    "plot_layer_matrix",
    "plot_motif_nulls",
    "plot_overlap",
    "plot_side_effects",
    "plot_strengths",
    "plot_token_changes",
    "plotly_script",
    "render_cascade_overlay",
    "render_interactive_graph",
    "render_motif_page",
    "render_neighborhood",
    "render_side_effects",
    "render_static_graph",
]
