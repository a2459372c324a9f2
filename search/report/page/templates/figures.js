"use strict";
// Draws the figures of the page in the colours of its stylesheet, and redraws them for the dark theme and for print.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const PAPER_WIDTH = 680; // pixels

  // "var(--accent)" -> its colour in the stylesheet.
  const coloured = (value, style) => {
    if (typeof value === "string") return value.replace(/^var\((--[a-z]+)\)$/, (_, name) => style.getPropertyValue(name).trim());
    if (Array.isArray(value)) return typeof value.at(-1) === "number" ? value : value.map((item) => coloured(item, style)); // numbers need no colour
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
  };

  const axis = { gridcolor: "var(--line)", linecolor: "var(--line)", zeroline: false, ticks: "", automargin: true, fixedrange: false };
  const base = (narrow) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: "var(--ink)" },
    hoverlabel: { bgcolor: "var(--paper)", bordercolor: "var(--line)", font: { color: "var(--ink)" }, align: "left" },
    margin: { l: narrow ? 46 : 60, r: 16, t: 26, b: 48 },
    showlegend: false,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hovermode: "closest",
    dragmode: narrow ? false : "zoom",
    bargap: 0.25,
  });

  const layout = (own, style, element, width) => {
    const available = width || element.clientWidth;
    const merged = { ...base(available < 480), ...own, height: element.clientHeight, ...(width ? { width } : { autosize: true }) };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (name === "yaxis2" && !own.yaxis2) continue;
      merged[name] = { ...axis, ...own[name] };
    }
    return coloured(merged, style);
  };

  const draw = (width = 0) => {
    const style = getComputedStyle(document.documentElement);
    for (const [id, figure] of Object.entries(figures)) {
      const element = document.getElementById(id);
      const fits = width && Math.min(width, element.closest(".grid") ? width / 2 - 12 : width);
      const config = { displayModeBar: false, responsive: !width, displaylogo: false };
      Plotly.react(element, coloured(figure.data, style), layout(figure.layout, style, element, fits), config);
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printed");
    draw(PAPER_WIDTH);
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printed");
    draw();
  });
})();
