// Charts: one way of drawing for the whole workbench, on Plotly.react.
// A chart is a plain description (title, unit, series, references, sentence); `draw` makes it or brings it up to date.
// The rules it keeps: axes do not jump while live, a zoom survives updates, a double click resets, colours follow
// the theme, the last value is labelled, every chart can be read as a table.
(() => {
  "use strict";
  window.workbench ||= {};
  const { workbench } = window;
  if (workbench.charts) return;

  const LOOKS = {
    base: { dash: "solid", marker: "circle" },
    sft: { dash: "6px,3px", marker: "square" },
    reward: { dash: "2px,3px", marker: "triangle-up" },
    dpo: { dash: "solid", marker: "diamond" },
    ppo: { dash: "7px,3px,2px,3px", marker: "x" },
  };
  const SECOND = { solid: "4px,3px" }; // the other line of one model: dashed where the model is solid, else solid
  const THIRD = "1.5px,3px";
  const PHONE = "(max-width: 639px)";
  const live = new Map(); // host element -> what is drawn in it
  let loading = null;

  const token = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const colour = (model) => token("--m-" + (LOOKS[model] ? model : "base"));
  const look = (model) => LOOKS[model] || LOOKS.base;
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function faint(hex, opacity) {
    const n = parseInt(hex.slice(1), 16);
    return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},${opacity})`;
  }

  // A number as people read it: real minus sign, as many digits as its size deserves.
  function number(value, digits) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const places = digits ?? (size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.095 || size === 0 ? 2 : 3);
    const text = size > 0 && size < 0.0005 && digits === undefined ? value.toExponential(1) : value.toFixed(places);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace(/-/g, "−");
  }

  function load(url) {
    loading ??= new Promise((resolve, reject) => {
      if (window.Plotly) return resolve(window.Plotly);
      const script = document.createElement("script");
      script.src = url || workbench.plotly;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => {
        loading = null;
        script.remove();
        reject(new Error("The chart library did not load. Reload the page."));
      };
      document.head.append(script);
    });
    return loading;
  }

  // Exponential average with the start corrected for (as in Adam), so that the first value is not a zero. A step
  // without a valid number stays a gap.
  function smooth(values, keep = 0.8) {
    let sum = 0, weight = 0;
    return values.map((value) => {
      if (value === null || !Number.isFinite(value)) return null;
      sum = keep * sum + (1 - keep) * value;
      weight = keep * weight + (1 - keep);
      return sum / weight;
    });
  }

  const digitsFor = (step) => Math.max(0, 1 - Math.floor(Math.log10(step) + 1e-9)); // one more than the axis shows
  const finite = (values) => values.filter((v) => v !== null && Number.isFinite(v));

  function niceStep(span, parts) {
    const rough = span / parts, power = 10 ** Math.floor(Math.log10(rough));
    return power * ([1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999) || 10);
  }

  // Round limits around the values: 3 to 5 steps of 1, 2, 2.5 or 5 times a power of ten.
  function limits(low, high, floor, ceiling) {
    if (!(high > low)) [low, high] = [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
    const step = niceStep(high - low, 4);
    let [a, b] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
    if (floor !== undefined) a = Math.max(a, floor);
    if (ceiling !== undefined) b = Math.min(b, ceiling);
    return { low: a, high: b, step };
  }

  function axisOf(state, spec, lines) {
    const shown = finite(lines.flatMap((l) => [...l.y, ...(l.low || []), ...(l.high || [])]));
    if (!shown.length) shown.push(...(spec.start || [0, 1]));
    let [low, high] = [Math.min(...shown), Math.max(...shown)];
    if (spec.zero) low = Math.min(low, 0);
    for (const reference of spec.references || []) {
      const far = Math.max(high, reference.y) - Math.min(low, reference.y);
      const near = high - low >= 0.12 * far || shown.length < 2;
      if (state.references.has(reference.label) || near) {
        state.references.add(reference.label); // once shown it stays: an axis that comes and goes jumps
        [low, high] = [Math.min(low, reference.y), Math.max(high, reference.y)];
      }
    }
    state.low = Math.min(state.low ?? low, low);
    state.high = Math.max(state.high ?? high, high);
    return limits(state.low, state.high, spec.floor, spec.ceiling);
  }

  const axisLook = () => ({
    zeroline: false, showline: false, ticks: "", ticklabelstandoff: 6, fixedrange: false, automargin: false,
    tickfont: { size: 12, color: token("--c-axis") }, gridcolor: token("--c-grid"), linecolor: token("--c-axis"),
  });

  function layoutOf(state, spec, y, x, margin) {
    const zoom = state.zoom;
    return {
      height: state.height, margin: { t: 10, b: 44, pad: 0, ...margin }, showlegend: false, hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: "zoom", autosize: true,
      font: { family: token("--font-ui"), size: 12, color: token("--ink-3") },
      hoverlabel: { bgcolor: token("--surface"), bordercolor: token("--line-control"), font: { color: token("--ink"), size: 12 } },
      xaxis: {
        ...axisLook(), ticklabelstandoff: 4, showgrid: false, showline: true, range: zoom?.x || x.range,
        title: { text: safe(spec.xTitle || "step"), standoff: 8, font: { size: 12, color: token("--ink-3") } },
        ...(zoom?.x ? { nticks: 5, tickmode: "auto", dtick: undefined } : { dtick: x.step, tick0: x.tick0 ?? 0, tickmode: "linear" }),
      },
      yaxis: {
        ...axisLook(), range: zoom?.y || [y.low, y.high + (y.high - y.low) * 0.012], // a hair more, else the top grid line is cut off
        ...(zoom?.y ? { nticks: 5, tickmode: "auto" } : { dtick: y.step, tick0: y.low, tickmode: "linear" }),
      },
      shapes: [], annotations: [],
    };
  }

  // Labels at the right keep 14 px between them; `at` is the wanted height in pixels, `put` the answer.
  function spread(items) {
    const sorted = [...items].sort((a, b) => a.at - b.at);
    let end = -Infinity;
    for (const item of sorted) {
      item.put = Math.max(item.at, end);
      end = item.put + item.room;
    }
    const over = end - items[0]?.bottom;
    if (over > 0) {
      let start = items[0].bottom;
      for (const item of sorted.reverse()) {
        item.put = Math.min(item.put, start - item.room);
        start = item.put;
      }
    }
    return items;
  }

  function endLabel(line, value, step) {
    const said = line.percent ? `${number(value, 0)} %` : number(value, line.digits ?? digitsFor(step));
    return (line.label ? line.label + " " : "") + said;
  }

  function lineChart(state, spec) {
    const lines = spec.series.map((s) => {
      const averaged = s.raw === false ? null : smooth(s.y);
      return { ...s, shown: averaged || s.y, averaged };
    });
    const y = axisOf(state, spec, lines);
    const most = Math.max(1, spec.xMax || 0, ...lines.map((l) => finite(l.x).at(-1) || 0));
    state.xMax = Math.max(state.xMax || 0, most);
    const xStep = niceStep(state.xMax, 4);
    const names = [...(spec.references || []).map((r) => r.label.length * 6.4), ...lines.map((l) => ((l.label || "").length + 6) * 7 + 10),
      ...lines.map((l) => (l.low ? 88 : 0))]; // "0.84 to 0.92" beside the last value
    const margin = { l: 40, r: Math.ceil(Math.max(56, ...names)) + 8 };
    const layout = layoutOf(state, spec, y, { range: [0, state.xMax], step: xStep }, margin);
    const traces = [], labels = [];
    const room = state.height - 54, pixel = (v) => ((y.high - v) / (y.high - y.low)) * room;
    const width = Math.max(60, (state.host.clientWidth || 320) - margin.l - margin.r);

    for (const line of lines) {
      const ink = colour(line.model), opacity = line.faint ? 0.55 : 1;
      const own = look(line.model).dash, dash = [own, SECOND[own] || "solid", THIRD][line.nth ?? 0];
      if (line.low) traces.push(band(line, ink));
      if (line.averaged)
        traces.push({ x: line.x, y: line.y, mode: "lines", hoverinfo: "skip", connectgaps: false,
          line: { color: ink, width: 1 }, opacity: Number(token("--c-raw")) * opacity });
      traces.push({ x: line.x, y: line.shown, mode: "lines", connectgaps: false, opacity,
        line: { color: ink, width: 2, dash }, hovertemplate: hover(spec, line), text: line.y.map((v) => number(v)) });
      const last = line.shown.findLastIndex((v) => v !== null && Number.isFinite(v));
      if (last < 0) continue;
      traces.push({ x: [line.x[last]], y: [line.shown[last]], mode: "markers", cliponaxis: false, opacity, hoverinfo: "skip",
        marker: { symbol: look(line.model).marker, size: 9, color: ink } });
      const bounds = line.low ? `${number(line.low[last], line.percent ? 0 : digitsFor(y.step))} to ${number(line.high[last], line.percent ? 0 : digitsFor(y.step))}` : "";
      labels.push({ x: line.x[last], y: line.shown[last], text: endLabel(line, line.shown[last], y.step), bounds,
        at: pixel(line.shown[last]), room: bounds ? 33 : 15, bottom: room + 14,
        lift: bounds ? Math.max(0, pixel(line.shown[last]) + 24 - room) : 0 }); // the interval stays off the axis
    }
    for (const reference of spec.references || []) {
      if (!state.references.has(reference.label)) continue;
      layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: reference.y, y1: reference.y, layer: "below",
        line: { color: token("--c-ref"), width: 1, dash: "4px,4px" } });
      labels.push({ reference: true, y: reference.y, text: reference.label, at: pixel(reference.y), room: 15, bottom: room + 14 });
    }
    const outside = (l) => l.reference || 40 + (l.x / state.xMax) * width + l.text.length * 7 + 18 > 40 + width;
    if (!state.zoom) {
      spread(labels.filter(outside));
      // while live the ends of two lines stand over the same step, in the middle of the picture
      for (const x of new Set(labels.map((l) => l.x))) spread(labels.filter((l) => !outside(l) && l.x === x));
    }
    for (const label of labels) layout.annotations.push(annotation(label, state.zoom));
    return { traces, layout };
  }

  function band(line, ink) {
    const at = line.x.map((_, i) => i).filter((i) => line.low[i] !== null && line.high[i] !== null);
    return { x: [...at.map((i) => line.x[i]), ...at.map((i) => line.x[i]).reverse()],
      y: [...at.map((i) => line.high[i]), ...at.map((i) => line.low[i]).reverse()], mode: "lines", fill: "toself",
      fillcolor: faint(ink, token("--c-band")), line: { width: 0 }, hoverinfo: "skip" };
  }

  const hover = (spec, line) => `${safe(spec.xTitle || "step")} %{x}: %{text}${line.percent ? " %" : ""}<extra>${safe(line.label || "")}</extra>`;

  function annotation(label, zoom) {
    const text = label.reference
      ? safe(label.text)
      : `<b>${safe(label.text)}</b>` + (label.bounds ? `<br><span style="color:${token("--ink-3")}">${safe(label.bounds)}</span>` : "");
    return { text, y: label.y, yref: "y", x: label.reference ? 1 : label.x, xref: label.reference ? "paper" : "x", showarrow: false,
      xanchor: "left", yanchor: label.bounds ? "top" : "middle", align: "left", xshift: label.reference ? 6 : 7,
      yshift: (label.bounds ? 9 : 0) + (label.lift || 0) + (zoom || label.put === undefined ? 0 : label.at - label.put),
      font: { size: 12, color: token(label.reference ? "--ink-3" : "--ink") } };
  }

  function histogram(state, spec) {
    const edges = spec.edges, series = spec.series;
    const top = limits(0, Math.max(5, ...series.flatMap((s) => s.shares)), 0);
    state.high = Math.max(state.high || 0, top.high);
    const rows = series.length > 2 ? series.length : 1;
    const y = { low: 0, high: state.high * (1 + 0.14 * rows + 0.06), step: niceStep(state.high, 3.5) };
    const xStep = niceStep(edges.at(-1) - edges[0], 6);
    const layout = layoutOf(state, spec, y, { range: [edges[0], edges.at(-1)], step: xStep, tick0: 0 }, { l: 32, r: 14 });
    if (!state.zoom) layout.yaxis = { ...layout.yaxis, tickmode: "array", tickvals: ticks(state.high, y.step) };
    const order = [...series].sort((a, b) => (a.mean ?? 0) - (b.mean ?? 0));
    const traces = [];
    for (const one of series) {
      const ink = colour(one.model), opacity = one.faint ? 0.55 : 1;
      traces.push({ x: [edges[0], ...edges.slice(0, -1), edges.at(-1), edges.at(-1)], y: [0, ...one.shares, one.shares.at(-1), 0], mode: "lines", opacity,
        fill: "tozeroy", fillcolor: faint(ink, token("--c-band")), line: { color: ink, width: 2, shape: "hv" },
        hovertemplate: "%{y:.1f} %<extra>" + safe(one.label) + "</extra>" });
      if (one.mean === null || one.mean === undefined) continue;
      const place = order.indexOf(one), height = state.high * (1 + 0.14 * (rows > 1 ? place + 1 : 1));
      traces.push({ x: [one.mean, one.mean], y: [0, height], mode: "lines", hoverinfo: "skip", opacity,
        line: { color: ink, width: 1.5, dash: "2px,2px" } });
      traces.push({ x: [one.mean], y: [height], mode: "markers", cliponaxis: false, hoverinfo: "skip", opacity,
        marker: { symbol: look(one.model).marker, size: 9, color: ink } });
      const left = series.length > 1 && place === 0 && (one.mean - edges[0]) / (edges.at(-1) - edges[0]) > 0.14;
      layout.annotations.push({ text: `<b>${number(one.mean, spec.digits)}</b>`, x: one.mean, y: height, showarrow: false,
        xanchor: left ? "right" : "left", xshift: left ? -7 : 7, bgcolor: rows > 1 ? token("--surface") : undefined, font: { size: 12, color: token("--ink") } });
    }
    return { traces, layout };
  }

  const ticks = (high, step) => Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, i) => i * step);

  function tableOf(spec) {
    if (spec.kind === "histogram")
      return { head: [spec.xTitle, ...spec.series.map((s) => `${s.label}, ${spec.unit}`)],
        rows: spec.edges.slice(0, -1).map((edge, i) => [`${number(edge, spec.edgeDigits)} to ${number(spec.edges[i + 1], spec.edgeDigits)}`, ...spec.series.map((s) => number(s.shares[i], 1))]) };
    const steps = [...new Set(spec.series.flatMap((s) => s.x))].sort((a, b) => a - b);
    const at = spec.series.map((s) => new Map(s.x.map((x, i) => [x, i])));
    const cell = (s, i) => (i === undefined ? "" : number(s.y[i]) + (s.low ? ` (${number(s.low[i])} to ${number(s.high[i])})` : ""));
    return { head: [spec.xTitle || "step", ...spec.series.map((s) => [s.label, spec.unit].filter(Boolean).join(", "))],
      rows: steps.map((x) => [String(x), ...spec.series.map((s, k) => cell(s, at[k].get(x)))]) };
  }

  function fillTable(state) {
    if (!state.details.open) return;
    const { el } = workbench, { head, rows } = tableOf(state.spec);
    const table = el("table", {}, el("caption", { class: "wb-hidden" }, state.spec.title),
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((text, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, text))))));
    state.table.replaceChildren(table);
  }

  // What a screen reader hears instead of the picture: the last values, in words.
  function inWords(spec) {
    const parts = spec.series.map((s) => {
      if (spec.kind === "histogram") return `${s.label}: mean ${number(s.mean, spec.digits)}`;
      const last = s.y.findLastIndex((v) => v !== null && Number.isFinite(v));
      if (last < 0) return "no values yet";
      return `${s.label ? s.label + ": " : ""}${number(s.y[last])}${s.low ? ` (${number(s.low[last])} to ${number(s.high[last])})` : ""} at ${spec.xTitle || "step"} ${s.x[last]}`;
    });
    return `${spec.title}, ${spec.unit}. ${parts.join(". ")}`;
  }

  function build(host, spec) {
    const { el } = workbench;
    const state = { host: null, references: new Set(), zoom: null, busy: false };
    state.host = el("div", { class: "wb-chart-plot", role: "img", "aria-label": spec.title });
    state.title = el("h4", { class: "wb-chart-title" });
    state.unit = el("p", { class: "wb-chart-unit" });
    state.sentence = el("p", { class: "wb-chart-sentence" });
    state.table = el("div", { class: "wb-chart-table", tabindex: "0", role: "region", "aria-label": `${spec.title} as a table` });
    state.details = el("details", { class: "wb-chart-details" }, el("summary", {}, "Show as table"), state.table);
    state.details.addEventListener("toggle", () => fillTable(state));
    state.figure = el("figure", { class: "wb-chart" }, state.title, state.unit, state.host, state.sentence, state.details);
    // A redraw in the middle of a drag would tear the selection away: hold it back until the button is up.
    state.host.addEventListener("pointerdown", () => (state.busy = true));
    const free = () => {
      if (!state.busy) return;
      state.busy = false;
      setTimeout(() => paint(state), 0);
    };
    addEventListener("pointerup", free);
    addEventListener("pointercancel", free);
    state.leave = () => { for (const name of ["pointerup", "pointercancel"]) removeEventListener(name, free); };
    state.watch = new ResizeObserver(() => {
      const width = Math.round(state.host.clientWidth);
      if (width && width !== state.width) paint(state);
    });
    // Ten charts redrawn twice a second are a fifth of a core: those nobody sees wait until they come into view.
    state.sight = new IntersectionObserver((entries) => {
      state.seen = entries.at(-1).isIntersecting;
      if (state.seen && state.stale) paint(state);
    }, { rootMargin: "100px" });
    host.replaceChildren(state.figure);
    state.watch.observe(state.host);
    state.sight.observe(state.host);
    live.set(host, state);
    return state;
  }

  function follow(state) {
    state.host.on("plotly_relayout", (change) => {
      const range = (axis) => (change[axis + ".range[0]"] !== undefined ? [change[axis + ".range[0]"], change[axis + ".range[1]"]] : undefined);
      const [x, y] = [range("xaxis"), range("yaxis")];
      if (x || y) {
        state.zoom = { x: x || state.zoom?.x, y: y || state.zoom?.y };
        state.figure.dataset.zoomed = "yes";
      }
    });
    state.host.on("plotly_doubleclick", () => {
      state.zoom = null;
      delete state.figure.dataset.zoomed;
      paint(state);
      return false;
    });
  }

  function paint(state) {
    if (!window.Plotly || state.busy || !state.host.isConnected || !state.host.clientWidth) return;
    state.host.setAttribute("aria-label", inWords(state.spec));
    state.stale = state.following && state.seen === false;
    if (state.stale) return;
    state.width = Math.round(state.host.clientWidth);
    state.height = matchMedia(PHONE).matches ? 220 : state.spec.height || 200;
    const { traces, layout } = (state.spec.kind === "histogram" ? histogram : lineChart)(state, state.spec);
    const config = { displayModeBar: false, doubleClick: false, responsive: false, showTips: false, scrollZoom: false };
    window.Plotly.react(state.host, traces, { ...layout, width: state.width }, config);
    if (!state.following) {
      state.following = true;
      follow(state);
    }
  }

  // Draw `spec` into `host`, or bring what is there up to date. A new `spec.key` starts afresh (axes, zoom).
  // spec: {key, title, unit, xTitle, xMax, sentence, references: [{y, label}], floor, ceiling, zero, series}; a line's
  // series is {model, label, x, y, low, high, nth (0 to 2: which line of its model), faint, raw: false for no smoothing, percent, digits}; with
  // kind "histogram" also {edges}, and series {model, label, shares (percent per bin), mean}.
  async function draw(host, spec) {
    let state = live.get(host);
    if (!state) state = build(host, spec);
    if (state.spec && state.spec.key !== spec.key) Object.assign(state, { low: undefined, high: undefined, xMax: 0, zoom: null, references: new Set() });
    state.spec = spec;
    state.title.textContent = spec.title;
    state.unit.textContent = spec.unit || "";
    state.sentence.textContent = spec.sentence || "";
    fillTable(state);
    await load();
    paint(state);
  }

  function remove(host) {
    const state = live.get(host);
    if (!state) return;
    live.delete(host);
    state.watch.disconnect();
    state.sight.disconnect();
    state.leave();
    if (window.Plotly && state.following) window.Plotly.purge(state.host);
    host.replaceChildren();
  }

  const repaint = () => live.forEach(paint);
  new MutationObserver(repaint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  matchMedia(PHONE).addEventListener("change", repaint);

  workbench.charts = { draw, remove, load, number, smooth, limits, looks: LOOKS };
})();
