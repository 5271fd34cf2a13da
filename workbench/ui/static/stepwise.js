const { el, fill, call, on, keys, kbd, count, local, token, announce, flash, openTab, emptyState } = workbench;
const root = element.querySelector(".wb-stepwise");
const imports = workbench.importer(server, "rank");

const LABELS = [[-1, "−", "Wrong"], [0, "0", "Neutral"], [1, "+", "Right"]];
const AHEAD = 2;                // answers held in the page, so that the next one shows at once

let about = null;               // steps_state()
let items = [];                 // answers in the page; the first is on screen
let current = null;             // the answer on screen: {prompt_id, prompt, steps}
let labels = [];                // of its steps; null where none is given yet
let at = 0;                     // the step that a key labels
let sent = "";                  // the token of this answer: sent again it is stored once
let past = [];                  // this rater's saved answers, oldest first: {id, labels, item}
let since = 0;
let trouble = null;
let filling = false;
let saving = false;
let wait = 0;

/* ---- two ways to rank ---- */

const modes = [["pairs", "Two answers"], ["steps", "Step by step"]].map(([name, label]) =>
  el("button", { role: "radio", "data-mode": name, onclick: () => setMode(name) }, label));
const choose = el("div", { class: "wb-switch", role: "radiogroup", "aria-label": "What to judge" }, modes);
const active = () => document.body.dataset.rank === "steps";

function setMode(name) {
  document.body.dataset.rank = name;
  for (const button of modes) {
    button.setAttribute("aria-checked", String(button.dataset.mode === name));
    button.tabIndex = button.dataset.mode === name ? 0 : -1;
  }
  since = performance.now();
  if (name !== "steps") return;
  if (about) refill();
  else start();
}
choose.addEventListener("keydown", (event) => {
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return;
  event.preventDefault();
  setMode(active() ? "pairs" : "steps");
  modes[active() ? 1 : 0].focus();
});

/* ---- pieces that stay ---- */

const state = el("span", { class: "ws-state", role: "status" });
const done = el("span", { class: "wb-small ws-done" });
const prompt = el("h2", { class: "wb-prompt", dir: "auto" });
const list = el("ol", { class: "ws-list" });
const saveButton = el("button", { class: "wb-button ws-save", onclick: save }, "Save and next", kbd("↵"));
const skipButton = el("button", { class: "wb-plain", onclick: skip }, kbd("s"), "Skip");
const undoButton = el("button", { class: "wb-plain", onclick: undo }, kbd("u"), "Undo");
const body = el("div", { hidden: true },
  el("p", { class: "wb-label" }, "Prompt"), prompt,
  el("p", { class: "wb-quiet ws-question" }, "Is each step right? A step with nothing to check is neutral."),
  list, el("div", { class: "wb-row ws-foot" }, saveButton, skipButton, undoButton));
const instead = el("div", {});
const foot = el("p", { class: "wb-quiet ws-note" });
const board = el("section", { class: "ws-board", "aria-label": "Judge the steps of one answer" }, body, instead, foot);
fill(root, imports.node, el("div", { class: "wb-spread ws-top" }, choose, el("div", { class: "wb-row ws-told" }, state, done)), board);

/* ---- showing ---- */

function show() {
  const item = items[0] || null;
  body.hidden = !item;
  if (!item) {
    current = null;
    return showInstead();
  }
  fill(instead);
  if (item === current) return;
  current = item;
  labels = item.labels || item.steps.map(() => null);
  sent = item.token || token();
  since = performance.now();
  prompt.textContent = item.prompt;
  fill(list, item.steps.map((text, i) => row(text, i)));
  go(Math.max(0, labels.indexOf(null)));
  ready();
}

function row(text, i) {
  const group = `ws-step-${sent}-${i}`;
  const choices = LABELS.map(([value, sign, word]) => {
    const radio = el("input", { type: "radio", name: group, class: "wb-hidden", "data-value": value, onchange: () => label(i, value), onfocus: () => go(i, false) });
    radio.checked = labels[i] === value;
    return el("label", { class: `ws-choice ws-${word.toLowerCase()}` }, radio, el("span", {}, kbd(sign), word));
  });
  return el("li", { class: "ws-step", onclick: () => go(i, false) },
    el("p", { class: "wb-words ws-text", dir: "auto", id: `${group}-text` }, text.trim()),
    el("div", { class: "ws-choices", role: "radiogroup", "aria-labelledby": `${group}-text` }, choices));
}

/* Make step i the one that a key labels. */
function go(i, scroll = true) {
  if (!current) return;
  at = Math.max(0, Math.min(current.steps.length - 1, i));
  [...list.children].forEach((each, k) => {
    if (k === at) each.setAttribute("aria-current", "step");
    else each.removeAttribute("aria-current");
  });
  if (scroll && at > 0) list.children[at].scrollIntoView({ block: "nearest" });
}

function ready() {
  const open = labels.filter((each) => each === null).length;
  saveButton.disabled = !current || open > 0 || saving;
  undoButton.disabled = !past.length || saving;
  done.textContent = about ? `${count(about.mine, "answer")} judged` : "";
}

function showInstead() {
  if (trouble?.empty && about?.sandbox) {
    fill(instead, emptyState("No answers to judge yet. Let the model answer 20 sums and word problems, then say which steps are right.",
      [["Write answers", more, true], ...(about.all ? [] : [["Add simulated labels", simulate]])]));
  } else if (trouble?.empty) {
    fill(instead, emptyState("No prompts yet. Add some whose answers have steps.", [["Add prompts", () => openTab("demonstrate"), true]]));
  } else if (trouble?.error) {
    fill(instead, emptyState(trouble.error, [["Try again", () => { trouble = null; refill(); }]]));
  } else fill(instead, el("p", { class: "wb-quiet" }, trouble?.text || "Writing an answer"));
}

function showFoot() {
  const parts = [];
  if (about.simulated) parts.push(`${count(about.simulated, "answer")} with simulated labels in this workspace, not counted here. `);
  if (about.all) parts.push(el("button", { class: "wb-link", onclick: () => openTab("train", { method: "prm" }) }, "Train a process reward model"));
  fill(foot, parts);
}

function say(text, kind = "wb-state") {
  if (state.textContent !== text) state.textContent = text;
  state.className = `ws-state ${kind}`;
}

/* ---- answers ---- */

async function refill() {
  if (filling || !about || !active()) return;
  filling = true;
  clearTimeout(wait);
  let pause = 0;
  try {
    while (items.length < AHEAD) {
      const answer = await call(server, "steps_next", { have: items.map((each) => each.prompt_id) });
      trouble = answer.empty ? { empty: true } : answer.loading ? { text: answer.loading } : null;
      if (!answer.item) {
        pause = answer.empty ? 0 : 400;
        break;
      }
      items.push(answer.item);
      show();
    }
  } catch (error) {
    if (!items.length) trouble = { error: error.message };
  }
  filling = false;
  show();
  if (pause) wait = setTimeout(refill, pause);
}

async function more() {
  await tried("steps_more");
}

async function simulate() {
  trouble = { text: "The model answers sums; worked solutions label each step." };
  showInstead();
  await tried("simulate_steps");
}

async function tried(name) {
  try {
    await call(server, name);
    trouble = null;
    about = await call(server, "steps_state");
    showFoot();
    workbench.refresh();
    refill();
  } catch (error) {
    trouble = { error: error.message };
  }
  show();
}

/* ---- judging ---- */

function label(i, value) {
  labels[i] = value;
  const radio = list.children[i].querySelector(`[data-value="${value}"]`);
  radio.checked = true;
  keep();
  const open = labels.indexOf(null);
  const next = labels.indexOf(null, i);
  if (open >= 0) go(next >= 0 ? next : open);
  else go(Math.min(i + 1, labels.length - 1));
  ready();
  const word = LABELS.find(([each]) => each === value)[2];
  announce(`Step ${i + 1}: ${word}. ${open >= 0 ? `Step ${at + 1}: ${current.steps[at].trim()}` : "All steps are judged; Enter saves."}`);
}

function press(value) {
  if (!current || saving) return;
  label(at, value);
}

/* An answer half judged survives a reload; one that could not be sent, too. */
function keep() {
  local.set(`steps-draft:${about.place}`, current && labels.some((each) => each !== null) ? { ...current, labels, token: sent } : null);
}

async function save() {
  if (!current || saving || labels.includes(null)) return;
  flash(saveButton);
  const inside = board.contains(document.activeElement);
  saving = true;
  ready();
  say("Saving");
  const item = { prompt_id: current.prompt_id, prompt: current.prompt, steps: current.steps };
  try {
    const answer = await call(server, "steps_save", { ...item, labels, token: sent, seconds: since ? (performance.now() - since) / 1000 : null });
    past.push({ id: answer.id, labels, item });
    about.mine += 1;
    about.all += 1;
    local.set(`steps-draft:${about.place}`, null);
    items.shift();
    say("✓ Saved", "wb-good");
    saving = false;
    show();
    if (inside) list.querySelector("input")?.focus({ preventScroll: true });
    showFoot();
    workbench.refresh();
    refill();
  } catch (error) {
    say(`! Not saved. ${error.offline ? "No connection to the workbench. Your labels are kept on this device; save again in a moment." : error.message}`, "wb-warn");
  }
  saving = false;
  ready();
}

async function skip() {
  if (!current || saving) return;
  flash(skipButton);
  try {
    await call(server, "steps_skip", { prompt_id: current.prompt_id });
    local.set(`steps-draft:${about.place}`, null);
    items.shift();
    say("Skipped");
    show();
    refill();
  } catch (error) {
    say(`! ${error.message}`, "wb-warn");
  }
}

async function undo() {
  const one = past.at(-1);
  if (!one || saving) return;
  flash(undoButton);
  try {
    await call(server, "steps_undo", { id: one.id });
    past.pop();
    about.mine -= 1;
    about.all -= 1;
    if (current) Object.assign(current, { labels, token: sent });
    items = [{ ...one.item, labels: [...one.labels] }, ...items].slice(0, AHEAD);
    say("Undone. This answer is back.");
    show();
    showFoot();
    workbench.refresh();
  } catch (error) {
    say(`! ${error.message}`, "wb-warn");
  }
  ready();
}

/* ---- keys ---- */

const here = (run) => (event) => (!active() || body.hidden ? false : run(event));
keys("rank", [
  { keys: ["-", "−"], show: ["−"], label: "this step is wrong", run: here(() => press(-1)) },
  { keys: ["0"], label: "this step is neutral", run: here(() => press(0)) },
  { keys: ["+", "="], show: ["+"], label: "this step is right", run: here(() => press(1)) },
  { keys: ["ArrowUp"], show: ["↑"], label: "the step before", repeats: true, run: here(() => go(at - 1)) },
  { keys: ["ArrowDown"], show: ["↓"], label: "the next step", repeats: true, run: here(() => go(at + 1)) },
  { keys: ["Enter"], label: "save and next", run: here((event) => (skipButton.parentElement.contains(event.target) && event.target !== saveButton || foot.contains(event.target) ? false : save())) },
  { keys: ["s"], label: "skip", run: here(skip) },
  { keys: ["u"], label: "undo", run: () => (active() ? undo() : false) },
], "rank, steps");

on("workbench:imported", () => about && refill());
on("workbench:tab", ({ name, mode }) => name === "rank" && mode && setMode(mode));

async function start() {
  try {
    about = await call(server, "steps_state");
  } catch (error) {
    trouble = { error: error.message };
    show();
    wait = setTimeout(start, 3000);
    return;
  }
  trouble = null;
  past = about.last;
  const draft = local.get(`steps-draft:${about.place}`);
  if (draft) items = [draft];
  showFoot();
  ready();
  show();
  refill();
}
setMode(workbench.lastOptions.rank?.mode || "pairs");
