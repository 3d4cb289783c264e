// A figure as a file: what is drawn, dark ink on white paper, with the remark on its use. Nothing leaves the browser
// but to the reader's own disk, and the file's name tells nobody.
(function () {
  "use strict";
  const INK = "#1c2126", PALE = "#e3e6e9";
  const REMARK = "calcitrack. Research use only, not for diagnosis.";
  const REMARK_PX = 22;
  const PNG_SCALE = 2;

  // Plotly takes colours from the layout, and the page's style sheet does not go with the file.
  function paper(drawn) {
    const layout = JSON.parse(JSON.stringify(drawn));
    const margin = layout.margin || {};
    layout.paper_bgcolor = "#ffffff";
    layout.plot_bgcolor = "#ffffff";
    layout.font = Object.assign({}, layout.font, { color: INK });
    Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name)).forEach((name) => {
      const axis = layout[name];
      axis.color = INK;
      axis.gridcolor = PALE;
      if (axis.title && axis.title.font) { axis.title.font.color = INK; }
    });
    layout.margin = Object.assign({}, margin, { b: (margin.b || 0) + REMARK_PX });
    layout.annotations = (layout.annotations || []).concat([{
      text: REMARK, showarrow: false, xref: "paper", yref: "paper", x: 1, y: 0, xanchor: "right", yanchor: "bottom",
      yshift: -(margin.b || 0) - REMARK_PX + 3, font: { size: 11, color: INK },
    }]);
    return layout;
  }

  function save() {
    const context = window.dash_clientside.callback_context;
    const pressed = context.triggered_id;
    if (!pressed || !context.triggered[0].value) { return window.dash_clientside.no_update; }
    const group = Array.from(document.querySelectorAll(".saving"))
      .find((each) => each.dataset.figure === pressed.save + "-figure");
    const graph = group && document.querySelector("#" + CSS.escape(group.dataset.figure) + " .js-plotly-plot");
    if (!graph || !window.Plotly) { return "There is no figure yet."; }
    const name = "calcitrack-" + group.dataset.stem;
    const box = graph.getBoundingClientRect();
    const drawn = { data: graph.data, layout: paper(graph.layout) };
    const how = {
      format: pressed.kind, width: Math.round(box.width), height: Math.round(box.height) + REMARK_PX,
      scale: pressed.kind === "png" ? PNG_SCALE : 1, filename: name,
    };
    return window.Plotly.downloadImage(drawn, how)
      .then(() => "Saved: " + name + "." + pressed.kind)
      .catch(() => "It could not be saved.");
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    calcitrack_figures: { save: save, paper: paper },
  });
})();
