const { el, fill, call, on, keys, kbd, bar, count, plain, local, token, debounce, announce, flash, openTab, emptyState, wilsonBar, rateText } = workbench;
const root = element.querySelector(".wb-rank");

const KEEP = 5;                 // pairs held in the page, so that the next one shows at once
const WORDS = { a: "A over B", b: "B over A", tie: "Equally good", bad: "Both bad", own: "Your answer over both", skip: "Skipped" };

let about = null;               // choices(): counts, goal, place
let pairs = [];                 // pairs in the page; the first is on screen
let current = null;
let changing = null;            // an earlier choice that is being judged again
let made = 0;                   // choices of this rater, the unsent ones included
let past = [];                  // this rater's choices and skips, oldest first: {op, choice, pair, id, version, entry}
const outbox = [];                // unsent acts: {op, token, payload, undone, tried}
let since = 0;                  // when the pair came on screen; 0 when the page was left meanwhile
let goal = 100;
let doneShown = false;
let trouble = null;             // why there are no pairs
let wait = 0;
let refilling = false;

/* This page's own name survives a reload: the server deals it the same pair again. */
const page = sessionStorage.getItem("workbench:page") || token();
sessionStorage.setItem("workbench:page", page);

/* ---- pieces that stay ---- */

const state = el("span", { class: "wr-state", role: "status" });
const progress = el("span", { class: "wr-progress" });
const prompt = el("h2", { class: "wb-prompt wr-prompt", dir: "auto" });
const question = el("p", { class: "wb-quiet wr-question" });
const banner = el("div", { class: "wr-banner", role: "status" });
const passed = el("div", { class: "wr-passed", role: "status" });
const card = (letter, said) => {
  const text = el("span", { class: "wb-words wr-text", dir: "auto" });
  const more = el("button", { class: "wb-link wr-more", hidden: true, onclick: () => { text.classList.remove("wr-folded"); more.hidden = true; } }, "Show all");
  const button = el("button", { class: "wr-card-button", onclick: () => judge(said) },
    el("span", { class: "wb-label wr-letter" }, `Answer ${letter}`, el("span", { class: "wb-hidden" }, ":")), text);
  return { node: el("div", { class: "wr-card" }, button, more), button, text, more };
};
const A = card("A", "a");
const B = card("B", "b");
const big = (said, key, label, kind, after = false) =>
  el("button", { class: `wr-choice ${kind}`, onclick: () => judge(said) }, after ? [el("span", {}, label), kbd(key)] : [kbd(key), el("span", {}, label)]);
const buttons = {
  a: big("a", "1", "A is better", "wr-pick"),
  tie: big("tie", "0", "Equally good", "wr-other"),
  bad: big("bad", "b", "Both bad", "wr-other"),
  b: big("b", "2", "B is better", "wr-pick", true),
};
const small = (key, label, run) => el("button", { class: "wb-plain", onclick: run }, kbd(key), label);
const ownButton = small("e", "Write my own", openOwn);
const skipButton = small("s", "Skip", skip);
const undoButton = small("u", "Undo", undo);
const keysButton = small("?", "All keys", workbench.showKeys);
keysButton.classList.add("wr-keys");

const ownField = el("textarea", { class: "wb-words wr-own-field", rows: 3, dir: "auto", "aria-label": "Your own answer, better than both" });
const ownNote = el("span", { class: "wb-state", role: "status" });
const ownBox = el("div", { class: "wr-own", hidden: true },
  el("p", { class: "wb-label" }, "Your own answer, better than both"), ownField,
  el("div", { class: "wb-row" }, el("button", { class: "wb-button", onclick: saveOwn }, "Save as better than both", kbd("Ctrl ↵")),
    el("button", { class: "wb-plain", onclick: closeOwn }, kbd("Esc"), "Cancel"), ownNote));

const last = el("ol", { class: "wr-last" });
const habits = el("div", { class: "wr-habits" });
const simulated = el("p", { class: "wb-quiet" });
const body = el("div", {},
  el("div", { class: "wr-cards" }, A.node, B.node),
  el("div", { class: "wr-foot" },
    el("div", { class: "wr-choices" }, buttons.a, buttons.tie, buttons.bad, buttons.b),
    el("div", { class: "wr-more-row" }, el("div", { class: "wr-smalls" }, ownButton, skipButton, undoButton), keysButton)),
  ownBox);
const instead = el("div", { class: "wr-instead" });
const habitsBox = el("details", { class: "wr-habits-box" }, el("summary", {}, el("h3", {}, "Your habits so far")), habits, simulated);
const board = el("div", {},
  el("div", { class: "wr-top" },
    el("div", { class: "wb-spread" }, el("p", { class: "wb-label" }, "Prompt"), el("div", { class: "wr-right" }, state, progress)),
    prompt, question, banner),
  body, instead, passed,
  el("div", { class: "wr-below" },
    el("section", {}, el("h3", {}, "Your last choices"), last), habitsBox));
fill(root, board);
habitsBox.open = matchMedia("(min-width: 641px)").matches;

/* ---- showing ---- */

function show() {
  const pair = changing ? changing.pair : pairs[0] || null;
  const finished = !changing && about && made >= goal && !doneShown;
  if (finished || !pair) {
    current = null;
    return showInstead(finished);
  }
  body.hidden = false;
  fill(instead);
  prompt.hidden = question.hidden = false;
  ready(true);
  if (current?.key !== pair.key || current !== pair) {
    current = pair;
    prompt.textContent = pair.prompt;
    put(A, pair.texts[0]);
    put(B, pair.texts[1]);
    since = performance.now();
  }
}

function ready(yes) {
  for (const button of [A.button, B.button, buttons.a, buttons.b, buttons.tie, buttons.bad, ownButton, skipButton]) button.disabled = !yes;
}

function put(side, text) {
  side.text.textContent = text || "(empty answer)";
  side.text.classList.toggle("wr-nothing", !text);
  const long = matchMedia("(max-width: 640px)").matches;
  side.text.classList.toggle("wr-folded", long);
  side.more.hidden = !(long && side.text.scrollHeight > side.text.clientHeight + 4);
  if (side.more.hidden) side.text.classList.remove("wr-folded");
}

function showInstead(finished) {
  closeOwn();
  ready(false);
  const words = finished || trouble?.empty;
  body.hidden = !!words || !!trouble?.error;
  prompt.hidden = question.hidden = true;
  if (finished) {
    fill(instead, emptyState(`All ${goal.toLocaleString("en")} pairs ranked. You can train on them now.`,
      [["Train", () => openTab("train", { method: "dpo" }), true], ["Make more", makeMore]]));
  } else if (trouble?.empty) {
    fill(instead, emptyState("No pairs yet. Let the model write two answers to each of 20 prompts.", [["Write answers", writeAnswers, true]]));
  } else if (trouble?.error) {
    fill(instead, emptyState(trouble.error, [["Try again", () => refill(true)]]));
  } else {
    // the cards keep their size while the answers are written
    fill(instead);
    for (const side of [A, B]) {
      side.text.textContent = trouble?.text || "";
      side.text.classList.add("wr-nothing");
      side.more.hidden = true;
    }
  }
}

function showState(text, kind) {
  if (state.textContent !== text) state.textContent = text;
  state.className = `wr-state ${kind}`;
}

function showProgress() {
  if (!about) return;
  const within = made <= goal ? `${made} of ${goal} pairs by you` : `${count(made, "pair")} by you`;
  fill(progress, el("span", { class: "wr-count" }, within), bar(made, goal, { label: "Pairs ranked" }));
  undoButton.disabled = !past.length && !changing;
}

function showLast() {
  const rows = past.filter((each) => each.op !== "skip").slice(-3).reverse();
  fill(last, rows.length ? rows.map((each) => el("li", {},
    el("span", { class: "wr-last-prompt", dir: "auto" }, plain(each.pair.prompt)),
    el("span", { class: "wb-small wr-last-choice" }, WORDS[each.choice]),
    each.choice === "own" ? el("span", { class: "wr-last-change" }) :
      el("button", { class: "wb-link wr-last-change", disabled: !each.id, onclick: () => change(each) }, "Change",
        el("span", { class: "wb-hidden" }, ` the choice on ${plain(each.pair.prompt)}`))))
    : el("li", { class: "wb-quiet" }, "None yet."));
}

function showHabits() {
  if (!about) return;
  const rows = about.habits;
  fill(habits, rows.length ? rows.map((rate) => el("div", { class: "wr-habit" }, el("span", { class: "wb-small" }, rate.label),
    wilsonBar(rate, { label: rate.label }), el("span", { class: "wb-quiet wr-rate" }, rateText(rate))))
    : el("p", { class: "wb-quiet" }, "Appears after 20 choices."));
  simulated.textContent = about.simulated ? `${count(about.simulated, "simulated choice")} in this workspace, not counted here.` : "";
  simulated.hidden = !about.simulated;
}

/* ---- pairs ---- */

async function refill(retry = false) {
  if (refilling) return;
  refilling = true;
  clearTimeout(wait);
  let pause = 0;
  try {
    const answer = await call(server, "rank_pairs", { page, n: KEEP - pairs.length, have: pairs.map((each) => each.key), retry });
    const unsent = new Set(outbox.map((each) => each.payload.shown?.join("-")));
    for (const pair of answer.pairs) if (!pairs.some((each) => each.key === pair.key) && !unsent.has(pair.key)) pairs.push(pair);
    trouble = null;
    fill(passed, answer.passed ? el("p", { class: "wb-quiet" }, answer.passed, " ",
      el("button", { class: "wb-link", onclick: () => openTab("demonstrate") }, "Show prompts")) : null);
    if (answer.empty) trouble = { empty: true };
    else if (answer.loading) trouble = { text: answer.loading };
    else if (answer.error) trouble = { error: `The model could not write answers. ${answer.error}` };
    else if (!pairs.length) trouble = { text: performance.now() - asked > 300 ? "Writing two answers" : "" };
    if (answer.error && !pairs.length) pause = 3000;
    else if (!answer.empty && pairs.length < KEEP) pause = pairs.length ? 1500 : 250;
  } catch (error) {
    pause = 3000;
    if (!pairs.length) trouble = error.offline
      ? { text: "Offline, and no more pairs are loaded. Your choices are kept on this device." } : { error: error.message };
  }
  refilling = false;
  if (pairs.length) asked = 0;
  else if (!asked) asked = performance.now();
  if (!current || !pairs.length) show();
  if (pause && (!document.hidden || !pairs.length)) wait = setTimeout(refill, pause);
}
let asked = performance.now();

async function writeAnswers() {
  try {
    await call(server, "make_pairs");
  } catch (error) {
    trouble = { error: error.message };
    return show();
  }
  trouble = { text: "Writing two answers" };
  asked = performance.now();
  show();
  refill();
  workbench.refresh();
}

async function makeMore() {
  goal += about.goal;
  local.set(`rank-goal:${about.place}`, goal);
  doneShown = false;
  showProgress();
  show();
  try {
    await call(server, "make_pairs");
  } catch (error) {
    showState(`! ${error.message}`, "wb-warn");
  }
  refill();
}

/* ---- choosing ---- */

function judge(choice) {
  if (!current) return;
  flash(buttons[choice]);
  if (changing) return saveChange(choice);
  act("vote", choice, { choice });
}

function act(op, choice, more) {
  const pair = current;
  const entry = {
    op, token: token(), undone: false, tried: false,
    payload: { page, prompt_id: pair.prompt_id, shown: pair.shown, seconds: since ? (performance.now() - since) / 1000 : null, ...more },
  };
  outbox.push(entry);
  keep();
  past.push({ op, choice, pair, id: null, version: null, token: entry.token });
  pairs.shift();
  if (op !== "skip") made += 1;
  banner.textContent = "";
  show();
  showProgress();
  showLast();
  announce(`${op === "skip" ? "Skipped" : WORDS[choice]}. ${current ? `Next prompt: ${current.prompt}` : ""}`);
  flush();
  if (pairs.length < KEEP) refill();
}

function skip() {
  if (changing) return leaveChange();
  if (!current) return;
  flash(skipButton);
  act("skip", "skip", {});
}

async function undo() {
  if (changing) return leaveChange();
  const one = past.at(-1);
  if (!one) return;
  flash(undoButton);
  past.pop();
  if (one.op !== "skip") made -= 1;
  const entry = outbox.find((each) => each.token === one.token);
  if (entry && !entry.tried) outbox.splice(outbox.indexOf(entry), 1);
  else if (entry) entry.undone = true;  // it may have arrived: once it is confirmed, it is taken back
  else {
    outbox.push({ op: "undo", token: token(), undone: false, tried: false, payload: { op: one.op, id: one.id } });
  }
  keep();
  pairs = [one.pair, ...pairs.filter((each) => each.key !== one.pair.key)];
  banner.textContent = "Undone. This pair is back.";
  announce("Undone. This pair is back.");
  doneShown = made >= goal;
  show();
  showProgress();
  showLast();
  flush();
}

/* ---- changing an earlier choice ---- */

function change(one) {
  changing = one;
  fill(banner, `You chose “${WORDS[one.choice]}”. Choose again, or `, el("button", { class: "wb-link", onclick: leaveChange }, "keep it"), ".");
  show();
  root.scrollIntoView({ block: "start" });
  A.button.focus({ preventScroll: true });
}

function leaveChange() {
  changing = null;
  banner.textContent = "";
  show();
}

async function saveChange(choice) {
  const one = changing;
  showState("Saving", "wb-state");
  try {
    const answer = await call(server, "change_choice", { id: one.id, version: one.version, choice });
    Object.assign(one, { choice, version: answer.version });
    showState("✓ Saved", "wb-good");
    leaveChange();
    banner.textContent = `Changed to “${WORDS[choice]}”.`;
    showLast();
    readHabits();
  } catch (error) {
    showState(`! Not changed. ${error.offline ? "No connection to the workbench; try again in a moment." : error.message}`, "wb-bad");
  }
}

/* ---- my own answer ---- */

function openOwn() {
  if (!current || changing) return;
  ownBox.hidden = false;
  ownNote.textContent = "";
  ownField.focus();
}

function closeOwn() {
  if (ownBox.hidden) return;
  const focused = ownBox.contains(document.activeElement);
  ownBox.hidden = true;
  if (focused) ownButton.focus();
}

function saveOwn() {
  const text = ownField.value.trim();
  if (!current) return;
  if (!text) {
    ownNote.textContent = "Write an answer first.";
    return ownField.focus();
  }
  ownField.value = "";
  closeOwn();
  act("own", "own", { text });
}

/* ---- the outbox: what the server has not confirmed stays on this device and is sent until it has ---- */

const box = () => `rank-outbox:${about.place}:${page}`;

function keep() {
  local.set(box(), outbox.length ? outbox : null);
}

/* What an earlier page could not send: tokens keep it from being stored twice. */
function adopt() {
  const prefix = `workbench:rank-outbox:${about.place}:`;
  const names = Object.keys(localStorage).filter((name) => name.startsWith(prefix));
  for (const name of names) {
    const left = local.get(name.slice("workbench:".length), []);
    outbox.push(...left.filter((each) => !outbox.some((known) => known.token === each.token)));
    if (name !== `workbench:${box()}`) localStorage.removeItem(name);
  }
  keep();
}

const SEND = { vote: "vote", own: "own", skip: "skip_pair", undo: "undo_choice" };
let sending = false;
let offline = 0;      // choices that waited while offline
let retryTimer = 0;

async function flush() {
  if (sending || !about) return;
  sending = true;
  clearTimeout(retryTimer);
  if (outbox.length && !offline) showState("Saving", "wb-state");
  let sent = 0;
  try {
    while (outbox.length) {
      const entry = outbox[0];
      entry.tried = true;
      keep();
      let answer = null;
      try {
        answer = await call(server, SEND[entry.op], { ...entry.payload, token: entry.token });
        if (entry.undone) await call(server, "undo_choice", { op: entry.op, id: answer.id });
      } catch (error) {
        if (error.offline) throw error;
        refused(entry, error);
      }
      outbox.splice(outbox.indexOf(entry), 1);
      keep();
      sent += 1;
      const one = past.find((each) => each.token === entry.token);
      if (one && answer) Object.assign(one, { id: answer.id, version: answer.version ?? null });
    }
    if (sent) {
      showState(offline ? `✓ ${offline === 1 ? "" : "All "}${count(offline, "choice")} saved` : "✓ Saved", "wb-good");
      offline = 0;
      showLast();
      readHabits();
      refreshHeader();
    }
  } catch {
    offline = outbox.length;
    showState(`! Offline. ${count(offline, "choice")} ${offline === 1 ? "waits" : "wait"} on this device and ${offline === 1 ? "is" : "are"} sent when you are back.`, "wb-warn");
    retryTimer = setTimeout(flush, 2000);
  }
  sending = false;
  if (outbox.length && !offline) flush();
}

function refused(entry, error) {
  const one = past.findIndex((each) => each.token === entry.token);
  if (one >= 0) past.splice(one, 1);
  if (entry.op === "vote" || entry.op === "own") made = Math.max(0, made - 1);
  if (entry.payload.text) {
    ownField.value = entry.payload.text;
    ownBox.hidden = false;
  }
  fill(banner, el("span", { class: "wb-bad" }, `One choice could not be saved. ${error.message}`));
  showProgress();
}

const refreshHeader = debounce(() => workbench.refresh(), 600);
const readHabits = debounce(async () => {
  try {
    const answer = await call(server, "choices");
    about = { ...about, habits: answer.habits, simulated: answer.simulated };
    if (!outbox.length) made = answer.mine;
    showHabits();
    showProgress();
  } catch (error) {
    console.info("habits wait:", error.message);  // the next choice asks again; the state line tells of the connection
  }
}, 700);

window.addEventListener("online", () => { flush(); refill(); });
on("workbench:imported", () => about && refill(true));
on("workbench:online", ({ online }) => online && outbox.length && flush());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) since = 0;
  else if (!pairs.length) refill();
});

/* ---- keys ---- */

const mine = (run) => () => (document.body.dataset.rank === "steps" ? false : run()); // the tab's other way of judging
const here = (run) => mine(() => (body.hidden ? false : run()));
keys("rank", [
  { keys: ["1", "ArrowLeft"], show: ["1", "←"], label: "A is better", run: here(() => judge("a")) },
  { keys: ["2", "ArrowRight"], show: ["2", "→"], label: "B is better", run: here(() => judge("b")) },
  { keys: ["0"], label: "equally good", run: here(() => judge("tie")) },
  { keys: ["b"], label: "both bad", run: here(() => judge("bad")) },
  { keys: ["s"], label: "skip", run: here(skip) },
  { keys: ["u"], label: "undo, as often as you like", run: mine(undo) },
  { keys: ["e"], label: "write your own", run: here(openOwn) },
  { keys: ["Ctrl+Enter"], show: ["Ctrl", "Enter"], label: "save your answer as better than both", inField: true, run: mine(() => (ownBox.hidden ? false : saveOwn())) },
  { keys: ["Escape"], show: ["Esc"], label: "cancel your answer or a change", inField: true, run: mine(() => (!ownBox.hidden ? closeOwn() : changing ? leaveChange() : false)) },
]);
on("workbench:tab", ({ name }) => {
  if (name !== "rank") return;
  since = performance.now();
  if (!about) start();
  else if (!pairs.length) refill();
});

async function start() {
  try {
    about = await call(server, "choices");
  } catch (error) {
    trouble = { error: error.message };
    show();
    setTimeout(start, 3000);
    return;
  }
  made = about.mine;
  goal = Math.max(local.get(`rank-goal:${about.place}`, about.goal), about.goal);
  doneShown = made > goal;
  if (made > goal) goal = Math.ceil((made + 1) / about.goal) * about.goal;
  past = about.last.map((each) => ({ op: each.choice === "own" ? "own" : "vote", choice: each.choice, pair: each.pair, id: each.id, version: each.version, token: null }));
  const [first, rest] = [about.question.slice(0, about.question.indexOf("?") + 1), about.question.slice(about.question.indexOf("?") + 1)];
  fill(question, first, el("span", { class: "wr-question-rest" }, rest));
  adopt();
  made += outbox.filter((each) => (each.op === "vote" || each.op === "own") && !each.undone).length;
  showProgress();
  showLast();
  showHabits();
  flush();
  refill();
}
start();
