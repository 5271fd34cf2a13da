const { el, fill, call, on, openTab } = workbench;
const root = element.querySelector(".wb-header");

const mark = () => el("svg", { class: "wb-mark", viewBox: "0 0 28 28", "aria-hidden": "true" },
  el("rect", { width: 28, height: 28, rx: 7, class: "wb-mark-back" }),
  el("path", { d: "M7 20 H21", class: "wb-mark-floor" }),
  el("path", { d: "M7 18.5 C11.5 18.5 11 10 16.5 10 H18", class: "wb-mark-line" }),
  el("circle", { cx: 19, cy: 9.6, r: 2.6, class: "wb-mark-dot" }));

const where = el("span", { class: "wb-model" }, "\u00a0");
const phoneTab = el("span", { class: "wb-phone-tab" });
const phoneCount = el("span", { class: "wb-phone-count" });
const dots = el("span", { class: "wb-dots", "aria-hidden": "true" });
const steps = el("ol", { class: "wb-steps", "aria-label": "The loop" });
const chip = el("div", { class: "wb-chip-place" });
const next = el("p", { class: "wb-next" });
const notice = el("div", { class: "wb-notices" });

root.setAttribute("role", "banner");
fill(root,
  el("div", { class: "wb-header-in" },
    el("div", { class: "wb-name" }, mark(),
      el("div", { class: "wb-name-text" }, el("h1", {}, "Alignment workbench"), where, phoneTab)),
    steps,
    el("div", { class: "wb-header-end" }, chip, dots, phoneCount,
      el("button", { class: "wb-round wb-theme", "aria-label": "Light or dark", onclick: workbench.toggleTheme },
        el("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" },
          el("circle", { cx: 8, cy: 8, r: 6, class: "wb-theme-ring" }), el("path", { d: "M8 2 A6 6 0 0 1 8 14 Z", class: "wb-theme-half" }))),
      el("button", { class: "wb-round wb-help", "aria-label": "All keys", onclick: workbench.showKeys }, "?"))),
  el("div", { class: "wb-next-line" }, next),
  notice);

function stepNode(step, index) {
  const sign = step.state === "done" ? "✓" : String(index + 1);
  return el("li", { class: `wb-step wb-step-${step.state}`, "aria-current": step.state === "next" ? "step" : null },
    el("button", { onclick: () => openTab(step.tab, step.options || {}) },
      el("span", { class: "wb-step-sign", "aria-hidden": "true" }, sign),
      el("span", { class: "wb-step-words" },
        el("span", { class: "wb-step-label" }, step.label), " ",
        el("span", { class: "wb-step-text" }, step.text),
        step.state === "done" ? el("span", { class: "wb-hidden" }, " (done)") : null)));
}

function chipNode(job) {
  const share = Math.max(0, Math.min(1, job.share || 0));
  const round = 2 * Math.PI * 5;
  const ring = el("svg", { viewBox: "0 0 14 14", class: "wb-ring", "aria-hidden": "true" },
    el("circle", { cx: 7, cy: 7, r: 5, class: "wb-ring-back" }),
    el("circle", { cx: 7, cy: 7, r: 5, class: "wb-ring-front", "stroke-dasharray": `${round * share} ${round}`, transform: "rotate(-90 7 7)" }));
  ring.style.color = `var(--m-${job.colour})`;
  return el("button", { class: "wb-chip", onclick: () => openTab("train", { run: job.number }) }, ring, job.text);
}

let shown = "";
function show(data) {
  workbench.overview = data;
  workbench.emit("workbench:overview", data);
  const drawn = JSON.stringify([data, workbench.activeTab()]);
  if (drawn === shown) return;  // keeps the focus on a step while nothing changes
  shown = drawn;
  where.textContent = data.place;
  const focused = [...steps.querySelectorAll("button")].indexOf(document.activeElement);
  fill(steps, data.steps.map(stepNode));
  if (focused >= 0) steps.querySelectorAll("button")[focused]?.focus();
  fill(chip, data.job ? chipNode(data.job) : null);
  const { before, link, after, opens, options } = data.next;
  fill(next, before, link ? el("button", { class: "wb-link", onclick: () => openTab(opens, options || {}) }, link) : null, after || "");
  fill(dots, data.steps.map((step) => el("span", { class: `wb-dot wb-dot-${step.state}` })));
  showTab();
  fill(notice, (data.notices || []).map((each) =>
    el("p", { class: "wb-notice" }, el("span", {}, each.text), " ",
      each.download ? el("button", { class: "wb-button", onclick: () => download(each.download) }, each.action) : null)));
}

function showTab() {
  const name = workbench.activeTab();
  if (!name) return;
  document.body.dataset.tab = name;
  phoneTab.textContent = name[0].toUpperCase() + name.slice(1);
  const step = workbench.overview?.steps.find((each) => each.tab === name);
  phoneCount.textContent = step ? step.text : "";
}

async function download(name) {
  const answer = await call(server, name, {});
  const bytes = Uint8Array.from(atob(answer.data), (each) => each.charCodeAt(0));
  const link = el("a", { href: URL.createObjectURL(new Blob([bytes], { type: answer.type })), download: answer.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/* Light poll: each second while a job runs, each 10 s otherwise, never while the page is hidden. */
let timer = 0;
let busy = false;
async function refresh() {
  clearTimeout(timer);
  if (busy) return;
  busy = true;
  let pause = 10000;
  try {
    const data = await call(server, "overview", {});
    show(data);
    lost.remove();
    if (data.job || data.loading) pause = 1000;
  } catch (error) {
    lost.textContent = error.message;
    root.append(lost);
    pause = 3000;
  }
  busy = false;
  if (!document.hidden) timer = setTimeout(refresh, pause);
}
const lost = el("p", { class: "wb-notice wb-lost", role: "status" });

workbench.refresh = refresh;
on("workbench:tab", () => { shown = ""; if (workbench.overview) show(workbench.overview); else showTab(); });
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

workbench.follow();
refresh();
const wanted = location.hash.slice(1);
/* The tab buttons come after this panel. */
function open(tries) {
  if (!workbench.activeTab()) return tries ? setTimeout(() => open(tries - 1), 50) : undefined;
  if (workbench.TAB_NAMES.includes(wanted)) openTab(wanted);
  showTab();
}
open(100);
