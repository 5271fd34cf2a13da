/* What every tab of the page shares, on window.workbench. Words of people and models enter only as text nodes. */
(() => {
  if (window.workbench) return;

  const SVG = "http://www.w3.org/2000/svg";
  const SVG_TAGS = new Set(["svg", "path", "circle", "line", "rect", "g", "polyline", "polygon", "text"]);

  /* el("button", {class: "wb-button", onclick: f, "aria-label": "…"}, "text", child, [children], null) */
  function el(tag, attributes = {}, ...children) {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "value") node.value = value;
      else node.setAttribute(name, value === true ? "" : value);
    }
    append(node, children);
    return node;
  }

  function append(node, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }

  /* Replace all children of `node`; returns it. */
  function fill(node, ...children) {
    node.replaceChildren();
    append(node, children);
    return node;
  }

  /* ---- talking to Python ---- */

  /* error.offline: no answer came (the app is gone or the network is); otherwise the app refused, and says why. */
  class CallError extends Error {
    constructor(message, offline) {
      super(message);
      this.offline = offline;
    }
  }

  const LOST = "! No connection to the workbench. Training goes on; this page tries again.";

  async function call(server, name, payload = {}) {
    const answer = await server[`wb_${name}`](payload);
    if (answer === undefined || answer === null) {
      setOnline(false);
      throw new CallError(LOST, true);
    }
    setOnline(true);
    if (answer.error) throw new CallError(answer.error, false);
    return answer;
  }

  let online = true;
  function setOnline(value) {
    if (online === value) return;
    online = value;
    emit("workbench:online", { online });
  }

  function emit(name, detail) {
    window.dispatchEvent(new CustomEvent(name, { detail }));
  }

  function on(name, listener) {
    window.addEventListener(name, (event) => listener(event.detail));
  }

  /* ---- live region ---- */

  let region = null;
  function announce(text) {
    if (!region) {
      region = el("div", { class: "wb-hidden", role: "status", "aria-live": "polite" });
      document.body.append(region);
    }
    region.textContent = "";
    setTimeout(() => (region.textContent = text), 30);
  }

  /* ---- tabs ---- */

  const TAB_NAMES = ["demonstrate", "rank", "train", "score", "compare"];
  let waiting = null;  // what openTab was given, until the tab's event is sent

  const tabButton = (name) => document.getElementById(`wb-tab-${name}-button`);

  function activeTab() {
    return TAB_NAMES.find((name) => tabButton(name)?.getAttribute("aria-selected") === "true") || null;
  }

  /* Open a tab. `options` reach it in the event workbench:tab as detail: {name, ...options}. */
  function openTab(name, options = {}) {
    const button = tabButton(name);
    if (!button) return;
    waiting = options;
    if (button.getAttribute("aria-selected") === "true") tabOpened(name);
    else button.click();
  }

  function tabOpened(name) {
    const options = waiting || {};
    waiting = null;
    document.body.dataset.tab = name;
    if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
    // The tab mounts its panel on its first visit: the event is kept for it, see mount().
    lastOptions[name] = options;
    setTimeout(() => emit("workbench:tab", { name, ...options }), 0);
  }

  const lastOptions = {};

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[role=tab]");
    const name = button && TAB_NAMES.find((each) => button.id === `wb-tab-${each}-button`);
    if (name) tabOpened(name);
  });

  /* Run a panel's script; a mistake in one panel is shown in its place and leaves the others working. */
  function mount(name, element, start) {
    const root = element.querySelector(`.wb-${name}`) || element;
    if (root.dataset.mounted) return;
    root.dataset.mounted = "1";
    try {
      start();
    } catch (error) {
      console.error(error);
      fill(root, el("p", { class: "wb-note wb-bad", role: "alert" }, `This part of the page stopped: ${error.message}`));
    }
  }

  /* ---- keys ---- */

  const tables = new Map();

  /* keys("rank", [{keys: ["1", "ArrowLeft"], show: "1 or ←", label: "A is better", run, inField: false}])
     Names are KeyboardEvent.key; "Ctrl+Enter" also means Cmd+Enter. The table "everywhere" is always on.
     `run` may return false: then the key is left to the next table. A tab with two tables gives each a `title`. */
  function keys(tab, table, title = tab) {
    tables.set(title, { tab, table });
  }

  const tablesOf = (tab) => [...tables].filter(([, each]) => each.tab === tab && each.table.length);

  const inField = (target) => !!target.closest?.("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.altKey) return;
    const control = event.ctrlKey || event.metaKey;
    const pressed = (control ? "Ctrl+" : "") + event.key;
    if (sheet?.open && event.key !== "Escape" && event.key !== "?") return;
    const typing = inField(event.target);
    for (const [, { table }] of [...tablesOf(activeTab()), ...tablesOf("everywhere")]) {
      for (const entry of table) {
        if (!entry.run || !entry.keys.includes(pressed) || (typing && !entry.inField)) continue;
        if (event.repeat && !entry.repeats) return;
        if (entry.run(event) === false) continue;
        event.preventDefault();
        return;
      }
    }
  });

  let sheet = null;
  function showKeys() {
    if (sheet?.open) return sheet.close();
    sheet?.remove();
    const parts = [...TAB_NAMES, "everywhere"].flatMap(tablesOf).map(([title, { table }]) =>
      el("section", {}, el("h3", {}, title[0].toUpperCase() + title.slice(1)),
        el("dl", {}, table.filter((entry) => entry.label).map((entry) => [
          el("dt", {}, (entry.show || entry.keys).map((each) => kbd(each))),
          el("dd", {}, entry.label),
        ]))));
    sheet = el("dialog", { class: "wb wb-sheet", "aria-label": "All keys" },
      el("div", { class: "wb-sheet-head" }, el("h2", {}, "All keys"),
        el("button", { class: "wb-button", onclick: () => sheet.close() }, "Close")),
      el("p", { class: "wb-quiet" }, "Disabled while you type, except Ctrl shortcuts."),
      el("div", { class: "wb-sheet-parts" }, parts));
    sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
    document.body.append(sheet);
    sheet.showModal();
  }

  keys("everywhere", [
    { keys: ["?"], label: "all keys", run: showKeys },
    { keys: ["Escape"], show: ["Esc"], label: "close", run: () => (sheet?.open ? sheet.close() : false) },
  ]);

  const kbd = (key) => el("kbd", { class: "wb-key" }, key);

  /* Show that a key was taken: its button lights up for 120 ms. */
  function flash(button) {
    button?.classList.add("wb-flash");
    setTimeout(() => button?.classList.remove("wb-flash"), 120);
  }

  /* ---- small pieces ---- */

  const number = (value, digits = 0) => (value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);
  const percent = (value) => `${Math.round(100 * value)} %`;
  const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const plain = (text) => (text || "").replace(/\s+/g, " ").trim();

  function seconds(value) {
    if (value < 90) return `${Math.max(1, Math.round(value))} s`;
    if (value < 5400) return `${Math.round(value / 60)} min`;
    return `${(value / 3600).toFixed(1)} h`;
  }

  /* A rate on a line from 0 to 100 %, 50 % marked, as dot and interval: rate = {value, low, high, n}. */
  function wilsonBar(rate, { label = "", colour = "var(--ink)" } = {}) {
    const x = (value) => 2 + 176 * value;
    const spoken = `${percent(rate.value)} (${Math.round(100 * rate.low)} to ${Math.round(100 * rate.high)}), n ${rate.n}`;
    return el("svg", { class: "wb-wilson", viewBox: "0 0 180 20", role: "img", "aria-label": `${label} ${spoken}`.trim() },
      el("line", { x1: 2, x2: 178, y1: 10, y2: 10, class: "wb-wilson-line" }),
      el("line", { x1: x(0.5), x2: x(0.5), y1: 3, y2: 17, class: "wb-wilson-half" }),
      el("line", { x1: x(rate.low), x2: x(rate.high), y1: 10, y2: 10, class: "wb-wilson-range" }),
      el("circle", { cx: x(rate.value), cy: 10, r: 4.5, fill: colour }));
  }

  const rateText = (rate) => `${percent(rate.value)} (${Math.round(100 * rate.low)} to ${Math.round(100 * rate.high)}), n ${rate.n}`;

  /* A thin bar, part of whole. */
  function bar(part, whole, { label = "", colour = "var(--accent)" } = {}) {
    const share = whole > 0 ? Math.min(1, part / whole) : 0;
    const inner = el("span", { class: "wb-bar-in" });
    inner.style.width = `${100 * share}%`;
    inner.style.background = colour;
    return el("span", { class: "wb-bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": whole, "aria-valuenow": Math.min(part, whole) }, inner);
  }

  /* An empty state: a sentence and what to do next. actions: [[label, run, primary?], ...] */
  function emptyState(text, actions = []) {
    return el("div", { class: "wb-empty" }, el("p", {}, text),
      el("div", { class: "wb-row" }, actions.map(([label, run, primary]) =>
        el("button", { class: primary ? "wb-button wb-primary" : "wb-button", onclick: run }, label))));
  }

  const local = {
    get(key, fallback = null) {
      try {
        const text = localStorage.getItem(`workbench:${key}`);
        return text === null ? fallback : JSON.parse(text);
      } catch (error) {
        console.warn("This browser keeps nothing:", error);
        return fallback;
      }
    },
    set(key, value) {
      try {
        if (value === null) localStorage.removeItem(`workbench:${key}`);
        else localStorage.setItem(`workbench:${key}`, JSON.stringify(value));
        return true;
      } catch (error) {
        console.warn("This browser keeps nothing:", error);
        return false;
      }
    },
  };

  const token = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  function debounce(run, milliseconds) {
    let timer = 0;
    const later = (...rest) => {
      clearTimeout(timer);
      timer = setTimeout(() => run(...rest), milliseconds);
    };
    later.cancel = () => clearTimeout(timer);
    return later;
  }

  /* ---- light and dark: the system's, unless chosen here ---- */

  function theme(choice) {
    const dark = choice ? choice === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.body.classList.toggle("dark", dark);
    emit("workbench:theme", { dark });
  }
  const asked = new URLSearchParams(location.search).get("__theme");
  const follow = () => theme(asked || local.get("theme"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
  function toggleTheme() {
    const dark = !document.body.classList.contains("dark");
    const system = matchMedia("(prefers-color-scheme: dark)").matches;
    local.set("theme", dark === system ? null : dark ? "dark" : "light");
    theme(dark ? "dark" : "light");
  }

  window.workbench = {
    el, fill, call, CallError, LOST, on, emit, announce, openTab, activeTab, TAB_NAMES, mount, keys, showKeys, kbd, flash,
    number, percent, count, plain, seconds, wilsonBar, rateText, bar, emptyState, local, token, debounce,
    toggleTheme, follow, lastOptions, refresh: () => {}, overview: null,
    get online() { return online; },
  };
})();
