// The table of runs: the base first, then every run; found by text and method, sorted by a column, starred ones first.
// `show` is given what is there; what is done with a run goes back through `act`: open, take (its action), star, pick, restore.
(() => {
  if (window.workbench.runsTable) return;
  const { el, fill, local } = workbench;
  const FIRST = 25; // rows shown until all are asked for
  const FIND_FROM = 5; // runs from which on finding one takes more than a look
  const KINDS = ["gold", "accuracy", "heldout_loss", ""]; // results that cannot be held to each other stand apart
  const OUTCOMES = { better: ["better", "good"], worse: ["worse", "bad"], unclear: ["not better", "even"] };

  const square = (colour) => {
    const node = el("span", { class: "wb-square", "aria-hidden": "true" });
    node.style.background = `var(--m-${colour})`;
    return node;
  };

  /* "28 Nov, 14:05", with the year unless it is this one. */
  function dated(text, now = new Date()) {
    const then = new Date(text);
    if (!text || Number.isNaN(+then)) return "–";
    const year = then.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
    const time = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    return `${then.toLocaleDateString([], { day: "numeric", month: "short", ...year })}, ${time}`;
  }

  // Of each column by what it sorts; null stands last whichever way.
  const COLUMNS = [
    { key: "run", text: "Run", by: (run) => run.number },
    { key: "method", text: "Method", by: (run) => run.name },
    { key: "data", text: "Data", by: (run) => run.order.data },
    { key: "time", text: "Time", by: (run) => run.order.time || null },
    { key: "result", text: "Result", by: (run) => run.order.value, group: (run) => KINDS.indexOf(run.order.figure) },
    { key: "started", text: "Started", by: (run) => run.created },
  ];

  /* The runs in the order that is asked for; runs of equal rank stay as they were. */
  function sorted(runs, { sort, down, starred }) {
    const column = COLUMNS.find((each) => each.key === sort) || COLUMNS.at(-1);
    const compare = (a, b) => {
      if (starred && a.starred !== b.starred) return a.starred ? -1 : 1;
      const group = column.group ? column.group(a) - column.group(b) : 0;
      if (group) return group;
      const [x, y] = [column.by(a), column.by(b)];
      if (x === y) return b.number - a.number;
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      const order = typeof x === "string" ? x.localeCompare(y) : x - y;
      return (down ? -order : order) || b.number - a.number;
    };
    return [...runs].sort(compare);
  }

  /* Those whose number, name, note, method, data or result hold every word of the text. */
  function matching(runs, { text, method }) {
    const parts = text.toLowerCase().split(/\s+/).filter(Boolean);
    const words = (run) => `run ${run.number} ${run.label} ${run.note} ${run.name} ${run.data} ${run.parent || ""} ${run.result} ${run.badge || ""}`.toLowerCase();
    return runs.filter((run) => (!method || run.method === method) && parts.every((part) => words(run).includes(part)));
  }

  function runsTable(act) {
    let runs = [], base = null, deleted = [], shown = null, picked = [], all = false;
    const order = { sort: "started", down: true, starred: false, ...local.get("runs", {}) };
    const wanted = { text: "", method: "" };

    const find = el("input", { type: "text", class: "wb-find", "aria-label": "Find a run", placeholder: "Find by name, note, method", autocomplete: "off", oninput: () => { wanted.text = find.value; draw(); } });
    const method = el("select", { "aria-label": "Method of the runs shown", onchange: () => { wanted.method = method.value; draw(); } });
    const starred = el("input", { type: "checkbox", onchange: () => reorder({ starred: starred.checked }) });
    starred.checked = order.starred;
    const amount = el("span", { class: "wb-quiet", role: "status" });
    const tools = el("div", { class: "wb-row wb-runs-tools" }, find, method, el("label", { class: "wb-starred" }, starred, "Starred first"), amount);
    const table = el("div", { class: "wb-runs-table" });
    const more = el("button", { class: "wb-link", type: "button", onclick: () => { all = true; draw(); } });
    const explain = el("p", { class: "wb-quiet" });
    const trash = el("details", { class: "wb-fold wb-trash", hidden: true });
    const wrong = el("p", { class: "wb-bad", role: "alert" });
    const node = el("details", { class: "wb-card wb-runs", hidden: true }, el("summary", { class: "wb-spread" }, el("h2", {}, "Runs"), explain), tools, table, more, trash, wrong);
    node.open = !matchMedia("(max-width: 639px)").matches;

    function reorder(change) {
      Object.assign(order, change);
      local.set("runs", order);
      draw();
    }

    function head(column) {
      if (!column) return el("th", { scope: "col" }, el("span", { class: "wb-hidden" }, "Action"));
      const is = order.sort === column.key;
      const press = () => reorder({ sort: column.key, down: is ? !order.down : column.key !== "method" });
      return el("th", { scope: "col", "aria-sort": is ? (order.down ? "descending" : "ascending") : null },
        el("button", { class: "wb-sort", type: "button", "data-focus": `sort ${column.key}`, onclick: press }, column.text, el("span", { "aria-hidden": "true" }, is ? (order.down ? " ▾" : " ▴") : "")));
    }

    const baseRow = () => base && el("tr", { class: "wb-base-row" }, el("td", { class: "wb-check" }),
      el("td", { "data-label": "Run" }, "Base"), el("td", { "data-label": "Method" }, el("span", { class: "wb-run-method" }, square("base"), "untrained")),
      el("td", { "data-label": "Data" }, "–"), el("td", { "data-label": "Time" }, "–"), el("td", { "data-label": "Result" }, base.result, el("span", { class: "wb-quiet wb-base-note" }, base.note)),
      el("td", { "data-label": "Started" }, "–"), el("td", { class: "wb-run-action" }));

    function result(run) {
      const outcome = !run.verdict && run.headline && OUTCOMES[run.headline.outcome];
      return [run.badge ? el("span", { class: `wb-tag wb-state-${run.state}` }, run.badge) : run.result,
        run.verdict ? [" ", el("span", { class: `wb-tag wb-verdict-${run.verdict.level}` }, run.verdict.words)] : null,
        outcome ? [" ", el("span", { class: `wb-tag wb-outcome-${outcome[1]}`, title: run.headline.text }, outcome[0])] : null];
    }

    function row(run) {
      const box = el("input", { type: "checkbox", "data-run": run.number, "data-focus": `pick ${run.number}`, "aria-label": `Side by side: run ${run.number}`, onchange: () => pick(run.number, box.checked) });
      box.checked = picked.includes(run.number);
      const star = el("button", { class: "wb-star", type: "button", "aria-pressed": String(run.starred), "aria-label": `Star run ${run.number}`, "data-focus": `star ${run.number}`, onclick: () => act.star(run) }, run.starred ? "★" : "☆");
      return el("tr", { class: shown === run.number ? "wb-current" : null },
        el("td", { class: "wb-check" }, box),
        el("td", { "data-label": "Run" }, el("span", { class: "wb-run-name" },
          el("button", { class: "wb-run-number", type: "button", "aria-label": `Show run ${run.number}`, "data-focus": `show ${run.number}`, onclick: () => act.open(run.number) }, String(run.number)), star,
          run.label ? el("span", { class: "wb-run-label", title: run.note || null }, run.label) : null)),
        el("td", { "data-label": "Method" }, el("span", { class: "wb-run-method" }, square(run.colour), run.name)),
        el("td", { "data-label": "Data" }, run.data, run.parent ? el("span", { class: "wb-quiet" }, `, from ${run.parent}`) : null),
        el("td", { "data-label": "Time", "data-time": run.number }, run.time), el("td", { "data-label": "Result" }, result(run)),
        el("td", { "data-label": "Started", class: "wb-quiet" }, el("time", { datetime: run.created }, dated(run.created))),
        el("td", { class: "wb-run-action" }, run.action ? el("button", { class: "wb-link", type: "button", "aria-label": `${run.action.label} run ${run.number}`, "data-focus": `act ${run.number}`, onclick: (event) => act.take(run, run.action.name, event.target) }, run.action.label) : null));
    }

    function draw() {
      node.hidden = !runs.length && !deleted.length;
      if (node.hidden) return;
      explain.textContent = runs.find((run) => run.explain)?.explain || "";
      const methods = [...new Map(runs.map((run) => [run.method, run.short.split(",")[0]]))];
      tools.hidden = runs.length < FIND_FROM;
      const offered = methods.join();
      if (method.dataset.offered !== offered) fill(method, el("option", { value: "" }, "All methods"), methods.map(([name, label]) => el("option", { value: name }, label)));
      method.dataset.offered = offered;
      if (tools.hidden || !methods.some(([name]) => name === wanted.method)) wanted.method = "";
      method.value = wanted.method;
      if (tools.hidden) wanted.text = find.value = "";
      const chosen = sorted(matching(runs, wanted), order), rows = all ? chosen : chosen.slice(0, FIRST);
      amount.textContent = chosen.length === runs.length ? workbench.count(runs.length, "run") : `${chosen.length} of ${workbench.count(runs.length, "run")}`;
      const focus = table.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
      fill(table, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, el("span", { class: "wb-hidden" }, "Side by side")), COLUMNS.map(head), head(null))),
        el("tbody", {}, baseRow(), rows.map(row))));
      if (focus) table.querySelector(`[data-focus="${focus}"]`)?.focus({ preventScroll: true });
      more.hidden = rows.length === chosen.length;
      more.textContent = `Show all ${chosen.length}`;
      trash.hidden = !deleted.length;
      fill(trash, el("summary", {}, `Deleted runs (${deleted.length})`), el("ul", {}, deleted.map((one) => el("li", { class: "wb-row" }, one.folder,
        el("button", { class: "wb-link", type: "button", "aria-label": `Bring back run ${one.run}`, onclick: () => act.restore(one.run) }, "Bring back")))));
    }

    function pick(number, chosen) {
      picked = picked.filter((each) => each !== number);
      if (chosen) picked = [...picked, number].slice(-2);
      for (const box of table.querySelectorAll("input")) box.checked = picked.includes(Number(box.dataset.run));
      act.pick(picked);
    }

    return {
      node, wrong,
      show(news) {
        if (news.runs) ({ runs, base, deleted } = news);
        shown = news.shown;
        if (picked.some((number) => !runs.some((run) => run.number === number))) pick(0, false);
        draw();
      },
      time(number, text) {
        const cell = table.querySelector(`[data-time="${number}"]`);
        if (cell) cell.textContent = text;
      },
      unpick() {
        picked = [];
        pick(0, false);
      },
    };
  }

  Object.assign(window.workbench, { runsTable, runsOrder: { sorted, matching, dated } });
})();
