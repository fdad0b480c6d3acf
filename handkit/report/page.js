"use strict";

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function draw(chart) {
  const place = document.getElementById(chart.id);
  const color = (i) => css("--c" + (i % 7));
  const dashes = ["solid", "dash", "dashdot", "dot", "longdash", "longdashdot", "solid"];
  const traces = chart.traces.map((trace) => ({
    ...trace,
    line: { color: color(trace.color), width: 2.2, dash: dashes[trace.color % 7], ...trace.line },
    marker: { color: color(trace.color) },
  }));
  const axis = (title, more) => ({
    title: { text: title, standoff: 8 },
    gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--soft"), showline: true,
    ...more,
  });
  const layout = {
    title: chart.title ? { text: chart.title, font: { size: 15 }, x: 0.02, xanchor: "left" } : undefined,
    xaxis: axis(chart.x, { ticksuffix: "", hoverformat: ".4g", unifiedhovertitle: { text: "%{x:.4g}" + chart.x_suffix } }),
    yaxis: axis(chart.y, { range: chart.y_range, tickformat: chart.y_format, rangemode: "tozero" }),
    hovermode: chart.hover, bargap: 0.06,
    paper_bgcolor: css("--bg"), plot_bgcolor: css("--bg"),
    font: { color: css("--fg"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--line"), font: { color: css("--fg") } },
    boxmode: "group",
    legend: chart.y === "PCK" || chart.legend === "below"
      ? { x: 0.99, y: 0.02, xanchor: "right", yanchor: "bottom", bgcolor: css("--bg") + "cc" }
      : { x: 0.99, y: 0.99, xanchor: "right", yanchor: "top", bgcolor: css("--bg") + "cc" },
    showlegend: chart.y === "PCK" || chart.legend === "below" || traces.length > 1,
    margin: { l: 62, r: 14, t: 36, b: 50 },
  };
  const modeBarButtons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  if (matchMedia("print").matches) {
    // The page's own size is not known yet when printing begins; these fit A4 and Letter.
    layout.width = place.parentElement.matches(".charts:not(.one)") ? 325 : 650;
    layout.height = 250;
    layout.font.size = 10;
  }
  Plotly.react(place, traces, layout, { responsive: true, displaylogo: false, modeBarButtons });
}

function sortable(table) {
  const heads = table.tHead.rows[0].cells;
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending" && head.cellIndex > 0
        || head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const value = (row) => row.cells[head.cellIndex].dataset.v ?? row.cells[head.cellIndex].textContent;
      const compare = (a, b) => {
        const [p, q] = [value(a), value(b)];
        if (p === "" || q === "") return (p === "") - (q === "");
        const order = head.cellIndex > 0 ? Number(p) - Number(q) : p.localeCompare(q, undefined, { numeric: true });
        return falling ? -order : order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  }
}

const charts = JSON.parse(document.getElementById("charts").textContent);
const drawAll = () => charts.forEach(draw);
drawAll();
document.querySelectorAll("table.sortable").forEach(sortable);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
matchMedia("print").addEventListener("change", drawAll);
