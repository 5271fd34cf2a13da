const { el, fill, call, on, keys, kbd, bar, count, plain, local, token, debounce, announce, openTab, emptyState } = workbench;
const root = element.querySelector(".wb-demonstrate");

let place = "";       // which workspace: drafts on this device belong to it
let data = null;      // the list, as the server last sent it
let open = null;      // the prompt in the editor
let editing = null;   // the saved answer that is being changed, or null for a new one
let draftOf = null;   // the model's answer that this one began from
let act = token();    // one per answer: saving twice stores once
let seen = [];        // the answers that were there when this one was begun
let touched = false;  // whether the person has written since the editor was filled
let opening = 0;      // counts openings, so that a late answer for an earlier prompt is dropped
const unsaved = new Map();  // prompt id -> the answer to it that is being saved, or could not be: see save()

/* ---- pieces that stay ---- */

const imports = workbench.importer(server, "demonstrate");
const body = el("div", {});
const list = el("ol", { class: "wd-list", "aria-label": "Prompts" });
const listEnd = el("div", { class: "wd-progress" });
const adder = el("div", { class: "wd-adder", hidden: true });
const notice = el("div", { class: "wd-notice", role: "status" });
const failures = el("div", { class: "wd-failures", role: "status" });
const promptText = el("h2", { class: "wb-prompt", dir: "auto" });
const promptNote = el("p", { class: "wb-quiet" });
const field = el("textarea", { class: "wb-words wd-field", id: "wd-field", rows: 5, dir: "auto", spellcheck: "true", "aria-describedby": "wd-status", disabled: true });  // until a prompt is open: words written before would belong to none
const preview = el("div", { class: "wd-preview wb-words", dir: "auto", tabindex: "0", role: "region", "aria-label": "Preview", hidden: true });
const status = el("span", { class: "wb-state", id: "wd-status", role: "status" });
const saveWords = el("span", {}, "Save and next");
const saveButton = el("button", { class: "wb-button wb-primary wd-save", onclick: () => save() }, saveWords, kbd("Ctrl ↵"));
const skipButton = el("button", { class: "wb-plain", onclick: skip }, "Skip");
const deleteButton = el("button", { class: "wb-plain", onclick: remove }, "Delete");
const anotherButton = el("button", { class: "wb-plain", onclick: () => edit(null) }, "Write another");
const writeTab = el("button", { "aria-pressed": "true", onclick: () => showPreview(false) }, "Write");
const previewTab = el("button", { "aria-pressed": "false", onclick: () => showPreview(true) }, "Preview");
const others = el("div", { class: "wd-others" });
const says = el("p", { class: "wd-says-text", dir: "auto" });
const editThis = el("button", { class: "wb-button", onclick: takeOver }, "Edit this one");
const askAgain = el("button", { class: "wb-plain", onclick: () => ask(true) }, "Ask again");
const tip = (title, text) => el("div", {}, el("h3", {}, title), el("p", { class: "wb-small" }, text));

const editor = el("section", { class: "wd-editor", "aria-label": "Write an answer" },
  el("p", { class: "wb-label" }, "Prompt"), promptText, promptNote,
  el("div", { class: "wb-spread wd-field-head" },
    el("label", { for: "wd-field", class: "wd-field-label" }, "Your ideal answer"),
    el("div", { class: "wb-switch wd-switch", role: "group", "aria-label": "Write or preview" }, writeTab, previewTab)),
  field, preview,
  el("div", { class: "wb-spread wd-actions" }, el("div", { class: "wb-row" }, saveButton, skipButton, deleteButton, anotherButton), status),
  others,
  el("p", { class: "wb-label wd-says-label" }, "What the model says now"),
  el("div", { class: "wd-says" }, says, el("div", { class: "wd-says-buttons" }, editThis, askAgain)),
  el("div", { class: "wd-tips" },
    tip("Write in your own voice", "The model copies tone and length as well as facts."),
    tip("State the fact first", "Then the verdict, then an offer of help. Two sentences are enough."),
    tip("Refuse kindly", "Say no in one sentence, then offer something useful.")));

const addButton = el("button", { class: "wb-link", "aria-expanded": "false", onclick: () => toggleAdder() }, "Add");
const aside = el("aside", { class: "wd-aside", "aria-label": "Prompts to answer" });
fill(root, imports.node, body);

/* ---- the list ---- */

async function reload(openId) {
  try {
    data = await call(server, "demonstrations");
  } catch (error) {
    if (editor.isConnected) return say(error.message);
    fill(body, el("p", { class: "wb-bad", role: "alert" }, error.message, " "),
      el("button", { class: "wb-button", onclick: () => reload(openId) }, "Try again"));
    return;
  }
  place = data.place;
  if (!data.prompts.length) {
    open = null;
    fill(body, emptyState("No prompts yet. Start with 30 sample prompts, or add your own.",
      [["Start with 30 sample prompts", starter, true], ["Add", () => toggleAdder(true)]]), adder, notice);
    return;
  }
  if (!editor.isConnected) showEditor();
  drawList();
  const wanted = openId || open?.id || data.next || data.prompts[0].id;
  if (wanted !== open?.id) await openPrompt(wanted);
}

/* The list with the editor. The field for new prompts goes back above the list: without prompts it stood alone. */
function showEditor() {
  fill(aside, el("div", { class: "wb-spread wd-aside-head" }, el("h2", {}, "Prompts"), addButton), adder, list, listEnd);
  fill(body, el("div", { class: "wd-grid" }, aside, el("div", {}, notice, failures, editor)));
}

/* What stands beside a prompt in the list. */
function rowMark(prompt) {
  const entry = unsaved.get(prompt.id);
  if (entry) return el("span", { class: entry.failed ? "wd-draft wd-unsaved" : "wd-draft" }, entry.failed ? "Not saved" : "Saving");
  if (prompt.answers) return el("span", { class: "wd-tick" }, "✓", el("span", { class: "wb-hidden" }, ` ${count(prompt.answers, "answer")}`));
  const text = prompt.draft || local.get(draftKey(prompt.id)) !== null ? "Draft" : prompt.too_long ? "Too long" : prompt.heldout ? "Held out" : null;
  return text && el("span", { class: "wd-draft" }, text);
}

function showRowMark(id) {
  const item = list.querySelector(`[data-id="${id}"]`);
  if (!item) return;
  item.querySelector(".wd-draft, .wd-tick")?.remove();
  const words = rowMark(data.prompts.find((each) => each.id === id));
  if (words) item.append(words);
}

function drawList() {
  fill(list, data.prompts.map((prompt) =>
    el("li", {}, el("button", { class: "wd-item", "data-id": prompt.id, "aria-current": prompt.id === open?.id ? "true" : null, onclick: () => openPrompt(prompt.id) },
      el("span", { class: "wd-item-text", dir: "auto" }, plain(prompt.text)), rowMark(prompt)),
      el("button", { class: "wd-drop", title: "Delete this prompt", onclick: () => dropPrompt(prompt) }, "✕",
        el("span", { class: "wb-hidden" }, `Delete the prompt ${plain(prompt.text)}`)))));
  const simulated = data.simulated ? ` (${data.simulated.toLocaleString("en")} simulated)` : "";
  const answered = data.written < data.goal ? `${data.written} of ${data.goal} answered` : count(data.written, "answer");
  fill(listEnd, bar(data.written, data.goal, { label: "Answers written" }),
    el("p", { class: "wb-quiet" }, answered + simulated), el("p", { class: "wb-quiet" }, data.buys));
  showCurrent();
}

function showCurrent() {
  const item = list.querySelector("[aria-current]")?.parentElement;
  if (!item) return;
  const top = item.offsetTop;
  if (top < list.scrollTop || top + item.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 3;
}

function mark(id, change) {
  const prompt = data.prompts.find((each) => each.id === id);
  if (prompt) Object.assign(prompt, change(prompt));
}

const take = (answer) => Object.assign(data, { written: answer.written, simulated: answer.simulated, goal: answer.goal, buys: answer.buys });

async function starter() {
  try {
    await call(server, "use_starter");
  } catch (error) {
    return say(error.message);
  }
  await reload();
  workbench.refresh();
}

/* ---- one prompt ---- */

/* Prompts without an answer are shown at once from their row, so that writing never waits; the rest comes behind. */
async function openPrompt(id) {
  sendDraft.flush();
  const mine = ++opening;
  const row = data.prompts.find((each) => each.id === id);
  const early = row && !row.answers;
  if (early) present({ ...row, too_long: "", answers: [] });
  let answer;
  try {
    answer = await call(server, "open_prompt", { id });
  } catch (error) {
    return mine === opening && !(early && error.offline) ? say(error.message) : undefined;
  }
  if (mine !== opening) return;
  if (early) update(answer);
  else present(answer);
}

function present(prompt) {
  open = prompt;
  field.disabled = false;
  list.querySelectorAll(".wd-item").forEach((item) => {
    if (Number(item.dataset.id) === open.id) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  });
  showCurrent();
  showPrompt();
  const entry = unsaved.get(open.id);
  if (entry) resume(entry);
  else edit(ownAnswer());
  showFailures();
  ask(false);
}

/* What the server knows about the prompt that is open already; never over what is being written. */
function update(answer) {
  const changed = answer.answers.length > 0 || answer.draft !== open.draft;
  Object.assign(open, answer, { cut: false });
  showPrompt();
  const entry = unsaved.get(open.id);
  if (entry?.failed?.conflict) return;  // its choices stand where the other answers would
  if (touched || entry) showOthers();
  else if (changed) edit(ownAnswer());
}

const ownAnswer = () => open.answers.findLast((each) => each.who === "you") || null;

function showPrompt() {
  promptText.textContent = open.cut ? `${open.text}…` : open.text;
  const held = open.heldout ? "Held out: an answer here is used for evaluation only, never for training, so this prompt is not offered for writing." : "";
  promptNote.textContent = [open.too_long, held].filter(Boolean).join(" ");
  promptNote.hidden = !promptNote.textContent;
}

/* Put a saved answer, or a new one, into the field. */
function edit(saved) {
  editing = saved;
  draftOf = null;
  act = token();
  seen = open.answers.map((each) => each.id);
  touched = false;
  showPreview(false);
  let kept = local.get(draftKey(open.id));
  if (saved && kept === saved.text) {  // a save whose answer this page did not live to see
    local.set(draftKey(open.id), null);
    kept = null;
  }
  field.value = kept ?? (saved ? saved.text : open.draft);
  saveWords.textContent = saved ? "Save change" : "Save and next";
  skipButton.hidden = !!saved;
  deleteButton.hidden = anotherButton.hidden = !saved;
  if (kept !== null) tell("Draft kept on this device", "wb-state", true);
  else if (saved) tell("✓ Saved", "wb-good");
  else tell(open.draft ? "Draft saved" : "", "wb-state", true);
  showOthers();
  focusField();
}

function focusField() {
  if (workbench.activeTab() === "demonstrate" && matchMedia("(min-width: 641px)").matches) field.focus({ preventScroll: true });
}

function showOthers() {
  const rest = open.answers.filter((each) => each.id !== editing?.id);
  fill(others, rest.length ? [el("p", { class: "wb-label" }, "Also written for this prompt"),
    el("ul", {}, rest.slice(-5).map((each) => el("li", { class: "wd-other" }, el("p", { class: "wd-other-text", dir: "auto" }, each.text),
      el("span", { class: each.who === "simulated" ? "wb-tag" : "wb-quiet" }, each.who),
      el("button", { class: "wb-link", onclick: () => edit(each) }, "Edit"))))] : null);
}

/* ---- drafts: on this device at once, on the server a moment later ---- */

const draftKey = (id) => `draft:${place}:${id}`;

function keepDraft() {
  const text = field.value;
  const saved = editing ? editing.text : open.draft;
  if (text === saved) {
    local.set(draftKey(open.id), null);
    if (waitingDraft?.prompt === open) waitingDraft = null;
    return tell(editing ? "✓ Saved" : text ? "Draft saved" : "", editing ? "wb-good" : "wb-state", true);
  }
  const kept = local.set(draftKey(open.id), text);
  tell(kept ? "Draft kept on this device" : "! This browser cannot keep drafts. Save before you leave.", kept ? "wb-state" : "wb-warn", true);
  if (!editing) sendDraft(open, text);
}

let waitingDraft = null;
const sendLater = debounce(() => sendDraft.flush(), 800);
function sendDraft(prompt, text) {
  waitingDraft = { prompt, text };
  sendLater();
}
sendDraft.flush = async () => {
  sendLater.cancel();
  if (!waitingDraft) return;
  const { prompt, text } = waitingDraft;
  waitingDraft = null;
  try {
    await call(server, "save_draft", { prompt_id: prompt.id, text });
    if (unsaved.has(prompt.id)) return;  // it became an answer meanwhile
    prompt.draft = text;
    mark(prompt.id, () => ({ draft: text }));
    if (local.get(draftKey(prompt.id)) === text) local.set(draftKey(prompt.id), null);
    showRowMark(prompt.id);
    if (open !== prompt || editing) return;
    if (field.value === text) return tellDraft(text ? "Draft saved" : "");
    local.set(draftKey(prompt.id), field.value);
    sendDraft(prompt, field.value);
  } catch (error) {
    if (error.offline) lookAgain();
    if (open === prompt) tellDraft(`! Draft kept on this device only. ${error.offline ? "No connection to the workbench." : error.message}`, "wb-warn");
  }
};

/* The field was changed, by typing or by a button. */
function changed() {
  touched = true;
  if (unsaved.get(open.id)?.failed) {  // what could not be saved is a draft again, and another text than was sent
    unsaved.delete(open.id);
    act = token();
  }
  keepDraft();
  showRowMark(open.id);
}
field.addEventListener("input", changed);

let aboutDraft = true;  // whether the status speaks of the draft: such words never replace those about a save
function tell(text, kind = "wb-state", draft = false) {
  aboutDraft = draft;
  status.className = kind;
  status.textContent = text;
}
const tellDraft = (text, kind) => aboutDraft && tell(text, kind, true);

function say(text, action = null) {
  fill(notice, text ? el("p", { class: "wb-small" }, text, " ", action) : null);
}

/* ---- saving ---- */

/* The next prompt is shown at once and the answer is saved behind it. Until the server has said yes, the text stays on
   this device and the row in the list says so; what fails comes back, or is named above the editor. */
function save() {
  if (!open || (unsaved.has(open.id) && !unsaved.get(open.id).failed)) return;
  const text = field.value.trim();
  if (!text) {
    tell("Write an answer first.", "wb-warn");
    return field.focus();
  }
  sendLater.cancel();
  waitingDraft = null;
  const entry = { prompt: open, text, saved: editing, act, draftOf, seen, failed: null };
  unsaved.set(open.id, entry);
  local.set(draftKey(open.id), text);
  drawList();
  entry.sent = send(entry);
  if (!editing) next(entry.prompt.id);
  tell("Saving");
}

async function send(entry) {
  entry.failed = null;
  const { prompt, text, saved } = entry;
  try {
    const answer = saved
      ? await call(server, "edit_demonstration", { id: saved.id, text, version: saved.version })
      : await call(server, "save_demonstration", { prompt_id: prompt.id, text, token: entry.act, draft_of: entry.draftOf, seen: entry.seen });
    if (answer.conflict) refused(entry, { why: answer.conflict, theirs: answer.theirs, conflict: true });
    else stored(entry, answer);
  } catch (error) {
    refused(entry, { why: error.offline ? "No connection to the workbench; it is sent again when you are back." : error.message, offline: error.offline });
  }
}

function stored({ prompt, text, saved }, answer) {
  unsaved.delete(prompt.id);
  if (local.get(draftKey(prompt.id)) === text) local.set(draftKey(prompt.id), null);
  prompt.draft = "";
  take(answer);
  mark(prompt.id, (each) => ({ answers: saved ? Math.max(1, each.answers) : each.answers + 1, draft: "" }));
  drawList();
  showFailures();
  workbench.refresh();
  announce("Saved");
  if (open?.id === prompt.id) return showStored(answer.saved, text);
  const waiting = [...unsaved.values()].some((each) => !each.failed);
  if (!touched && !waiting) tell("✓ Saved", "wb-good");
}

/* The prompt of an answer that was just saved is still in the editor. */
function showStored(answer, text) {
  open.answers = [...open.answers.filter((each) => each.id !== answer.id), answer];
  const written = field.value, focused = document.activeElement;
  edit(answer);
  if (focused !== document.body) focused.focus({ preventScroll: true });
  if (written.trim() === text) return;
  field.value = written;  // written on meanwhile: a change that is not saved yet
  changed();
}

function refused(entry, failed) {
  entry.failed = failed;
  if (failed.offline) lookAgain();
  drawList();
  announce(`Not saved: the answer to ${plain(entry.prompt.text)}`);
  if (open?.id === entry.prompt.id) resume(entry);
  else if (!touched && !field.value) openPrompt(entry.prompt.id);  // nothing is begun here
  else if (status.textContent === "Saving") tell("");
  showFailures();
}

/* An answer that is on its way or could not be saved, back in the field. */
function resume(entry) {
  const written = open === entry.prompt && touched ? field.value : entry.text;
  edit(entry.saved);
  ({ act, draftOf, seen } = entry);
  field.value = written;
  if (!entry.failed) tell("Saving");
  else if (entry.failed.conflict) conflict(entry);
  else tell(`! Not saved. Your text is kept on this device. ${entry.failed.why}`, "wb-bad");
}

/* Failed answers to prompts that are not in the editor, each with its prompt. */
function showFailures() {
  const failed = [...unsaved.values()].filter((each) => each.failed && each.prompt.id !== open?.id);
  fill(failures, failed.map((entry) => el("p", { class: "wb-small" }, el("span", { class: "wb-bad" }, "! Not saved: "), "your answer to “", el("bdi", {}, short(entry.prompt.text)),
    `” (kept on this device). ${entry.failed.why} `,
    el("button", { class: "wb-link", onclick: () => openPrompt(entry.prompt.id) }, "Open it"))));
}

const short = (text) => (plain(text).length > 60 ? `${plain(text).slice(0, 60)}…` : plain(text));

/* The header finds out when the connection is back; what waits here is sent then. */
const lookAgain = debounce(() => workbench.refresh(), 2000);
window.addEventListener("online", () => workbench.refresh());

function retry() {
  for (const entry of unsaved.values()) if (entry.failed?.offline) entry.sent = send(entry);
  if (open && !editing && !unsaved.has(open.id) && local.get(draftKey(open.id)) !== null) sendDraft(open, field.value);
}

function conflict(entry) {
  const { why, theirs } = entry.failed;
  const other = entry.saved ? "theirs" : "the other one";
  const forget = () => {
    unsaved.delete(entry.prompt.id);
    fill(others);
  };
  const again = (change) => () => {
    forget();
    change();
    save();
  };
  const drop = () => {
    forget();
    local.set(draftKey(entry.prompt.id), null);
    mark(entry.prompt.id, (each) => ({ answers: Math.max(each.answers, theirs ? 1 : 0) }));
    openPrompt(entry.prompt.id);
  };
  tell(entry.saved ? "! Not saved: changed elsewhere" : "! Not saved: answered elsewhere", "wb-warn");
  fill(others, el("p", { class: "wb-warn" }, why), theirs ? el("p", { class: "wd-other-text", dir: "auto" }, theirs.text) : null,
    el("div", { class: "wb-row" },
      theirs ? el("button", { class: "wb-button", onclick: again(() => (editing = theirs)) }, `Replace ${other} with mine`) : null,
      el("button", { class: "wb-button", onclick: drop }, `Use ${other}`),
      theirs && entry.saved ? null : el("button", { class: "wb-button", onclick: again(() => { editing = null; act = token(); if (theirs) seen = [...seen, theirs.id]; }) },
        theirs ? "Keep both" : "Save mine as a new answer")));
}

/* The next prompt without an answer, after this one in the list, then from its start; `sent` is what was just done here. */
async function next(id, sent = null) {
  const at = data.prompts.findIndex((each) => each.id === id);
  const order = [...data.prompts.slice(at + 1), ...data.prompts.slice(0, Math.max(0, at))];
  const free = order.find((each) => !each.answers && !each.too_long && !each.heldout && !unsaved.has(each.id));
  if (free) return openPrompt(free.id);
  await Promise.all([sent, ...[...unsaved.values()].map((each) => each.sent)]);
  if (unsaved.has(id) || open?.id !== id) return;  // it failed and says so, or another prompt was opened meanwhile
  await reload();
  if (data.next && data.next !== id) return openPrompt(data.next);
  const rest = data.heldout ? ` ${count(data.heldout, "more is", "more are")} held out for evaluation.` : "";
  const answered = data.total - data.heldout;
  say(data.next === id ? "Only this prompt is left." : (answered === 1 ? "The only prompt is answered." : `All ${answered.toLocaleString("en")} prompts are answered.`) + rest, [
    el("button", { class: "wb-link", onclick: () => openTab("train", { method: "sft" }) }, "Train SFT"), " or ",
    el("button", { class: "wb-link", onclick: () => toggleAdder(true) }, "add more")]);
}

function skip() {
  const { id, text } = open;
  const sent = call(server, "skip_prompt", { prompt_id: id })
    .catch((error) => say(["! Not skipped: “", el("bdi", {}, short(text)), `”. ${error.message}`]));
  return next(id, sent);
}

async function remove() {
  const gone = editing;
  const prompt = open;
  try {
    take(await call(server, "delete_demonstration", { id: gone.id }));
  } catch (error) {
    return tell(`! Not deleted. ${error.message}`, "wb-bad");
  }
  mark(prompt.id, (each) => ({ answers: Math.max(0, each.answers - 1) }));
  drawList();
  local.set(draftKey(prompt.id), null);
  await openPrompt(prompt.id);
  workbench.refresh();
  announce("Deleted");
  say("Deleted.", el("button", { class: "wb-link", onclick: () => restore(gone, prompt) }, "Undo"));
}

async function dropPrompt(prompt) {
  const at = data.prompts.findIndex((each) => each.id === prompt.id);
  const neighbour = data.prompts[at + 1] || data.prompts[at - 1];
  try {
    take(await call(server, "delete_prompt", { id: prompt.id }));
  } catch (error) {
    return say(`! Not deleted. ${error.message}`);
  }
  const was = open?.id;
  unsaved.delete(prompt.id);
  if (was === prompt.id) {
    await sendDraft.flush();
    open = null;
  }
  await reload(was === prompt.id ? neighbour?.id : was);
  if (data.prompts.length) list.querySelector("[aria-current]")?.focus();
  workbench.refresh();
  const more = prompt.answers ? ` with ${count(prompt.answers, "answer")}` : "";
  say(`Prompt deleted${more}.`, el("button", { class: "wb-link", onclick: () => bringBack(prompt) }, "Undo"));
  announce(`Prompt deleted${more}.`);
}

async function bringBack(prompt) {
  try {
    take(await call(server, "restore_prompt", { id: prompt.id }));
  } catch (error) {
    return say(`! Not restored. ${error.message}`);
  }
  await reload(prompt.id);
  workbench.refresh();
  say("Undone. This prompt is back.");
  announce("Undone. This prompt is back.");
}

async function restore(gone, prompt) {
  try {
    take(await call(server, "restore_demonstration", { id: gone.id }));
  } catch (error) {
    return say(`! Not restored. ${error.message}`);
  }
  mark(prompt.id, (each) => ({ answers: each.answers + 1 }));
  drawList();
  await openPrompt(prompt.id);
  say("Undone. This answer is back.");
  announce("Undone. This answer is back.");
  workbench.refresh();
}

/* ---- what the model says now ---- */

let said = null;
let asking = 0;
async function ask(again) {
  const mine = ++asking;
  const prompt = open;
  said = null;
  editThis.disabled = askAgain.disabled = true;
  const slow = setTimeout(() => mine === asking && quiet("Writing an answer"), 300);
  try {
    for (;;) {
      const answer = await call(server, "model_says", { id: prompt.id, again });
      if (mine !== asking) return;
      if (!answer.loading) {
        said = answer;
        break;
      }
      clearTimeout(slow);
      quiet(answer.loading);
      await new Promise((go) => setTimeout(go, 700));
      if (mine !== asking) return;
    }
    says.className = "wd-says-text";
    says.textContent = said.text || "(The model gave an empty answer.)";
    editThis.disabled = !said.text;
  } catch (error) {
    if (mine === asking) quiet(error.message);
  } finally {
    clearTimeout(slow);
    if (mine === asking) askAgain.disabled = false;
  }
}

function quiet(text) {
  says.className = "wd-says-text wb-quiet";
  says.textContent = text;
}

function takeOver() {
  if (!said) return;
  const before = field.value;
  field.value = said.text;
  draftOf = said.id;
  changed();
  showPreview(false);
  field.focus();
  if (before.trim() && before !== said.text) {
    say("Your text was replaced.", el("button", { class: "wb-link", onclick: () => { field.value = before; changed(); say(""); field.focus(); } }, "Undo"));
  }
}

/* ---- preview ---- */

function showPreview(show) {
  previewTab.setAttribute("aria-pressed", String(show));
  writeTab.setAttribute("aria-pressed", String(!show));
  if (show) {
    preview.style.minHeight = `${field.offsetHeight}px`;
    fill(preview, workbench.markdown(field.value));
  }
  field.hidden = show;
  preview.hidden = !show;
}

/* ---- adding prompts ---- */

const ways = [["One per line", false, "One prompt per line."],
  ["Several lines each", true, "Each prompt may have several lines. A line of three dashes (---) begins the next prompt."]];
let severalLines = false;
const pasted = el("textarea", { class: "wb-field wd-pasted", rows: 4, dir: "auto", "aria-label": "Your prompts", "aria-describedby": "wd-pasted-help" });
const pastedHelp = el("p", { class: "wb-quiet", id: "wd-pasted-help" });
const wayButtons = ways.map(([label, several]) => el("button", { onclick: () => setWay(several) }, label));
const chosen = el("input", { type: "file", class: "wb-hidden", id: "wd-file", multiple: true, accept: ".jsonl,.json,.csv,.tsv,.parquet,.gz,.zst,.xz,.bz2", onchange: importFiles });
const report = el("div", { class: "wd-report", role: "status" });
fill(adder, el("div", { class: "wb-switch wd-switch wd-ways", role: "group", "aria-label": "How prompts are separated" }, wayButtons), pasted, pastedHelp,
  el("div", { class: "wb-row" },
    el("button", { class: "wb-button", onclick: addPrompts }, "Add prompts"),
    el("label", { for: "wd-file", class: "wb-link wd-file" }, "Import a file"), chosen),
  el("p", { class: "wb-quiet" }, "Or drop a file anywhere on this page: prompts, answers or pairs as JSONL, JSON, CSV or Parquet. TRL, Alpaca, ShareGPT, HH-RLHF and other formats are recognised."), report);
setWay(false);

function setWay(several) {
  severalLines = several;
  wayButtons.forEach((button, i) => { button.setAttribute("aria-pressed", String(ways[i][1] === several)); });
  pastedHelp.textContent = ways.find((way) => way[1] === several)[2];
}

function toggleAdder(show = adder.hidden) {
  adder.hidden = !show;
  addButton.setAttribute("aria-expanded", String(show));
  if (show) pasted.focus();
}

async function addPrompts() {
  if (!pasted.value.trim()) return pasted.focus();
  try {
    const answer = await call(server, "add_prompts", { text: pasted.value, several_lines: severalLines });
    pasted.value = answer.rest;  // what was not taken stays, to be shortened
    toggleAdder(!!answer.rest);
    fill(report, answer.why ? el("p", { class: "wb-bad" }, answer.why) : null);
    if (answer.first === null) return;
    say(`${count(answer.added, "prompt")} added${answer.known ? `, ${answer.known.toLocaleString("en")} already here` : ""}.`);
    await reload(answer.first);
    workbench.refresh();
  } catch (error) {
    fill(report, el("p", { class: "wb-bad" }, error.message));
  }
}

function importFiles() {
  const files = [...chosen.files];
  chosen.value = "";
  imports.take(files);
}
on("workbench:imported", () => reload());

/* ---- keys and arrival ---- */

function saveByKey() {
  workbench.flash(saveButton);
  return save();
}

keys("demonstrate", [
  { keys: ["Ctrl+Enter"], show: ["Ctrl", "Enter"], label: "save and next (in the field)", inField: true, run: (event) => (event.target === pasted ? addPrompts() : saveByKey()) },
]);
on("workbench:tab", ({ name, prompt }) => {
  if (name !== "demonstrate" || !data) return;
  if (prompt) return reload(prompt);
  if (!data.prompts.length) return reload();
  focusField();
});
on("workbench:online", ({ online }) => online && retry());
window.addEventListener("beforeunload", () => open && waitingDraft && local.set(draftKey(waitingDraft.prompt.id), waitingDraft.text));
reload(workbench.lastOptions.demonstrate?.prompt);
