// One interactive graph: pointing shows facts, a click on a feature shows its causes and effects, the bar above filters.
// Every text is set with textContent, never as HTML.
"use strict";
function featureGraph(root) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const plot = root.querySelector(".fg-draw"), side = root.querySelector(".fg-side"), bar = root.querySelector(".fg-bar");
  const { nodes, edges, curveSteps } = data;
  const traces = data.figure.data, shapes = data.figure.layout;
  const role = (name) => traces.findIndex((t) => t.meta && t.meta.role === name);
  const edgeTraces = traces.map((t, i) => i).filter((i) => traces[i].meta && traces[i].meta.role === "edges");
  const dim = edgeTraces.map((i) => traces[i].opacity);
  const nodeTrace = role("nodes"), pointTrace = role("edge points"), twinTrace = role("twins"), first = traces.length;
  const overlay = (color) => ({ x: [], y: [], mode: "lines", hoverinfo: "skip", showlegend: false, line: { color, width: 2.2 } });
  const ring = { x: [], y: [], mode: "markers", hoverinfo: "skip", showlegend: false,
    marker: { size: [], color: "rgba(0,0,0,0)", line: { color: "#111827", width: 2 } } };
  const colors = [...new Set(edges.map((e) => e.color))];
  traces.push(...colors.map(overlay), ring);
  let chosen = null;

  const signed = (x) => (Math.abs(x) < 1e-3 ? x.toExponential(1) : x.toPrecision(3)).replace("-", "−");
  function curve(e) {
    const a = nodes[e.s], b = nodes[e.t], bend = (b.x - a.x) * 0.45, xs = [], ys = [];
    for (let k = 0; k <= curveSteps; k++) {
      const t = k / curveSteps, u = 1 - t, w = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
      xs.push(w[0] * a.x + w[1] * (a.x + bend) + w[2] * (b.x - bend) + w[3] * b.x);
      ys.push((w[0] + w[1]) * a.y + (w[2] + w[3]) * b.y);
    }
    return [xs.concat(null), ys.concat(null)];
  }
  function lines(list) {
    const xs = [], ys = [];
    for (const e of list) { const [x, y] = curve(e); xs.push(...x); ys.push(...y); }
    return [xs, ys];
  }
  const sliders = bar.querySelector("input[type='range']");
  const floor = () => (sliders ? data.steps[Number(sliders.value)] : 0);
  const hidden = () => new Set([...bar.querySelectorAll("input[type='checkbox']")].filter((c) => !c.checked).map((c) => c.value));
  const shown = (e) => Math.abs(e.strength) >= floor() && !hidden().has(e.color);

  function filter() {
    const parts = edgeTraces.map((i) => lines(traces[i].meta.members.map((m) => edges[m]).filter(shown)));
    Plotly.restyle(plot, { x: parts.map((p) => p[0]), y: parts.map((p) => p[1]) }, edgeTraces);
    const kept = edges.filter(shown), count = bar.querySelector(".fg-count");
    const points = kept.map((e) => { const [x, y] = curve(e), h = Math.floor(curveSteps / 2); return [x[h], y[h], e.hover]; });
    if (pointTrace >= 0) Plotly.restyle(plot, { x: [points.map((p) => p[0])], y: [points.map((p) => p[1])], hovertext: [points.map((p) => p[2])] }, [pointTrace]);
    if (count) count.textContent = kept.length === edges.length ? "" : `${kept.length} of ${edges.length} edges`;
    choose(chosen);
  }
  function choose(number) {
    chosen = number;
    const mine = number === null ? [] : edges.filter((e) => shown(e) && (e.s === number || e.t === number));
    const parts = colors.map((c) => lines(mine.filter((e) => e.color === c)));
    const near = new Set(mine.flatMap((e) => [e.s, e.t]));
    Plotly.restyle(plot, { x: parts.map((p) => p[0]), y: parts.map((p) => p[1]) }, colors.map((_, i) => first + i));
    Plotly.restyle(plot, { opacity: number === null ? dim : dim.map((o) => o * 0.18) }, edgeTraces);
    const faint = nodes.map((_, i) => (number === null || near.has(i) || i === number ? 1 : 0.22));
    Plotly.restyle(plot, { "marker.opacity": [faint] }, [nodeTrace]);
    if (twinTrace >= 0) Plotly.restyle(plot, { "marker.opacity": [faint.map((o, i) => (nodes[i].twin_radius ? o : 0))] }, [twinTrace]);
    mark(number === null ? [] : [number]);
    if (side) describe(number, mine);
  }
  function mark(numbers) {
    Plotly.restyle(plot, { x: [numbers.map((i) => nodes[i].x)], y: [numbers.map((i) => nodes[i].y)],
      "marker.size": [numbers.map((i) => 2 * nodes[i].radius + 8)] }, [first + colors.length]);
  }
  const add = (parent, tag, text, name) => {
    const e = document.createElement(tag);
    if (text) e.textContent = text;
    if (name) e.className = name;
    parent.appendChild(e);
    return e;
  };
  function describe(number, mine) {
    side.replaceChildren();
    if (number === null) { add(side, "p", data.hint, "fg-muted"); return; }
    const node = nodes[number];
    add(side, "h2", node.id);
    if (node.label) add(side, "p", node.label);
    for (const fact of node.facts) add(side, "p", fact, "fg-muted");
    if (/^https:\/\//.test(node.url)) {
      const link = add(add(side, "p"), "a", "page on Neuronpedia");
      link.href = node.url; link.target = "_blank"; link.rel = "noopener noreferrer";
    }
    listed("Effects: it drives", mine.filter((e) => e.s === number), (e) => e.t);
    listed("Causes: it is driven by", mine.filter((e) => e.t === number), (e) => e.s);
  }
  function listed(title, list, other) {
    if (!list.length) return;
    add(side, "h3", `${title} ${list.length}`);
    const ol = add(side, "ol");
    for (const e of [...list].sort((a, b) => Math.abs(b.strength) - Math.abs(a.strength)).slice(0, 40)) {
      const node = nodes[other(e)], li = add(ol, "li");
      add(li, "b", signed(e.strength)).style.color = e.color;
      add(li, "span", `${node.id}  ${node.label}`);
      li.title = [`${nodes[e.s].id} → ${nodes[e.t].id}`, ...e.facts, node.label].join("\n");
      li.addEventListener("click", () => choose(other(e)));
    }
  }
  function search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) { choose(null); return; }
    const hits = nodes.map((n, i) => i).filter((i) => `${nodes[i].id} ${nodes[i].label}`.toLowerCase().includes(wanted));
    if (hits.length === 1) { choose(hits[0]); return; }
    choose(null);
    mark(hits);
    if (side) {
      side.replaceChildren();
      add(side, "h3", `${hits.length} features match`);
      const ol = add(side, "ol");
      for (const i of hits.slice(0, 60)) {
        const li = add(ol, "li");
        add(li, "b", nodes[i].id.split("_")[1]); add(li, "span", `layer ${nodes[i].layer}  ${nodes[i].label}`);
        li.addEventListener("click", () => choose(i));
      }
    }
  }
  const config = { displaylogo: false, responsive: false, scrollZoom: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { format: "svg", filename: "feature-graph" } };
  // The picture is as wide as drawn where there is room, and its columns move together where there is not; only then it scrolls.
  const drawn = shapes.width, fitted = () => Math.round(Math.max(0.7 * drawn, Math.min(drawn, plot.clientWidth)));
  shapes.width = fitted();
  window.addEventListener("resize", () => { if (fitted() !== plot.layout.width) Plotly.relayout(plot, { width: fitted() }); });
  Plotly.newPlot(plot, traces, shapes, config).then(() => {
    plot.on("plotly_click", (event) => {
      const point = event.points.find((p) => p.curveNumber === nodeTrace);
      if (point) choose(point.pointNumber === chosen ? null : point.pointNumber);
    });
    plot.on("plotly_doubleclick", () => choose(null));
    if (side) describe(null, []);
    root.dataset.ready = "yes";
  });
  for (const input of bar.querySelectorAll("input[type='checkbox'], input[type='range']")) input.addEventListener("input", filter);
  const box = bar.querySelector("input[type='search']");
  if (box) box.addEventListener("input", () => search(box.value));
}
document.querySelectorAll(".fg-graph[data-graph]").forEach(featureGraph);
