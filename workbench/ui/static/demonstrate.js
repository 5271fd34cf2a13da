const { el, fill, call, on, keys, kbd, bar, count, plain, local, token, debounce, announce, openTab, emptyState } = workbench;
const root = element.querySelector(".wb-demonstrate");

let place = "";       // which workspace: drafts on this device belong to it
let data = null;      // the list, as the server last told it
let open = null;      // the prompt in the editor
let editing = null;   // the saved answer that is being changed, or null for a new one
let draftOf = null;   // the model's answer that this one began from
let act = token();    // one per answer: saving twice stores once
let saving = false;
let opening = 0;      // counts openings, so that a late answer for an earlier prompt is dropped

/* ---- pieces that stay ---- */

const list = el("ol", { class: "wd-list", "aria-label": "Prompts" });
const listEnd = el("div", { class: "wd-progress" });
const adder = el("div", { class: "wd-adder", hidden: true });
const notice = el("div", { class: "wd-notice", role: "status" });
const promptText = el("h2", { class: "wb-prompt" });
const promptNote = el("p", { class: "wb-quiet" });
const field = el("textarea", { class: "wb-words wd-field", id: "wd-field", rows: 5, spellcheck: "true", "aria-describedby": "wd-status", disabled: true });  // until a prompt is open: words written before would belong to none
const preview = el("div", { class: "wd-preview wb-words", tabindex: "0", role: "region", "aria-label": "Preview", hidden: true });
const status = el("span", { class: "wb-state", id: "wd-status", role: "status" });
const saveWords = el("span", {}, "Save and next");
const saveButton = el("button", { class: "wb-button wb-primary wd-save", onclick: () => save() }, saveWords, kbd("Ctrl ↵"));
const skipButton = el("button", { class: "wb-plain", onclick: skip }, "Skip");
const deleteButton = el("button", { class: "wb-plain", onclick: remove }, "Delete");
const anotherButton = el("button", { class: "wb-plain", onclick: () => edit(null) }, "Write another");
const writeTab = el("button", { "aria-pressed": "true", onclick: () => showPreview(false) }, "Write");
const previewTab = el("button", { "aria-pressed": "false", onclick: () => showPreview(true) }, "Preview");
const others = el("div", { class: "wd-others" });
const says = el("p", { class: "wd-says-text" });
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

const aside = el("aside", { class: "wd-aside", "aria-label": "Prompts to answer" },
  el("div", { class: "wb-spread wd-aside-head" }, el("h2", {}, "Prompts"),
    el("button", { class: "wb-link", "aria-expanded": "false", onclick: () => toggleAdder() }, "Add")),
  adder, list, listEnd);

/* ---- the list ---- */

async function reload(openId) {
  try {
    data = await call(server, "demonstrations");
  } catch (error) {
    fill(root, el("p", { class: "wb-bad", role: "alert" }, error.message, " "),
      el("button", { class: "wb-button", onclick: () => reload(openId) }, "Try again"));
    return;
  }
  place = data.place;
  if (!data.prompts.length) {
    fill(root, emptyState("No prompts yet. Start with 30 sample prompts, or add your own.",
      [["Start with 30 sample prompts", starter, true], ["Add", () => toggleAdder(true)]]), adder, notice);
    return;
  }
  if (!editor.isConnected) fill(root, el("div", { class: "wd-grid" }, aside, el("div", {}, notice, editor)));
  drawList();
  const wanted = openId || open?.id || data.next || data.prompts[0].id;
  if (wanted !== open?.id) await openPrompt(wanted);
}

function drawList() {
  fill(list, data.prompts.map((prompt) => {
    const draft = prompt.draft || local.get(draftKey(prompt.id)) !== null;
    const mark = prompt.answers ? el("span", { class: "wd-tick" }, "✓", el("span", { class: "wb-hidden" }, ` ${count(prompt.answers, "answer")}`))
      : draft ? el("span", { class: "wd-draft" }, "Draft") : prompt.too_long ? el("span", { class: "wd-draft" }, "Too long") : null;
    return el("li", {}, el("button", { class: "wd-item", "data-id": prompt.id, "aria-current": prompt.id === open?.id ? "true" : null, onclick: () => openPrompt(prompt.id) },
      el("span", { class: "wd-item-text" }, plain(prompt.text)), mark),
      el("button", { class: "wd-drop", title: "Delete this prompt", onclick: () => dropPrompt(prompt) }, "✕",
        el("span", { class: "wb-hidden" }, `Delete the prompt ${plain(prompt.text)}`)));
  }));
  const simulated = data.simulated ? ` (${data.simulated.toLocaleString("en")} simulated)` : "";
  const answered = data.written < data.goal ? `${data.written} of ${data.goal} answered` : count(data.written, "answer");
  fill(listEnd, bar(data.written, data.goal, { label: "Answers written" }),
    el("p", { class: "wb-quiet" }, answered + simulated), el("p", { class: "wb-quiet" }, data.buys));
  showCurrent();
}

function showCurrent() {
  const item = list.querySelector("[aria-current]");
  if (!item) return;
  const top = item.offsetTop - list.offsetTop;
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

async function openPrompt(id) {
  keepDraft.flush();
  const mine = ++opening;
  let answer;
  try {
    answer = await call(server, "open_prompt", { id });
  } catch (error) {
    return say(error.message);
  }
  if (mine !== opening) return;
  open = answer;
  field.disabled = false;
  list.querySelectorAll(".wd-item").forEach((item) => {
    if (Number(item.dataset.id) === id) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  });
  showCurrent();
  promptText.textContent = open.text;
  const held = open.heldout ? "Held out for evaluation. An answer here is not used for training." : "";
  promptNote.textContent = [open.too_long, held].filter(Boolean).join(" ");
  promptNote.hidden = !promptNote.textContent;
  edit(open.answers.findLast((each) => each.who === "you") || null);
  ask(false);
}

/* Put a saved answer, or a new one, into the field. */
function edit(saved) {
  editing = saved;
  draftOf = null;
  act = token();
  showPreview(false);
  const kept = local.get(draftKey(open.id));
  field.value = kept ?? (saved ? saved.text : open.draft);
  saveWords.textContent = saved ? "Save change" : "Save and next";
  skipButton.hidden = !!saved;
  deleteButton.hidden = anotherButton.hidden = !saved;
  tell(kept !== null ? "Draft kept on this device" : saved ? "✓ Saved" : open.draft ? "Draft saved" : "", saved && kept === null ? "wb-good" : "wb-state");
  const rest = open.answers.filter((each) => each.id !== saved?.id);
  fill(others, rest.length ? [el("p", { class: "wb-label" }, "Also written for this prompt"),
    el("ul", {}, rest.slice(-5).map((each) => el("li", { class: "wd-other" }, el("p", { class: "wd-other-text" }, each.text),
      el("span", { class: each.who === "simulated" ? "wb-tag" : "wb-quiet" }, each.who),
      el("button", { class: "wb-link", onclick: () => edit(each) }, "Edit"))))] : null);
  if (workbench.activeTab() === "demonstrate" && matchMedia("(min-width: 641px)").matches) field.focus({ preventScroll: true });
}

/* ---- drafts: on this device at once, on the server a moment later ---- */

const draftKey = (id) => `draft:${place}:${id}`;

function keepDraft() {
  const text = field.value;
  const saved = editing ? editing.text : open.draft;
  if (text === saved) return local.set(draftKey(open.id), null);
  const kept = local.set(draftKey(open.id), text);
  tell(kept ? "Draft kept on this device" : "! This browser cannot keep drafts. Save before you leave.", kept ? "wb-state" : "wb-warn");
  if (!editing) sendDraft(open, text);
}
keepDraft.flush = () => sendDraft.flush?.();

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
    const answer = await call(server, "save_draft", { prompt_id: prompt.id, text });
    prompt.draft = text;
    mark(prompt.id, () => ({ draft: answer.kept }));
    if (local.get(draftKey(prompt.id)) === text) local.set(draftKey(prompt.id), null);
    if (open === prompt && !editing && field.value === text) tell(text ? "Draft saved" : "");
  } catch (error) {
    if (open === prompt) tell(`! Draft kept on this device only. ${error.offline ? "No connection to the workbench." : error.message}`, "wb-warn");
  }
};
field.addEventListener("input", () => {
  keepDraft();
  const here = list.querySelector(`[data-id="${open.id}"]`);
  if (here && !here.querySelector(".wd-draft, .wd-tick") && field.value) here.append(el("span", { class: "wd-draft" }, "Draft"));
});

function tell(text, kind = "wb-state") {
  status.className = kind;
  status.textContent = text;
}

function say(text, action = null) {
  fill(notice, text ? el("p", { class: "wb-small" }, text, " ", action) : null);
}

/* ---- saving ---- */

async function save() {
  if (saving || !open) return;
  const text = field.value.trim();
  if (!text) {
    tell("Write an answer first.", "wb-warn");
    return field.focus();
  }
  saving = true;
  sendLater.cancel();
  waitingDraft = null;
  tell("Saving");
  saveButton.disabled = true;
  const prompt = open;
  try {
    const answer = editing
      ? await call(server, "edit_demonstration", { id: editing.id, text, version: editing.version })
      : await call(server, "save_demonstration", { prompt_id: prompt.id, text, token: act, draft_of: draftOf });
    if (answer.conflict) return conflict(answer);
    local.set(draftKey(prompt.id), null);
    take(answer);
    if (!editing) mark(prompt.id, (each) => ({ answers: each.answers + 1, draft: false }));
    workbench.refresh();
    announce("Saved");
    if (editing) {
      editing = answer.saved;
      open.answers = open.answers.map((each) => (each.id === editing.id ? editing : each));
      drawList();
      tell("✓ Saved", "wb-good");
    } else {
      drawList();
      await next(prompt.id);
      tell("✓ Saved", "wb-good");
    }
  } catch (error) {
    local.set(draftKey(prompt.id), field.value);
    tell(`! Not saved. Your text is kept on this device. ${error.offline ? "No connection to the workbench; try again in a moment." : error.message}`, "wb-bad");
  } finally {
    saving = false;
    saveButton.disabled = false;
  }
}

function conflict(answer) {
  const theirs = answer.theirs;
  tell("! Not saved: changed elsewhere", "wb-warn");
  fill(others, el("p", { class: "wb-warn" }, answer.conflict), theirs ? el("p", { class: "wd-other-text" }, theirs.text) : null,
    el("div", { class: "wb-row" },
      theirs ? el("button", { class: "wb-button", onclick: () => { editing = theirs; fill(others); save(); } }, "Replace theirs with mine") : null,
      el("button", { class: "wb-button", onclick: () => { local.set(draftKey(open.id), null); openPrompt(open.id); } }, "Use theirs"),
      theirs ? null : el("button", { class: "wb-button", onclick: () => { editing = null; act = token(); fill(others); save(); } }, "Save mine as a new answer")));
}

/* The next prompt without an answer, after this one in the list, then from its start. */
async function next(id) {
  const at = data.prompts.findIndex((each) => each.id === id);
  const order = [...data.prompts.slice(at + 1), ...data.prompts.slice(0, Math.max(0, at))];
  const free = order.find((each) => !each.answers && !each.too_long);
  if (free) return openPrompt(free.id);
  await reload();
  if (data.next && data.next !== open.id) return openPrompt(data.next);
  say(data.total === 1 ? "The only prompt is answered." : `All ${data.total.toLocaleString("en")} prompts are answered.`, [
    el("button", { class: "wb-link", onclick: () => openTab("train", { method: "sft" }) }, "Train SFT"), " or ",
    el("button", { class: "wb-link", onclick: () => toggleAdder(true) }, "add more")]);
  return openPrompt(id);
}

async function skip() {
  const id = open.id;
  try {
    await call(server, "skip_prompt", { prompt_id: id });
  } catch (error) {
    return tell(error.message, "wb-bad");
  }
  await next(id);
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
  keepDraft();
  showPreview(false);
  field.focus();
  if (before.trim() && before !== said.text) {
    say("Your text was replaced.", el("button", { class: "wb-link", onclick: () => { field.value = before; keepDraft(); say(""); field.focus(); } }, "Undo"));
  }
}

/* ---- preview: a little markdown, built of nodes; links and images stay the text they are ---- */

function showPreview(show) {
  previewTab.setAttribute("aria-pressed", String(show));
  writeTab.setAttribute("aria-pressed", String(!show));
  if (show) {
    preview.style.minHeight = `${field.offsetHeight}px`;
    fill(preview, markdown(field.value));
  }
  field.hidden = show;
  preview.hidden = !show;
}

function inline(text) {
  const parts = [];
  const pattern = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\n]+)\*/g;
  let from = 0;
  for (const found of text.matchAll(pattern)) {
    parts.push(text.slice(from, found.index));
    parts.push(found[1] ? el("code", {}, found[1]) : found[2] ? el("strong", {}, found[2]) : el("em", {}, found[3]));
    from = found.index + found[0].length;
  }
  return [...parts, text.slice(from)];
}

function markdown(text) {
  const blocks = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (line.startsWith("```")) {
      const code = [];
      while (++i < lines.length && !lines[i].startsWith("```")) code.push(lines[i]);
      blocks.push(el("pre", {}, el("code", {}, code.join("\n"))));
    } else if (/^#{1,3} /.test(line)) {
      blocks.push(el("p", { class: "wd-heading" }, inline(line.replace(/^#+ /, ""))));
    } else if (/^([-*]|\d+\.) /.test(line)) {
      const ordered = /^\d/.test(line);
      const items = [];
      for (; i < lines.length && (ordered ? /^\d+\. / : /^[-*] /).test(lines[i]); i++) items.push(el("li", {}, inline(lines[i].replace(/^([-*]|\d+\.) /, ""))));
      i--;
      blocks.push(el(ordered ? "ol" : "ul", {}, items));
    } else if (line.trim()) {
      const paragraph = [line];
      while (i + 1 < lines.length && lines[i + 1].trim() && !/^(```|#{1,3} |[-*] |\d+\. )/.test(lines[i + 1])) paragraph.push(lines[++i]);
      blocks.push(el("p", {}, paragraph.flatMap((each, at) => (at ? [el("br"), ...inline(each)] : inline(each)))));
    }
  }
  return blocks.length ? blocks : [el("p", { class: "wb-quiet" }, "Nothing to preview yet.")];
}

/* ---- adding prompts ---- */

const pasted = el("textarea", { class: "wb-field wd-pasted", rows: 4, "aria-label": "Your prompts, one per line", placeholder: "One prompt per line" });
const chosen = el("input", { type: "file", class: "wb-hidden", id: "wd-file", accept: ".jsonl,.json,.csv,.tsv,.parquet,.gz,.zst,.xz,.bz2", onchange: importFile });
const report = el("div", { class: "wd-report", role: "status" });
fill(adder, pasted, el("div", { class: "wb-row" },
  el("button", { class: "wb-button", onclick: addPrompts }, "Add prompts"),
  el("label", { for: "wd-file", class: "wb-link wd-file" }, "Import a file"), chosen),
  el("p", { class: "wb-quiet" }, "Prompts, answers or pairs as JSONL, JSON, CSV or Parquet. TRL, Alpaca, ShareGPT, HH-RLHF and other formats are recognised."), report);

function toggleAdder(show = adder.hidden) {
  adder.hidden = !show;
  root.querySelector(".wd-aside-head .wb-link")?.setAttribute("aria-expanded", String(show));
  if (show) pasted.focus();
}

async function addPrompts() {
  if (!pasted.value.trim()) return pasted.focus();
  try {
    const answer = await call(server, "add_prompts", { text: pasted.value });
    pasted.value = answer.rest;  // what was not taken stays, to be shortened
    adder.hidden = !answer.rest;
    fill(report, answer.why ? el("p", { class: "wb-bad" }, answer.why) : null);
    if (answer.first === null) return;
    say(`${count(answer.added, "prompt")} added${answer.known ? `, ${answer.known.toLocaleString("en")} already here` : ""}.`);
    await reload(answer.first);
    workbench.refresh();
  } catch (error) {
    fill(report, el("p", { class: "wb-bad" }, error.message));
  }
}

async function importFile() {
  const file = chosen.files[0];
  chosen.value = "";
  if (!file) return;
  if (file.size > 20e6) return fill(report, el("p", { class: "wb-bad" }, `${file.name} is larger than 20 MB. Import it on the command line: python -m workbench import FILE`));
  fill(report, el("p", { class: "wb-quiet" }, `Reading ${file.name}`));
  try {
    const url = await new Promise((done, fail) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => fail(new Error(`${file.name} could not be read.`));
      reader.readAsDataURL(file);
    });
    const answer = await call(server, "import_file", { name: file.name, data: String(url).split(",", 2)[1] || "" });
    const what = `${count(answer.added, answer.kind.replace(/s\b/, ""), answer.kind)} added from ${file.name} (${answer.format})${answer.known ? `, ${answer.known.toLocaleString("en")} already here` : ""}.`;
    const bad = answer.bad_total ? [el("p", { class: "wb-warn" }, `${count(answer.bad_total, "row")} could not be imported:`),
      el("ul", {}, answer.bad.map((each) => el("li", { class: "wb-small" }, `Line ${each.line}: ${each.reason}`)))] : null;
    await reload();
    fill(report, el("p", { class: "wb-small" }, what), ...answer.remarks.map((each) => el("p", { class: "wb-small" }, `${each[0].toUpperCase()}${each.slice(1)}.`)), bad);
    announce(what);
    workbench.refresh();
  } catch (error) {
    fill(report, el("p", { class: "wb-bad" }, error.message));
  }
}

/* ---- keys and arrival ---- */

keys("demonstrate", [
  { keys: ["Ctrl+Enter"], show: ["Ctrl", "Enter"], label: "save and next (in the field)", inField: true, run: () => { workbench.flash(saveButton); save(); } },
]);
on("workbench:tab", ({ name, prompt }) => {
  if (name !== "demonstrate" || !data) return;
  if (prompt) return reload(prompt);
  if (!data.prompts.length) return reload();
  if (matchMedia("(min-width: 641px)").matches) field.focus({ preventScroll: true });
});
window.addEventListener("beforeunload", () => open && waitingDraft && local.set(draftKey(waitingDraft.prompt.id), waitingDraft.text));
reload(workbench.lastOptions.demonstrate?.prompt);
