// Compare: the same prompt and seed to several models, side by side, blind until the vote; then what the votes say, and
// what a batch of held-out prompts says. Which model is behind which letter is not in the page before the vote.
const { el, fill, call, on, openTab, announce, emptyState, keys, kbd, flash, charts, percent } = workbench;
const root = element.querySelector(".wb-compare");
const POLL = 100, DIAL = 160, MEASURE = 700;
const LETTERS = "ABCDEF";
const FIND_FROM = 8; // models from which on one is found by its name

let offer = null; // models, prompts and what kind of scores there are
let chosen = []; // run numbers, null for the base, in the order of the list
let strength = 1;
let ask = null; // {id, slots, state, texts, reveal, verdict, since, blind}
let promptAt = 0;
let measuring = 0; // the look at held-out prompts that is under way

const tone = (colour) => `var(--m-${colour})`;
const square = (colour) => {
  const node = el("span", { class: "wb-square", "aria-hidden": "true" });
  node.style.background = tone(colour);
  return node;
};
const modelOf = (run) => offer.models.find((m) => m.run === run);

// ---- asking ----

const field = el("input", { type: "text", class: "wb-words wb-ask-field", dir: "auto", "aria-label": "Prompt", autocomplete: "off", maxlength: 4000 });
const askButton = el("button", { class: "wb-button wb-primary wb-ask", type: "submit" }, "Ask both");
const askForm = el("form", { class: "wb-ask-row" }, field, askButton);
askForm.addEventListener("submit", (event) => {
  event.preventDefault();
  askAll();
  field.blur(); // so that 1 and 2 vote instead of being typed
});
const where = el("p", { class: "wb-quiet wb-where" });
const picker = el("details", { class: "wb-picker" });
const dial = el("input", { type: "range", min: 0, max: 1.5, step: 0.05, class: "wb-dial", "aria-label": "Strength" });
dial.value = 1;
const dialValue = el("output", { class: "wb-dial-value" }, "1.00");
const dialBox = el("div", { class: "wb-dial-box" }, el("span", { class: "wb-dial-name", "aria-hidden": "true" }, "Strength"),
  el("div", { class: "wb-dial-line" }, el("span", { class: "wb-ticks", "aria-hidden": "true" }, [0, 0.5, 1, 1.5].map((at) => mark(at, ""))), dial,
    el("span", { class: "wb-dial-marks", "aria-hidden": "true" }, [[0, "0 base"], [0.5, "0.5"], [1, "1 as trained"], [1.5, "1.5 beyond"]].map(([at, text]) => mark(at, text)))), dialValue);
const blind = el("input", { type: "checkbox", role: "switch", class: "wb-toggle", onchange: () => ask && askAll() });
blind.checked = true;
const blindBox = el("label", { class: "wb-blind" }, blind, "Blind until I vote");
let judge = null; // the reward model whose score stands on the cards, once they are no longer blind
const judgePick = el("select", { class: "wb-judge", id: "wb-judge", onchange: () => { judge = judgePick.value ? Number(judgePick.value) : null; if (ask) showTexts(); } });
const judgeBox = el("div", { class: "wb-judge-box", hidden: true }, el("label", { class: "wb-quiet", for: "wb-judge" }, "Reward model"), judgePick);
const lost = el("p", { class: "wb-bad wb-compare-error", role: "alert" });
const cards = el("div", { class: "wb-answers-grid" });
const act = el("div", { class: "wb-act" });
const wins = el("div", { class: "wb-wins" });
const measured = el("div", { class: "wb-measured" });
const results = el("section", { class: "wb-card wb-results", "aria-label": "Results" }, wins, measured);

function mark(at, text) {
  const node = el("span", {}, text);
  node.style.left = `calc(10px + (100% - 20px) * ${at / 1.5})`;
  return node;
}

dial.addEventListener("input", () => {
  strength = Number(dial.value);
  showDial();
  remake();
});
function showDial() {
  dialValue.textContent = strength.toFixed(2);
  dial.setAttribute("aria-valuetext", `${strength.toFixed(2)}${strength === 0 ? ", the base" : strength === 1 ? ", as trained" : strength > 1 ? ", beyond" : ""}`);
  dial.style.setProperty("--at", `calc(10px + (100% - 20px) * ${strength / 1.5})`);
}
// The same prompt and seed at the new strength. What was revealed stays revealed: only the words are made again.
const remake = workbench.debounce(() => {
  if (ask) askAll({ keep: ask.state === "shown" });
  loadTally();
  lookMeasured();
}, DIAL);

function showPicker() {
  const names = chosen.map((run) => modelOf(run).label);
  const summary = el("summary", { class: "wb-picker-head", "aria-label": `Models: ${names.join(", ")}. Change` },
    chosen.map((run, i) => el("span", { class: "wb-picked" }, square(modelOf(run).colour), modelOf(run).label, i < chosen.length - 1 ? "," : "")), el("span", { class: "wb-caret", "aria-hidden": "true" }));
  const list = el("div", { class: "wb-picker-list", role: "group", "aria-label": "Two to six models" }, offer.models.map((model) => {
    const box = el("input", { type: "checkbox", onchange: () => toggle(model.run, box) });
    box.checked = chosen.includes(model.run);
    return el("label", {}, box, square(model.colour), el("span", {}, model.label), model.note ? el("span", { class: "wb-quiet" }, model.note) : null);
  }));
  const find = offer.models.length > FIND_FROM && el("input", { type: "text", class: "wb-picker-find", "aria-label": "Find a model", placeholder: "Find by name", autocomplete: "off", value: sought,
    oninput: () => { sought = find.value; showSought(list); } });
  fill(picker, summary, el("div", { class: "wb-picker-box" }, find, list));
  showSought(list);
  askButton.textContent = chosen.length === 2 ? "Ask both" : `Ask all ${chosen.length}`;
  const moved = chosen.some((run) => run !== null);
  dial.disabled = !moved;
}

// The models whose label or data hold every word that is sought, and those that are chosen.
let sought = "";
function showSought(list) {
  const parts = sought.toLowerCase().split(/\s+/).filter(Boolean);
  for (const label of list.children) label.hidden = !label.querySelector("input").checked && !parts.every((part) => label.textContent.toLowerCase().includes(part));
}

function toggle(run, box) {
  const next = box.checked ? [...chosen, run] : chosen.filter((each) => each !== run);
  if (next.length < 2 || next.length > LETTERS.length) {
    box.checked = !box.checked;
    lost.textContent = next.length < 2 ? "Choose at least two models." : "Choose at most six models.";
    return;
  }
  lost.textContent = "";
  setModels(next);
  picker.querySelectorAll("input[type=checkbox]")[offer.models.findIndex((m) => m.run === run)].focus();
}

function setModels(next) {
  chosen = offer.models.map((m) => m.run).filter((run) => next.includes(run));
  showPicker();
  if (ask) askAll();
  loadTally();
  lookMeasured();
}
document.addEventListener("click", (event) => {
  if (picker.open && !event.composedPath().includes(picker)) picker.open = false;
});
picker.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !picker.open) return;
  picker.open = false;
  picker.querySelector("summary").focus();
});

async function askAll({ keep = false } = {}) {
  const prompt = field.value.trim();
  lost.textContent = "";
  if (!prompt) {
    lost.textContent = "Write a prompt first, or press n for the next one.";
    return;
  }
  const earlier = ask;
  const mine = { id: null, slots: chosen.length, state: "writing", texts: chosen.map(() => ""), blind: blind.checked && !keep, since: performance.now(), words: "",
    kept: keep ? earlier.reveal : null };
  ask = mine;
  showWhere(prompt);
  showCards();
  try {
    const answer = await call(server, "ask", { prompt, runs: chosen, strength, blind: mine.blind, like: keep ? earlier.id : null, replaces: earlier?.id ?? null });
    mine.id = answer.id;
    mine.heldout = answer.heldout;
    showWhere(prompt);
    if (mine === ask) listen(mine);
    else call(server, "cancel", { id: mine.id }).catch((error) => console.warn(error.message)); // asked again meanwhile
  } catch (error) {
    if (mine !== ask) return;
    ask = null;
    showCards();
    lost.textContent = error.message;
  }
}

function showWhere(prompt) {
  const known = offer.prompts.includes(prompt);
  where.textContent = ask?.heldout === false ? "Not a held-out prompt: a run may have trained on it." : known ? "A held-out prompt: no run has trained on it." : "";
}

async function listen(mine) {
  let version = 0;
  while (mine === ask) {
    let news;
    try {
      news = await call(server, "stream", { id: mine.id, version });
    } catch (error) {
      if (mine !== ask) return;
      if (!error.offline) {
        lost.textContent = error.message;
        mine.state = "failed";
        return;
      }
      await pause(1500); // the header tells of a lost connection
      continue;
    }
    if (mine !== ask) return;
    lost.textContent = "";
    if (news.version !== version || news.state !== "writing" || news.words !== mine.words) {
      version = news.version;
      mine.words = news.words;
      for (const [slot, text] of Object.entries(news.texts)) mine.texts[slot] = text;
      if (news.state === "failed") {
        mine.state = "failed";
        lost.textContent = news.error;
        return showCards();
      }
      if (news.state === "cancelled") return;
      if (news.state === "done") {
        mine.reveal = news.reveal;
        mine.state = mine.blind ? "voting" : "shown";
        mine.ready = performance.now();
        showCards();
        if (mine.blind) announce("All answers are complete. Vote now.");
        return;
      }
      showTexts();
    }
    await pause(POLL);
  }
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ---- the cards ----

function showCards() {
  if (!ask) {
    fill(cards);
    return showAct();
  }
  const named = ask.reveal || ask.kept;
  cards.style.setProperty("--columns", Math.min(ask.slots, ask.slots === 4 ? 2 : 3));
  fill(cards, ask.texts.map((_, i) => {
    const who = named && !ask.blind ? named[i] : ask.state === "shown" ? ask.reveal[i] : null;
    const head = who ? [el("span", { class: "wb-who" }, square(who.colour), who.label), el("span", { class: "wb-quiet" }, who.was)] : [el("span", { class: "wb-label" }, `Answer ${LETTERS[i]}`)];
    const card = el("article", { class: "wb-card wb-answer", "aria-label": who ? who.label : `Answer ${LETTERS[i]}`, "data-slot": i }, el("div", { class: "wb-spread" }, head), el("p", { class: "wb-words wb-answer-words", dir: "auto" }), el("p", { class: "wb-figures" }));
    if (who) card.style.setProperty("--who", tone(who.colour));
    card.classList.toggle("wb-known", !!who);
    return card;
  }));
  showTexts();
  showAct();
}

function showTexts() {
  ask.texts.forEach((text, i) => {
    const card = cards.children[i], words = card.querySelector(".wb-answer-words");
    const who = ask.state === "shown" ? ask.reveal[i] : null;
    if (who) fill(words, who.spans.map(span), text ? null : el("span", { class: "wb-quiet" }, "(empty answer)"));
    else if (text) words.textContent = text;
    else fill(words, waited(ask) && el("span", { class: "wb-quiet" }, ask.state === "voting" ? "(empty answer)" : ask.words || "Writing the answers"));
    fill(card.querySelector(".wb-figures"), who ? [...who.figures, ask.rewards?.judge === judge ? ask.rewards.figures[i] : null].filter(Boolean).map((figure) => el("span", {}, figure)) : null);
  });
  if (ask.state === "shown" && ask.id) loadRewards(ask);
  if (ask.state === "writing" && !waited(ask)) setTimeout(() => ask?.state === "writing" && showTexts(), 310);
}
const waited = (one) => one.state !== "writing" || performance.now() - one.since > 300;

// Only once names are shown: a score would bias the vote, and the server does not tell it before.
async function loadRewards(mine) {
  if (judge === null || mine.rewards?.judge === judge) return;
  mine.rewards = { judge, figures: [] }; // asked for once
  try {
    mine.rewards.figures = (await call(server, "reward", { id: mine.id, run: judge })).figures;
    if (mine === ask) showTexts();
  } catch (error) {
    if (mine === ask) lost.textContent = error.message;
  }
}

function showJudges() {
  const known = offer.rewards.map((each) => each.label).join("\n");
  judgeBox.hidden = !offer.rewards.length;
  if (judgePick.dataset.known === known) return;
  judgePick.dataset.known = known;
  fill(judgePick, offer.rewards.map((each) => el("option", { value: each.run }, each.label)), el("option", { value: "" }, "no reward model"));
  if (!offer.rewards.some((each) => each.run === judge)) judge = offer.rewards[0]?.run ?? null;
  judgePick.value = judge ?? "";
}

function span(part) {
  if (part.mark === "new") return el("ins", {}, el("span", { class: "wb-hidden" }, "[only here: "), part.text, el("span", { class: "wb-hidden" }, "]"));
  if (part.mark === "old") return el("del", {}, el("span", { class: "wb-hidden" }, "[only in the base: "), part.text, el("span", { class: "wb-hidden" }, "]"));
  return part.text;
}

const choiceButton = (key, text, choice, main, end) => el("button", { class: `wb-button wb-vote${main ? " wb-vote-main" : ""}`, type: "button", "data-choice": choice, onclick: () => vote(choice) },
  end ? null : kbd(key), text, end ? kbd(key) : null);

function showAct() {
  if (!ask) return void fill(act);
  if (ask.state === "shown") return showAfter();
  if (!ask.blind) return void fill(act, el("p", { class: "wb-quiet" }, ask.state === "failed" ? "" : ask.words || ""));
  const two = ask.slots === 2;
  const best = ask.texts.map((_, i) => choiceButton(String(i + 1), two ? `${LETTERS[i]} is better` : `${LETTERS[i]} is best`, i, true, two && i === 1));
  const tie = choiceButton("0", two ? "Equally good" : "No clear best", "tie"), bad = choiceButton("b", two ? "Both bad" : "All bad", "bad");
  fill(act, el("div", { class: two ? "wb-votes" : "wb-votes wb-votes-many", role: "group", "aria-label": "Your vote" }, two ? [best[0], tie, bad, best[1]] : [best, tie, bad]));
  for (const node of act.querySelectorAll("button")) node.disabled = ask.state !== "voting";
}

function showAfter() {
  const next = el("button", { class: "wb-button", type: "button", "data-after": "next", onclick: nextPrompt }, "Next prompt", kbd("n"));
  const undo = ask.verdict ? el("button", { class: "wb-plain", type: "button", "data-after": "undo", onclick: undoVote }, kbd("u"), "Undo") : null;
  const said = ask.verdict ? el("p", { class: "wb-note" }, el("span", { class: "wb-good" }, "✓ Saved."), ` ${ask.said}`)
    : el("p", { class: "wb-quiet" }, ask.blind ? ask.said || "" : "Names are shown, so you cannot vote. Turn on “Blind until I vote” to vote.");
  fill(act, el("div", { class: "wb-spread wb-after" }, said, el("div", { class: "wb-row" }, undo, next)));
}

async function vote(choice) {
  if (ask?.state !== "voting") return;
  const mine = ask;
  mine.state = "saving";
  for (const node of act.querySelectorAll("button")) node.disabled = true;
  flash(act.querySelector(`[data-choice="${choice}"]`));
  try {
    const answer = await call(server, "vote", { id: mine.id, choice, seconds: (performance.now() - mine.ready) / 1000 });
    Object.assign(mine, { verdict: answer.verdict, said: answer.said, reveal: answer.reveal, state: "shown" });
    if (mine === ask) showCards();
    act.querySelector("[data-after=next]")?.focus({ preventScroll: true });
    announce(`Saved. ${answer.said}`);
    showTally(answer.tally);
    workbench.refresh();
  } catch (error) {
    mine.state = "voting";
    if (mine === ask) showAct();
    lost.textContent = error.offline ? "! Offline. Your vote is not saved. Vote again once the connection is back." : error.message;
  }
}

async function undoVote() {
  if (!ask?.verdict) return;
  const mine = ask;
  try {
    const answer = await call(server, "undo", { id: mine.id });
    Object.assign(mine, { verdict: null, state: "voting", reveal: null, rewards: null, ready: performance.now() });
    if (mine === ask) showCards();
    announce("Undone.");
    showTally(answer.tally);
    workbench.refresh();
  } catch (error) {
    lost.textContent = error.message;
  }
}

function nextPrompt() {
  if (!offer?.prompts.length || !chosen.length) return;
  if (ask) promptAt = (promptAt + 1) % offer.prompts.length;
  field.value = offer.prompts[promptAt];
  askAll();
}

/* Run an act by its key, its button lit for a moment. */
function byKey(name, run) {
  flash(act.querySelector(`[data-after=${name}]`));
  return run();
}

keys("compare", [
  { keys: ["1", "2", "3", "4", "5", "6"], show: ["1", "2"], label: "A or B is better", run: (event) => press(Number(event.key) - 1) },
  { keys: ["0"], label: "equally good", run: () => press("tie") },
  { keys: ["b"], label: "both bad", run: () => press("bad") },
  { keys: ["n"], label: "next prompt", run: () => (ask && ask.state !== "shown" && ask.state !== "failed" && ask.blind ? false : byKey("next", nextPrompt)) },
  { keys: ["u"], label: "undo", run: () => (ask?.verdict ? byKey("undo", undoVote) : false) },
]);

function press(choice) {
  if (ask?.state !== "voting" || (typeof choice === "number" && choice >= ask.slots)) return false;
  vote(choice);
}

// ---- what the votes say ----

const rateLine = (pair) => {
  const x = (share) => 20 + 400 * share;
  const marker = { circle: ["circle", { cx: x(pair.value), cy: 34, r: 5 }], square: ["rect", { x: x(pair.value) - 4.5, y: 29.5, width: 9, height: 9 }],
    diamond: ["path", { d: `M${x(pair.value)} 27.5 l6 6.5 l-6 6.5 l-6 -6.5 z` }], "triangle-up": ["path", { d: `M${x(pair.value)} 28 l6 11 h-12 z` }],
    x: ["path", { d: `M${x(pair.value) - 4} 30 l8 8 m0 -8 l-8 8`, class: "wb-cross" }] }[charts.looks[pair.colour].marker];
  const shape = el(marker[0], { ...marker[1] }), band = el("line", { x1: x(pair.low), x2: x(pair.high), y1: 34, y2: 34, class: "wb-rate-band" });
  shape.style.fill = shape.style.stroke = tone(pair.colour);
  band.style.stroke = tone(pair.colour);
  const words = (at, y, text, kind) => el("text", { x: at, y, class: kind }, text);
  return el("svg", { class: "wb-rate", viewBox: "0 0 440 64", role: "img", "aria-label": pair.spoken }, el("line", { x1: 20, x2: 420, y1: 34, y2: 34, class: "wb-rate-axis" }),
    [0, 0.25, 0.5, 0.75, 1].map((share) => [el("line", { x1: x(share), x2: x(share), y1: 29, y2: 39, class: "wb-rate-axis" }), words(x(share), 57, `${100 * share} %`, "wb-rate-tick")]),
    el("line", { x1: x(0.5), x2: x(0.5), y1: 10, y2: 30, class: "wb-rate-half" }), band, shape, words(x(pair.value), 18, percent(pair.value), "wb-rate-label"));
};

async function loadTally() {
  const asked = [chosen.join(), strength].join();
  try {
    const answer = await call(server, "tally", { runs: chosen, strength });
    if (asked === [chosen.join(), strength].join()) showTally(answer);
  } catch (error) {
    fill(wins, el("p", { class: "wb-bad" }, error.message));
  }
}

function showTally(answer) {
  fill(wins, answer.pairs.map((pair) => el("div", { class: "wb-win" }, el("div", {}, el("h2", {}, pair.title), el("p", { class: "wb-quiet" }, pair.words)), pair.ready ? rateLine(pair) : null)),
    answer.simulated.map((text) => el("p", { class: "wb-quiet" }, el("span", { class: "wb-tag" }, "simulated"), ` ${text}`)));
}

// ---- what a batch of held-out prompts says ----

async function lookMeasured(start = false) {
  const mine = ++measuring;
  const asked = { runs: chosen, strength };
  try {
    let answer = await call(server, start ? "measure" : "measured", asked);
    while (mine === measuring) {
      showMeasured(answer);
      if (answer.state !== "running") break;
      await pause(document.hidden ? 4000 : MEASURE);
      answer = await call(server, "measured", asked);
    }
    if (mine === measuring && answer.state === "done" && start) announce("Measured. The charts are ready.");
  } catch (error) {
    if (mine === measuring) {
      plots?.hosts.forEach(charts.remove);
      plots = null;
      fill(measured, el("p", { class: "wb-bad", role: "alert" }, error.message), measureButton());
    }
  }
}

const measureButton = (begun) => el("button", { class: "wb-button", type: "button", onclick: () => lookMeasured(true) }, `${begun ? "Continue measuring" : "Measure"} on ${workbench.count(offer.measure_n, "held-out prompt")}`);
const stopButton = () => el("button", { class: "wb-plain", type: "button", onclick: () => call(server, "stop_measuring", { runs: chosen, strength }).then(() => lookMeasured()) }, "Stop");

let plots = null; // {key, hosts, words, gold}: what is drawn, brought up to date while answers come in

function showMeasured(answer) {
  const result = answer.result;
  if (plots && plots.key !== result?.key) {
    plots.hosts.forEach(charts.remove);
    plots = null;
  }
  if (result && !plots) {
    plots = { key: result.key, hosts: result.plots.map(() => el("div")), words: el("p", { class: "wb-quiet" }), gold: el("ul", { class: "wb-gold-words" }) };
    fill(measured, el("div", { class: "wb-measuring-place" }), el("div", { class: "wb-charts wb-three" }, plots.hosts), el("div", { class: "wb-legend" }, plots.words), plots.gold);
  }
  if (!result) fill(measured, el("div", { class: "wb-measuring-place" }));
  const place = measured.firstChild;
  place.hidden = answer.state === "done";
  if (answer.state === "running") {
    if (!place.querySelector(".wb-measuring")) fill(place, el("div", { class: "wb-measuring wb-row" }, el("span", { class: "wb-measuring-words" }), el("span", { class: "wb-measuring-bar" }), stopButton()));
    place.querySelector(".wb-measuring-words").textContent = answer.words;
    fill(place.querySelector(".wb-measuring-bar"), workbench.bar(answer.done, answer.total, { label: "Answers written" }));
  } else fill(place, el("div", { class: "wb-row" }, measureButton(answer.done > 0), el("p", { class: "wb-quiet" }, answer.state === "failed" ? answer.words : offer.measure_words)));
  if (!result) return;
  fill(plots.words, result.words, " ", result.models.map((m) => el("span", { class: "wb-legend-item" }, square(m.colour), m.label)));
  fill(plots.gold, result.gold_words.map((text) => el("li", { class: "wb-small" }, text)));
  result.plots.forEach((plot, i) => {
    charts.draw(plots.hosts[i], { kind: "histogram", key: result.key, height: 220, ...plot }).catch((error) => (lost.textContent = error.message));
  });
}

// ---- beginning ----

async function begin() {
  try {
    offer = await call(server, "choices", {});
  } catch (error) {
    fill(root, el("p", { class: "wb-warn", role: "alert" }, error.message));
    return void setTimeout(begin, 2000);
  }
  workbench.plotly ??= offer.plotly;
  open(workbench.lastOptions.compare || {});
}

// `runs`: what to compare, null for the base; a finished run leads here with {runs: [null, 7]}.
function open({ runs, run }) {
  if (offer.models.length < 2) return void fill(root, emptyState("Nothing to compare yet. Train a model first.", [["Train", () => openTab("train"), true]]));
  if (!root.contains(askForm)) {
    fill(root, el("h2", { class: "wb-hidden" }, "Compare"), askForm, where, el("div", { class: "wb-tools" }, picker, dialBox, blindBox, judgeBox), lost, cards, act, results);
    showDial();
  }
  showJudges();
  if (!field.value && offer.prompts.length) field.value = offer.prompts[0];
  let wanted = (runs || (run ? [null, run] : [])).filter((each) => modelOf(each));
  if (wanted.length === 1 && wanted[0] !== null) wanted = [null, ...wanted];
  if (wanted.length < 2) wanted = chosen.filter((each) => modelOf(each));
  if (wanted.length < 2) wanted = [null, offer.models.find((m) => m.run !== null).run];
  if (wanted.join() !== chosen.join()) setModels(wanted);
  else showPicker();
}

on("workbench:tab", async (detail) => {
  if (detail.name !== "compare" || !offer) return;
  try {
    offer = await call(server, "choices", {});
    open(detail);
  } catch (error) {
    lost.textContent = error.message;
  }
});
begin();
