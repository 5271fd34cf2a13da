// Train: choose a method, start it, watch it, look back. Nothing runs in here: a job is a process of its own, and this
// page asks twice a second what is new (only new rows come), less often when nothing runs or nobody looks.
const { el, fill, call, on, openTab, local, announce, emptyState, charts } = workbench;
const root = element.querySelector(".wb-train");
const FAST = 500, FIRST = 250, CALM = 1000, SLOW = 5000, IDLE = 15000; // calm: a long run's next point changes little
const LIVE = new Set(["waiting", "starting", "running", "stopping"]);

let form = null; // what the server offers: methods with fields and curves
let plan = null; // what Start would do now
let runs = []; // all runs, newest first
let stamp = ""; // changes when `runs` does
let shown = null; // the run in the card
let wanted = null; // the run somebody chose; null: the newest that is live, else the newest
let rows = [], samples = [], faults = new Set(), rowsNext = 0, samplesNext = 0, renew = true; // renew: draw all of it anew
let picked = []; // up to two runs to hold side by side
let prompt = null; // the prompt whose answers are shown
let timer = 0, asking = false, again = false, failures = 0;
const choice = { method: null, preset: "normal", start_from: null, settings: {}, allow_failed_gate: false, ...local.get("train", {}) };
const before = new Map(); // run -> state seen last, to say when one ends

const square = (colour) => {
  const node = el("span", { class: "wb-square", "aria-hidden": "true" });
  node.style.background = `var(--m-${colour})`;
  return node;
};
const sorry = (place, error) => fill(place, el("p", { class: "wb-bad", role: "alert" }, error.message));
const methodOf = (name) => form.methods.find((m) => m.name === name);

// ---- the form at the left ----

const methodsBox = el("div", { class: "wb-methods", role: "radiogroup", "aria-labelledby": "wb-train-method" });
const presetBox = el("div", { class: "wb-switch wb-presets", role: "radiogroup", "aria-labelledby": "wb-train-long" });
const length = el("p", { class: "wb-quiet" });
const facts = el("dl", { class: "wb-facts" });
const batchBox = el("div", { class: "wb-batch" });
const batch = el("details", { class: "wb-fold" }, el("summary", {}, "The first batch, as the model sees it"), batchBox);
batch.addEventListener("toggle", () => batch.open && showBatch());
const rewardBox = el("div", { class: "wb-reward", hidden: true });
const problem = el("div", { class: "wb-problem", "aria-live": "polite" });
const despite = el("input", { type: "checkbox", onchange: () => choose({ allow_failed_gate: despite.checked }) });
const redText = el("p", {}), red = el("div", { class: "wb-red", role: "group", "aria-label": "About this reward model", hidden: true }, redText, el("label", {}, despite, "Train anyway"));
const start = el("button", { class: "wb-button wb-primary wb-start", type: "submit", disabled: true }, "Start"); // until there is a plan
const foot = el("div", { class: "wb-foot" }, red, problem, start); // stays in view below a long form
const settingsButton = el("button", { class: "wb-link", type: "button", "aria-expanded": "false", onclick: () => unfold(settingsButton, settingsBox) }, "All settings");
const commandButton = el("button", { class: "wb-link", type: "button", "aria-expanded": "false", onclick: () => unfold(commandButton, commandBox) }, "Show command");
const settingsBox = el("div", { class: "wb-settings", hidden: true });
const commandBox = el("div", { class: "wb-command", hidden: true });
const setup = el("form", { class: "wb-card wb-setup", novalidate: true, "aria-label": "A new run" },
  el("h2", { id: "wb-train-method" }, "Method"), methodsBox,
  el("h2", { id: "wb-train-long" }, "Length"), presetBox, length, facts, rewardBox, batch, foot,
  el("div", { class: "wb-spread" }, settingsButton, commandButton), settingsBox, commandBox);
setup.addEventListener("submit", (event) => {
  event.preventDefault();
  startRun();
});

function unfold(button, box) {
  box.hidden = !box.hidden;
  button.setAttribute("aria-expanded", String(!box.hidden));
  if (!box.hidden) button.scrollIntoView({ block: "start" });
}

function showMethods() {
  fill(methodsBox, form.methods.map((method) => {
    const radio = el("input", { type: "radio", name: "wb-method", value: method.name, onchange: () => choose({ method: method.name, settings: {}, start_from: null, allow_failed_gate: false }) });
    radio.checked = method.name === choice.method;
    return el("label", { class: "wb-method" }, radio,
      el("span", {}, el("span", { class: "wb-method-name" }, method.label, square(method.colour)),
        el("span", { class: "wb-method-line", "data-line": method.name }, method.line)));
  }));
  fill(presetBox, form.presets.map((preset) => {
    const radio = el("input", { type: "radio", name: "wb-preset", value: preset, class: "wb-hidden", onchange: () => choose({ preset }) });
    radio.checked = preset === choice.preset;
    return el("label", { class: "wb-preset" }, radio, el("span", {}, preset[0].toUpperCase() + preset.slice(1)));
  }));
}

function choose(change) {
  const method = choice.method;
  Object.assign(choice, change);
  local.set("train", { method: choice.method, preset: choice.preset });
  if (choice.method !== method || "preset" in change) showSettings();
  replan();
}

const defaultOf = (field) => field.presets[choice.preset] ?? field.value ?? field.automatic?.value ?? "";

function showSettings() {
  showRewardFields();
  fill(settingsBox, methodOf(choice.method).fields.filter((field) => field.name !== "reward").map((field) => {
    const id = `wb-set-${field.name}`;
    const change = () => {
      if (input.value.trim() === "" || input.value === String(defaultOf(field))) delete choice.settings[field.name];
      else choice.settings[field.name] = input.value;
      replanSoon();
    };
    const given = choice.settings[field.name];
    const input = field.type === "choice"
      ? el("select", { id, "aria-describedby": `${id}-doc ${id}-error`, onchange: change }, field.choices.map((c) => el("option", { value: c }, c)))
      : el("input", { id, type: "text", inputmode: field.type === "int" ? "numeric" : "decimal", autocomplete: "off", oninput: change,
          placeholder: String(defaultOf(field)), "aria-describedby": `${id}-doc ${id}-error` });
    input.value = given ?? (field.type === "choice" ? field.value : "");
    const doc = field.automatic ? field.doc.replace("automatic.", `automatic (${plainNumber(field.automatic.value)} here).`) : field.doc;
    const range = field.low !== null && field.high !== null ? ` Range: ${plainNumber(field.low)} to ${plainNumber(field.high)}${field.unit ? " " + field.unit : ""}.` : "";
    return el("div", { class: "wb-setting" }, el("label", { for: id }, field.label), input,
      el("p", { class: "wb-doc", id: `${id}-doc`, title: field.automatic?.reason }, doc + range), el("p", { class: "wb-bad", id: `${id}-error`, "data-error": field.name }));
  }));
}

// ---- what is raised, for a method that raises something: a reward model, gold, or any text ----

const OTHER = "other";
const rewardPick = el("select", { id: "wb-reward", "aria-describedby": "wb-reward-says wb-reward-error", onchange: pickReward });
const rewardText = el("input", { type: "text", "aria-label": "Another reward", autocomplete: "off", spellcheck: "false", placeholder: "run:3 + 0.5*run:4", "aria-describedby": "wb-reward-doc wb-reward-error", oninput: typeReward });
const rewardSays = el("p", { class: "wb-doc", id: "wb-reward-says" }), rewardDoc = el("p", { class: "wb-doc", id: "wb-reward-doc" });
const rewardError = el("p", { class: "wb-bad", id: "wb-reward-error", "data-error": "reward" });
fill(rewardBox, el("label", { for: "wb-reward" }, "Reward"), rewardPick, rewardText, rewardSays, rewardDoc, rewardError);

function showRewardFields() {
  const field = methodOf(choice.method).fields.find((each) => each.name === "reward");
  rewardBox.hidden = !field;
  if (!field) return;
  rewardDoc.textContent = field.doc;
  rewardText.value = choice.settings.reward ?? "";
  rewardBox.dataset.other = ""; // set once somebody asks to write it themselves
}

function pickReward() {
  rewardBox.dataset.other = rewardPick.value === OTHER ? "yes" : "";
  if (rewardPick.value === OTHER) {
    rewardText.hidden = rewardDoc.hidden = false;
    rewardText.value = plan?.reward?.value || "";
    rewardText.focus();
  } else setReward(rewardPick.value);
}

function typeReward() {
  setReward(rewardText.value.trim(), true);
}

// What was said of one reward is not said of another.
function setReward(text, typing = false) {
  if (text) choice.settings.reward = text;
  else delete choice.settings.reward;
  choice.allow_failed_gate = false;
  if (typing) replanSoon();
  else replan();
}

function showReward() {
  const reward = plan.reward;
  rewardBox.hidden = !reward;
  if (!reward) return;
  const none = reward.missing ? [{ value: "", label: "no reward model yet" }] : [];
  const known = [...none, ...reward.options, { value: OTHER, label: "Other…" }];
  if ([...rewardPick.options].map((o) => o.label).join("\n") !== known.map((o) => o.label).join("\n")) fill(rewardPick, known.map((o) => el("option", { value: o.value }, o.label)));
  const other = rewardBox.dataset.other === "yes" || ![...none, ...reward.options].some((o) => o.value === reward.value);
  rewardPick.value = other ? OTHER : reward.value;
  rewardText.hidden = rewardDoc.hidden = !other;
  rewardSays.textContent = reward.says;
  rewardPick.setAttribute("aria-invalid", String(!!reward.error && !other));
  rewardText.setAttribute("aria-invalid", String(!!reward.error));
  red.hidden = !reward.red;
  redText.textContent = reward.red;
  despite.checked = choice.allow_failed_gate;
}

const plainNumber = (n) => (Math.abs(n) >= 1000 ? n.toLocaleString("en") : String(n)).replace("-", "−");

function showPlan() {
  for (const line of methodsBox.querySelectorAll("[data-line]")) line.textContent = plan.lines[line.dataset.line];
  length.textContent = plan.length;
  const from = el("select", { class: "wb-from", "aria-label": "Start from", onchange: () => choose({ start_from: from.value ? Number(from.value) : null }) },
    plan.starts.map((point) => el("option", { value: point.run ?? "" }, point.label)));
  from.value = choice.start_from ?? "";
  fill(facts, el("dt", {}, "Data"), el("dd", {}, plan.data), el("dt", {}, "Start from"), el("dd", {}, from),
    el("dt", {}, "Memory"), el("dd", { class: plan.memory.fits ? null : "wb-warn" }, plan.memory.text));
  batch.hidden = !plan.has_batch;
  if (batch.open) showBatch();
  showReward();
  start.textContent = plan.start;
  start.disabled = !plan.ready;
  fill(problem, plan.problem ? el("p", { class: plan.missing ? null : "wb-bad" }, plan.problem, plan.missing ? [" ", el("button", { class: "wb-link", type: "button", onclick: () => openTab(plan.missing.tab, plan.missing.options || {}) }, plan.missing.label)] : null) : null, plan.simulate ? simulateBox : null);
  simulateBox.hidden = !plan.simulate;
  for (const place of settingsBox.querySelectorAll("[data-error]")) {
    const text = plan.errors[place.dataset.error] || "";
    place.textContent = text;
    place.parentElement.querySelector("input, select").setAttribute("aria-invalid", String(!!text));
  }
  rewardError.textContent = plan.errors.reward || "";
  if (Object.keys(plan.errors).some((name) => name !== "reward") && settingsBox.hidden) unfold(settingsButton, settingsBox);
  const copied = el("span", { class: "wb-quiet", role: "status" });
  fill(commandBox, el("pre", { tabindex: "0", "aria-label": "The same on the command line" }, el("code", {}, plan.command)), el("div", { class: "wb-row" },
    el("button", { class: "wb-button", type: "button", onclick: () => workbench.copy(plan.command, commandBox.querySelector("code"), copied) }, "Copy"), copied));
}

// Labels without a person, to try a process reward with; they are named as simulated wherever they count.
const simulateSaid = el("span", { class: "wb-quiet", role: "status" });
const simulateButton = el("button", { class: "wb-button", type: "button", onclick: simulate }, "Add simulated labels");
const simulateBox = el("div", { class: "wb-row" }, simulateButton, simulateSaid);
async function simulate() {
  simulateButton.disabled = true;
  simulateSaid.textContent = "The model answers sums; worked solutions label each step.";
  try {
    await call(server, "simulate_steps");
    simulateSaid.textContent = "";
    workbench.refresh();
    await replan();
  } catch (error) {
    simulateSaid.textContent = error.message;
  }
  simulateButton.disabled = false;
}

// Fetched only when looked at: the tokenizer is not loaded for it before.
async function showBatch() {
  const mine = planning;
  if (!batchBox.firstChild) fill(batchBox, el("p", { class: "wb-quiet" }, "Decoding the batch"));
  try {
    const answer = await call(server, "batch", { method: choice.method, preset: choice.preset, settings: choice.settings });
    if (mine !== planning) return;
    const part = (item, key) => (item[key] === undefined ? null : [el("span", { class: "wb-batch-part" }, key), el("span", { class: "wb-batch-text", dir: "auto" }, item[key])]);
    fill(batchBox, answer.batch.map((item) => el("div", { class: "wb-batch-item" }, ["prompt", "completion", "chosen", "rejected"].map((key) => part(item, key)),
      item.respelled ? el("span", { class: "wb-warn" }, "! respelled: the bundled model has no apostrophes, quotation marks, brackets or accents") : null,
      item.cut ? el("span", { class: "wb-warn" }, "! cut to max_tokens") : null)));
  } catch (error) {
    if (mine === planning) sorry(batchBox, error);
  }
}

const asked = () => ({ method: choice.method, preset: choice.preset, start_from: choice.start_from, settings: choice.settings, allow_failed_gate: choice.allow_failed_gate });

let planning = 0;
async function replan() {
  const mine = ++planning;
  try {
    const answer = await call(server, "plan", asked());
    if (mine !== planning) return;
    plan = answer;
    showPlan();
  } catch (error) {
    if (mine === planning) sorry(problem, error);
  }
}
const replanSoon = workbench.debounce(replan, 250);

async function startRun(again = false) {
  if (start.disabled) return;
  start.disabled = true; // and the token: two clicks, or two requests of one click, are one run
  let failed = null, same = null;
  try {
    const answer = await call(server, "start", { ...asked(), again, token: workbench.token() });
    if (answer.ask) same = answer; // started in another tab, perhaps
    else {
      select(answer.run);
      card.scrollIntoView({ block: "nearest" });
      workbench.refresh();
    }
  } catch (error) {
    failed = error;
  }
  await replan();
  if (failed) sorry(problem, failed); // the plan says what keeps Start from working, this what just did
  if (same) askAgain(same);
}

function askAgain({ ask, run }) {
  const link = (text, onclick) => el("button", { class: "wb-link", type: "button", onclick }, text);
  fill(problem, el("p", { role: "alert" }, ask, " ", link(`Show run ${run}`, () => select(run)), " ", link("Start a second one", () => startRun(true))));
}

// ---- the card of one run ----

const title = el("h2", { class: "wb-run-title" });
const line = el("p", { class: "wb-run-line" }); // not live: a run's end is announced, its steps are not
const buttons = el("div", { class: "wb-row wb-run-buttons" });
const barIn = el("span", { class: "wb-bar-in" });
const progress = el("div", { class: "wb-bar wb-run-bar", role: "progressbar", "aria-label": "Steps done", "aria-valuemin": 0 }, barIn);
const lost = el("p", { class: "wb-warn wb-train-lost", role: "status", hidden: true });
const trouble = el("div", {}), notices = el("div", { class: "wb-quiet" });
const headline = el("p", { class: "wb-headline", hidden: true });
const verdict = el("div", { class: "wb-verdict", hidden: true });
const tools = workbench.runTools(server, { changed: relabelled, removed: () => { select(null); replan(); } });
const grid = el("div", { class: "wb-charts" });
const skipped = el("p", { class: "wb-quiet wb-skipped" });
const promptPick = el("select", { class: "wb-prompt-pick", dir: "auto", "aria-label": "Prompt", onchange: () => { prompt = promptPick.value; showSamples(); } });
const answers = el("ol", { class: "wb-answers" });
const answersBox = el("section", { class: "wb-answers-box", "aria-label": "Answers as it trains" },
  el("div", { class: "wb-spread wb-answers-head" }, el("h2", {}, "Answers as it trains"), el("label", { class: "wb-quiet wb-same" }, "Same prompt, same seed:", promptPick)), answers);
const logText = el("pre", { tabindex: "0", class: "wb-log", "aria-label": "Log" });
const log = el("details", { class: "wb-fold wb-log-fold" }, el("summary", {}, "Log"), logText);
log.addEventListener("toggle", () => log.open && showLog());
const cardBody = el("div", {}, el("div", { class: "wb-run-head" }, el("div", { class: "wb-spread" }, el("div", {}, title, line), buttons), headline, progress, tools.node, verdict, notices, trouble),
  el("div", { class: "wb-run-charts" }, grid, skipped), answersBox, log);
const empty = el("div", {});
const card = el("section", { class: "wb-card wb-run", "aria-label": "Run", hidden: true }, cardBody);

function button(text, action, primary) {
  const node = el("button", { class: "wb-button", type: "button", onclick: () => act(node, action) }, text);
  if (primary) node.classList.add("wb-suggest");
  return node;
}

async function act(node, action) {
  const run = shown.number;
  if (action === "compare") return openTab("compare", { runs: [null, run] });
  if (action === "score") return openTab("score", { run });
  if (action === "log") {
    log.open = true;
    return log.scrollIntoView({ block: "nearest" });
  }
  node.disabled = true;
  fill(trouble);
  try {
    const answer = await call(server, "act", { run, action, token: workbench.token() });
    if (answer.run !== run) select(answer.run);
    tick();
  } catch (error) {
    node.disabled = false;
    sorry(trouble, error);
  }
}

function showCard() {
  card.hidden = !shown;
  fill(empty, shown ? null : emptyState("No runs yet. SFT on your answers is a good first one, about 10 s."));
  if (!shown) return;
  const focused = document.activeElement?.dataset?.action;
  fill(title, square(shown.colour), shown.title);
  if (line.textContent !== shown.line) line.textContent = shown.line;
  line.classList.toggle("wb-bad", shown.state === "failed");
  const offered = shown.actions.map((a) => a.name).join();
  if (buttons.dataset.offered !== `${shown.number} ${offered}`) {
    buttons.dataset.offered = `${shown.number} ${offered}`;
    fill(buttons, shown.actions.map((a) => {
      const node = button(a.label, a.name, a.suggested);
      node.dataset.action = a.name;
      return node;
    }));
    buttons.querySelector(`[data-action="${focused}"]`)?.focus();
  }
  tools.show(shown);
  showHeadline();
  showVerdict();
  const texts = [...shown.notices, ...faults];
  if (notices.textContent !== texts.join("")) fill(notices, texts.map((text) => el("p", {}, text)));
  barIn.style.width = `${shown.steps ? (100 * shown.step) / shown.steps : 0}%`;
  barIn.style.background = `var(--m-${shown.colour})`;
  progress.setAttribute("aria-valuemax", shown.steps || 1);
  progress.setAttribute("aria-valuenow", shown.step);
  if (shown.state === "failed" && !log.open && log.dataset.run !== String(shown.number)) log.open = true;
  log.dataset.run = shown.number;
}

// How it compares with where it began, as far as that was measured.
const SIGNS = { better: "✓ ", worse: "✕ ", unclear: "– ", unmeasured: "" };
function showHeadline() {
  const found = shown.headline;
  headline.hidden = !found;
  if (!found) return;
  headline.className = `wb-headline wb-headline-${found.outcome}`;
  const text = SIGNS[found.outcome] + found.text;
  if (headline.textContent !== text) headline.textContent = text;
}

// A run has another name, note or star, or is back.
function relabelled(number) {
  if (typeof number === "number" && number !== shown?.number) select(number);
  else tick();
  replan();
}

// A reward model's verdict: the badge and why in one sentence; its checks are fetched when they are looked at.
const pill = (found) => el("span", { class: `wb-tag wb-verdict-${found.level}` }, found.words);
function showVerdict() {
  const found = shown.verdict;
  verdict.hidden = !found;
  const key = found ? `${shown.number} ${found.level} ${found.reason}` : "";
  if (verdict.dataset.key === key) return;
  verdict.dataset.key = key;
  if (!found) return void fill(verdict);
  const run = shown.number, place = el("div", { class: "wb-checks" });
  const more = found.level === "untested" ? null : el("details", { class: "wb-fold" }, el("summary", {}, "All checks before PPO"), place);
  more?.addEventListener("toggle", () => more.open && showChecks(run, place));
  fill(verdict, el("p", {}, pill(found), ` ${found.reason}`), more);
}

async function showChecks(run, place) {
  try {
    const answer = await call(server, "gate", { run });
    fill(place, el("table", {}, el("thead", {}, el("tr", {}, ["Check", "Verdict", "Result"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, answer.rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row.check), el("td", { class: "wb-check-verdict" }, pill(row)),
        el("td", {}, row.says, row.helps ? el("span", { class: "wb-quiet" }, ` ${row.helps}`) : null))))));
  } catch (error) {
    sorry(place, error);
  }
}

const hosts = new Map();
function showCharts() {
  const curves = (form.curves[shown.method] || []).filter((curve) => shown.live || curve.series.some((s) => rows.some((row) => s.key in row)));
  const names = new Set([...curves.map((c) => c.name), ...(shown.best_of_n ? ["best_of_n"] : [])]);
  for (const [name, host] of hosts) if (!names.has(name)) {
    charts.remove(host);
    host.remove();
    hosts.delete(name);
  }
  for (const curve of curves) {
    if (!hosts.has(curve.name)) hosts.set(curve.name, grid.appendChild(el("div", { "data-curve": curve.name })));
    charts.draw(hosts.get(curve.name), chartOf(curve, [{ run: shown, rows }])).catch((error) => sorry(skipped, error));
  }
  if (shown.best_of_n) {
    if (!hosts.has("best_of_n")) hosts.set("best_of_n", grid.appendChild(el("div", { "data-curve": "best_of_n" })));
    charts.draw(hosts.get("best_of_n"), bestOf(shown.number, shown.best_of_n)).catch((error) => sorry(skipped, error));
  }
  const bad = rows.filter((row) => row.rejected).map((row) => row.step);
  skipped.textContent = bad.length === 1 ? `Step ${bad[0]} gave no valid number and was skipped.` : bad.length ? `${bad.length.toLocaleString("en")} steps gave no valid number and were skipped: ${bad.slice(0, 8).join(", ")}${bad.length > 8 ? " …" : ""}.` : "";
}

// What choosing the best of n answers by a process reward buys: its line over n, a majority vote's, and one answer's.
function bestOf(run, found) {
  const looks = [["reward", 0], ["base", 0], ["base", 1]];
  const series = found.series.map((each, i) => ({ model: looks[i][0], nth: looks[i][1], label: each.label, raw: false, percent: true, x: found.ns,
    y: each.values.map((v) => 100 * v[0]), low: each.values.map((v) => 100 * v[1]), high: each.values.map((v) => 100 * v[2]) }));
  return { key: `best ${run}`, title: "Best of n answers", unit: found.unit, xTitle: "answers to choose from", xMax: found.ns.at(-1), sentence: found.sentence, floor: 0, ceiling: 100, series };
}

// A step without a valid number has no value in its row: a point without a value there breaks the line.
function withGaps(held, key) {
  return held.flatMap((row, i) => (i && row.step > held[i - 1].step + 1 ? [{ step: row.step - 1, [key]: null }, row] : [row]));
}

// One curve of one run, or of two runs over each other (the older fainter, both named).
function chartOf(curve, parts) {
  const scale = curve.percent ? 100 : 1;
  const times = (v) => (v === null || v === undefined ? null : v * scale);
  const newest = Math.max(...parts.map((p) => p.run.number));
  const counted = curve.n && parts.flatMap((p) => p.rows).findLast((row) => row[curve.n])?.[curve.n];
  const series = parts.flatMap(({ run, rows: all }) => curve.series.map((s, index) => {
    const held = curve.smooth ? withGaps(all.filter((row) => s.key in row), s.key) : all.filter((row) => s.key in row);
    const label = [s.label, parts.length > 1 ? `run ${run.number}` : ""].filter(Boolean).join(", ");
    return { model: run.colour, label, nth: index % 3, faint: run.number !== newest, raw: curve.smooth, percent: curve.percent,
      x: held.map((row) => row.step), y: held.map((row) => times(row[s.key])),
      ...(s.low && parts.length === 1 ? { low: held.map((row) => times(row[s.low])), high: held.map((row) => times(row[s.high])) } : {}) };
  }));
  return { key: parts.map((p) => p.run.number).join("+"), title: curve.title, unit: counted ? `${curve.unit}, n ${counted}` : curve.unit,
    sentence: curve.sentence, xMax: Math.max(...parts.map((p) => p.run.steps || 0)), zero: curve.low === 0 && !curve.percent && !curve.smooth && curve.high === null,
    floor: curve.low === null ? undefined : curve.low * scale, ceiling: curve.high === null ? undefined : curve.high * scale,
    references: curve.lines.map((l) => ({ y: l.value * scale, label: l.label })), series };
}

function showSamples() {
  const prompts = [...new Set(samples.map((s) => s.prompt))];
  answersBox.hidden = !prompts.length;
  if (!prompts.length) return;
  if (!prompts.includes(prompt)) prompt = prompts[0];
  if (promptPick.options.length !== prompts.length || [...promptPick.options].some((o, i) => o.value !== prompts[i]))
    fill(promptPick, prompts.map((text) => el("option", { value: text, dir: "auto" }, text)));
  promptPick.value = prompt;
  const own = samples.filter((s) => s.prompt === prompt).sort((a, b) => a.step - b.step);
  const some = own.length <= 3 ? own : [own[0], own[Math.floor((own.length - 1) / 2)], own.at(-1)];
  fill(answers, some.map((s) => el("li", {}, el("span", { class: "wb-step-at" }, `Step ${s.step}`), el("span", { class: "wb-words", dir: "auto" }, s.text || "(empty answer)"))));
}

async function showLog() {
  try {
    const answer = await call(server, "log", { run: shown.number });
    logText.textContent = answer.log || "The log is empty.";
    logText.scrollTop = logText.scrollHeight;
  } catch (error) {
    logText.textContent = error.message;
  }
}

// ---- all runs ----

const table = workbench.runsTable({
  open: (number) => {
    select(number);
    card.scrollIntoView({ block: "nearest" });
  },
  take: actOn,
  star: (run) => call(server, "relabel", { run: run.number, starred: !run.starred }).then(relabelled, (error) => { table.wrong.textContent = error.message; }),
  pick: (numbers) => {
    picked = numbers;
    compareRuns();
  },
  restore: async (number) => { table.wrong.textContent = await tools.restore(number); },
});
const differences = el("section", { class: "wb-card wb-differences", hidden: true, "aria-label": "Two runs side by side" });

async function actOn(run, action, node) {
  if (action === "compare") return openTab("compare", { runs: [null, run.number] });
  if (action === "score") return openTab("score", { run: run.number });
  select(run.number);
  if (action !== "log") return act(node, action);
}

async function compareRuns() {
  for (const host of differences.querySelectorAll("[data-curve]")) charts.remove(host);
  differences.hidden = picked.length !== 2;
  if (differences.hidden) return;
  const asked = picked.join();
  let answer;
  try {
    answer = await call(server, "differences", { runs: picked });
  } catch (error) {
    return sorry(differences, error);
  }
  if (asked !== picked.join()) return;
  const [a, b] = answer.runs;
  const both = [{ run: a, rows: answer.rows[0] }, { run: b, rows: answer.rows[1] }];
  const curves = (form.curves[a.method] || []).filter((c) => (form.curves[b.method] || []).some((d) => d.name === c.name && d.unit === c.unit)
    && both.every((part) => c.series.some((s) => part.rows.some((row) => s.key in row))));
  const places = curves.map((curve) => el("div", { "data-curve": curve.name }));
  fill(differences, el("div", { class: "wb-spread" }, el("h2", {}, `Run ${a.number} and run ${b.number}: differences`),
    el("button", { class: "wb-button", type: "button", onclick: table.unpick }, "Close")),
    answer.gold ? el("p", {}, answer.gold) : null,
    answer.differences.length
      ? el("table", { class: "wb-difference-table" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, ""), [a, b].map((run) => el("th", { scope: "col" }, square(run.colour), ` ${run.short}`)))),
          el("tbody", {}, answer.differences.map((d) => el("tr", {}, el("th", { scope: "row" }, d.name), el("td", {}, d.a), el("td", {}, d.b)))))
      : el("p", {}, "Settings, data and results are the same."),
    el("div", { class: "wb-charts" }, places));
  curves.forEach((curve, i) => { charts.draw(places[i], chartOf(curve, both)); });
}

// ---- what is new ----

function select(number) {
  wanted = number;
  rows = [];
  samples = [];
  rowsNext = samplesNext = 0;
  renew = true;
  shown = runs.find((run) => run.number === number) || shown;
  logText.textContent = "";
  log.open = false;
  tick();
}

function take(answer) {
  const fresh = renew || answer.shown?.number !== shown?.number || answer.from < rowsNext;
  renew = false;
  if (answer.runs) {
    runs = answer.runs;
    stamp = answer.stamp;
    for (const run of runs) {
      if (LIVE.has(before.get(run.number)) && !LIVE.has(run.state)) {
        announce(`Run ${run.number}: ${run.headline?.text || run.line}`);
        workbench.refresh();
        replan();
      } else if (before.has(run.number) && before.get(run.number) !== run.state) replan();
      before.set(run.number, run.state);
    }
  }
  shown = answer.shown;
  for (const one of answer.live) table.time(one.number, one.time);
  if (fresh) [rows, samples, faults] = [[], [], new Set()];
  for (const text of answer.faults) faults.add(text);
  for (const row of answer.rows) {
    if (row.back_to !== undefined) rows = rows.filter((old) => old.step <= row.back_to);
    else rows.push(row);
  }
  if (answer.samples) samples = answer.samples;
  rowsNext = answer.next;
  samplesNext = answer.samples_next;
  showCard();
  if (shown && (fresh || answer.rows.length || !hosts.size)) showCharts();
  if (fresh || answer.samples) showSamples();
  if (answer.runs) table.show({ runs, base: answer.base, deleted: answer.deleted, shown: shown?.number });
  else if (fresh) table.show({ shown: shown?.number });
  if (log.open && shown && LIVE.has(shown.state)) showLog();
}

async function tick() {
  clearTimeout(timer);
  if (asking) { // asked for while an answer is under way: ask once more after it
    again = true;
    return;
  }
  asking = true;
  again = false;
  const run = wanted, after = rowsNext;
  try {
    const answer = await call(server, "watch", { run, seen: shown?.number ?? null, after, samples: samplesNext, stamp });
    if (run === wanted && after === rowsNext) take(answer); // else another run was chosen meanwhile
    failures = 0;
    lost.hidden = true;
  } catch (error) {
    failures += 1;
    lost.hidden = error.offline; // the header tells of a lost connection, and that this page tries again
    lost.textContent = error.message;
    if (!error.offline) wanted = null;
  }
  asking = false;
  if (again) return tick();
  timer = setTimeout(tick, pause());
}

function pause() {
  if (failures) return Math.min(10000, 500 * 2 ** Math.min(failures, 5));
  const live = runs.some((run) => LIVE.has(run.state));
  const looking = !document.hidden && workbench.activeTab() === "train";
  if (live && looking) return rows.length > 200 ? CALM : rows.length ? FAST : FIRST;
  return live && !document.hidden ? SLOW : IDLE;
}

document.addEventListener("visibilitychange", () => !document.hidden && tick());
addEventListener("online", () => tick());
on("workbench:tab", (detail) => detail.name === "train" && opened(detail));

function opened({ method, run }) {
  if (!form) return;
  if (run) select(run);
  if (method && methodOf(method)) {
    choose({ method, settings: {}, start_from: null, allow_failed_gate: false });
    showMethods();
  }
  tick();
  replan();
}

async function begin() {
  try {
    form = await call(server, "form", {});
  } catch (error) {
    fill(root, el("p", { class: "wb-warn", role: "alert" }, error.message));
    return setTimeout(begin, 2000);
  }
  workbench.plotly ??= form.plotly;
  charts.load().catch((error) => console.warn(error.message)); // ahead of the first point
  if (!methodOf(choice.method)) choice.method = form.methods[0].name;
  fill(root, el("h2", { class: "wb-hidden" }, "Train"), lost, el("div", { class: "wb-train-grid" }, setup, el("div", { class: "wb-train-main" }, tools.undoBar, empty, card)), table.node, differences);
  showMethods();
  showSettings();
  const options = workbench.lastOptions.train || {};
  opened(options);
}

begin();
