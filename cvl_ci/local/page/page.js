"use strict";
// What a machine said is only ever text here: textContent, never markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("panel");
  const rows = [...document.querySelectorAll("tr[data-row]")];
  let plots = [];
  let redraw = () => {};

  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const kinds = { worse: "bad", better: "good", unsure: "doubt" };

  const plot = (into, title, points, bars) => {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const iso = (seconds) => new Date(seconds * 1000).toISOString();
    const days = { ...axis, space: 60, incrs: [1, 2, 7, 14, 28].map((count) => count * 86400), values: (_, ticks) => ticks.map((tick) => iso(tick).slice(5, 10)) };
    const time = { label: "day", value: (_, seconds) => (seconds === null ? "" : iso(seconds).slice(0, 16).replace("T", " ")) };
    const circles = {
      show: true, size: 7, stroke: colour("--accent"), fill: colour("--ground"),
    };
    const series = bars
      ? { label: title, stroke: colour("--accent"), fill: colour("--chosen"), paths: uPlot.paths.bars({ size: [0.6, 60] }), points: { show: false } }
      : { label: title, stroke: colour("--accent"), width: 2, points: circles };
    const marked = { label: "outlier", stroke: colour("--red"), paths: () => null, points: { show: true, size: 11, stroke: colour("--red"), fill: colour("--ground"), width: 2 } };
    const values = points.map((point) => point[1]);
    const lines = [points.map((point) => point[0]), values];
    const drawn = [time, series];
    if (!bars && points.some((point) => point[2])) {
      lines.push(points.map((point) => (point[2] ? point[1] : null)));
      drawn.push(marked);
    }
    const width = () => Math.max(240, into.clientWidth);
    const scales = { x: { range: (_, low, high) => [low - 43200, high + 43200] } };
    if (bars) scales.y = { range: (_, __, high) => [0, (high || 1) * 1.1] };
    const tzDate = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
    const chart = new uPlot({ width: width(), height: 240, tzDate, series: drawn, axes: [days, { ...axis, size: 70 }], scales }, lines, into);
    plots.push({ chart, width });
  };

  const clear = () => {
    plots.forEach(({ chart }) => chart.destroy());
    plots = [];
  };

  const nights = document.getElementById("nights");
  const drawNights = () => {
    if (nights && data.nights.length > 1) plot(nights, "US dollars a night", data.nights, true);
  };

  const metricsTable = (row) => {
    const table = make("table", undefined, "metrics");
    const head = table.createTHead().insertRow();
    ["metric", "now", "base", "change", "verdict", "", ""].forEach((text, at) => head.append(make("th", text, at > 0 && at < 4 ? "number" : "")));
    const body = table.createTBody();
    row.metrics.forEach(([name, now, base, change, verdict, better, why]) => {
      const line = body.insertRow();
      [name, now, base, change, verdict, better, why].forEach((text, at) => {
        line.append(make("td", text, at === 0 ? "name" : at < 4 ? "number" : at === 4 ? kinds[text] || "" : "soft"));
      });
    });
    const wide = make("div", undefined, "wide");
    wide.append(table);
    return wide;
  };

  const show = (at) => {
    const row = data.rows[at];
    rows.forEach((element) => element.classList.toggle("chosen", Number(element.dataset.row) === at));
    const drawAll = (metric) => {
      clear();
      panel.replaceChildren(make("h2", `${row.title} on ${row.place}`), make("p", row.versus, "soft"));
      const names = Object.keys(row.trends);
      if (names.length) {
        const choice = make("select");
        choice.setAttribute("aria-label", "Which metric is drawn");
        names.forEach((name) => choice.append(new Option(name, name, false, name === metric)));
        choice.addEventListener("change", () => { drawAll(choice.value); panel.querySelector("select").focus(); });
        const holder = make("div", undefined, "plot");
        panel.append(choice, holder);
        plot(holder, metric, row.trends[metric], false);
      }
      if (row.metrics.length) panel.append(metricsTable(row));
      drawNights();
    };
    const first = row.telling in row.trends ? row.telling : Object.keys(row.trends)[0];
    redraw = () => drawAll(panel.querySelector("select")?.value || first);
    drawAll(first);
  };

  rows.forEach((element) => element.querySelector("button").addEventListener("click", () => {
    show(Number(element.dataset.row));
    panel.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }));
  document.getElementById("search").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    rows.forEach((element) => { element.hidden = !element.textContent.toLowerCase().includes(wanted); });
  });
  addEventListener("resize", () => plots.forEach(({ chart, width }) => chart.setSize({ width: width(), height: 240 })));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  if (data.rows.length) show(data.first);
})();
