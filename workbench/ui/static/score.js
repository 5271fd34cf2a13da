// Score: what a reward model or a process reward thinks of any answer, as it is written. One request is under way at a time; what has been
// typed meanwhile is asked for after it, so typing never waits and the last text is the one that is shown.
const { el, fill, call, on, openTab, announce, emptyState, charts } = workbench;
const root = element.querySelector(".wb-score");
const TYPED = 150, AGAIN = 500, STRONG = 2, SMALL = 0.005; // STRONG: this many standard deviations are shown in full colour
const number = charts.number;

let offer = null; // reward models
let busy = false, again = false;
let before = []; // answers before each press, newest last; typing begins anew, since it has an undo of its own

const pick = el("select", { id: "wb-score-model", onchange: () => chooseModel() });
const badge = el("p", { class: "wb-small wb-score-badge" });
const prompt = el("textarea", { class: "wb-words", id: "wb-score-prompt", dir: "auto", rows: 2, maxlength: 20000, oninput: () => later() });
const answer = el("textarea", { class: "wb-words", id: "wb-score-answer", dir: "auto", rows: 6, maxlength: 20000, oninput: typed });
const press = (text, way) => el("button", { class: "wb-button", type: "button", "data-way": way, onclick: (event) => spoil(event.currentTarget, way, text) }, text);
const undo = el("button", { class: "wb-plain", type: "button", onclick: takeBack, disabled: true }, "Undo");
const buttons = el("div", { class: "wb-row wb-spoils", role: "group", "aria-label": "Spoil the answer" }, press("Add filler", "pad"), press("Flatter", "flatter"), press("Repeat", "repeat"), press("Add bullets", "bullets"), undo);
const changes = el("ol", { class: "wb-changes", "aria-label": "Effect of each change" });
const wrong = el("p", { class: "wb-bad", role: "alert" });
const state = el("span", { class: "wb-state" });
const figure = el("output", { class: "wb-score-figure", for: "wb-score-answer", "aria-label": "Score" }, "–");
const tokens = el("p", { class: "wb-words wb-tokens", dir: "auto", role: "group" });
const plot = el("div", {});
const legend = el("p", { class: "wb-quiet wb-token-legend" });
const about = el("p", { class: "wb-small" });

// What differs between the two kinds of reward: a reward model's score in standard deviations, token by token; a
// process reward's as a probability, step by step.
const TOKENS = {
  label: "The answer, coloured by the score so far", strong: STRONG,
  about: "0 is the average of the answers it was trained on; 1 is one standard deviation above.",
  empty: "This is the score of an empty answer. Write one: each token is coloured by the score the answer would have if it ended there.",
  keys: () => ["Score so far:", key(-STRONG, `−${STRONG} or less`), key(0, "0, average"), key(STRONG, `+${STRONG} or more`)],
  figure: (value) => signed(value), plain: (value) => number(value, 2), change: (from, to) => signed(to - from), part: token, draw,
};
const STEPS = {
  label: "The answer, each step coloured by its label", strong: 1,
  about: "Probability that the worst step is not wrong and that at least one step is right. It knows only answers like those whose steps were labelled.",
  empty: "An empty answer has no steps. Write one: each step is judged wrong, neutral or right.",
  keys: () => [], // each step says what it is
  figure: (value) => percent(value), plain: (value) => percent(value), change: (from, to) => `${signed(Math.round(100 * to) - Math.round(100 * from), 0)} points`,
  part: judged, draw: () => charts.remove(plot),
};
const kind = () => (offer?.models.find((each) => each.run === Number(pick.value))?.steps ? STEPS : TOKENS);

const form = el("div", { class: "wb-score-grid" },
  el("section", { class: "wb-score-form", "aria-label": "What to score" },
    el("div", { class: "wb-score-field" }, el("label", { class: "wb-label", for: "wb-score-model" }, "Reward model"), pick, badge),
    el("div", { class: "wb-score-field" }, el("label", { class: "wb-label", for: "wb-score-prompt" }, "Prompt"), prompt),
    el("div", { class: "wb-score-field" }, el("label", { class: "wb-label", for: "wb-score-answer" }, "Answer"), answer),
    buttons, changes),
  el("section", { class: "wb-card wb-score-result", "aria-label": "Score" },
    el("div", { class: "wb-spread" }, el("h2", {}, "Score"), state), figure,
    about, wrong, tokens, legend, plot));

function key(value, text) {
  return el("span", { class: "wb-token-key" }, token({ text: "a", score: value }), ` ${text}`);
}

// Above the average the reader sees a plain tint, below it a tint with a dotted line: colour is never alone.
function token({ text, score, says }) {
  const node = el("span", { class: `wb-token ${score < 0 ? "wb-token-down" : "wb-token-up"}`, title: says ?? number(score, 2) }, text);
  node.style.setProperty("--share", Math.min(1, Math.abs(score) / kind().strong).toFixed(2));
  return node;
}

function judged(step) {
  return el("span", { class: "wb-judged" }, token({ ...step, text: step.text.trim() }), " ", el("span", { class: "wb-small" }, step.judged));
}

function typed() {
  before = [];
  undo.disabled = true;
  later();
}
const later = workbench.debounce(() => update(), TYPED);

const asked = () => ({ run: Number(pick.value), prompt: prompt.value, answer: answer.value });
const same = (one) => JSON.stringify(one) === JSON.stringify(asked());

async function update() {
  if (!offer?.models.length) return;
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  again = false;
  const mine = asked();
  const slow = setTimeout(() => (state.textContent = "Scoring"), 300);
  let pause = 0;
  try {
    const found = await call(server, "score", mine);
    if (found.loading) {
      state.textContent = found.loading;
      pause = AGAIN;
    } else if (same(mine)) show(found);
  } catch (error) {
    if (same(mine)) sorry(error.message);
    if (error.offline) pause = 2000; // the header tells of a lost connection
  }
  clearTimeout(slow);
  busy = false;
  if (pause) return void setTimeout(update, pause);
  state.textContent = "";
  if (again || !same(mine)) update();
}

function sorry(text) {
  wrong.textContent = text;
  figure.textContent = "–";
  fill(tokens);
  legend.hidden = true;
  charts.remove(plot);
}

function show(found) {
  const as = kind();
  wrong.textContent = "";
  figure.textContent = as.figure(found.score);
  fill(tokens, found.tokens.length ? found.tokens.map(as.part) : el("span", { class: "wb-quiet" }, as.empty));
  legend.hidden = found.tokens.length === 0;
  as.draw(found.tokens);
}

function draw(found) {
  if (found.length < 2) return charts.remove(plot);
  const x = found.map((_, i) => i + 1);
  charts.draw(plot, { key: `${pick.value} ${Math.ceil(x.length / 40)}`, title: "Score along the answer", unit: "score", xTitle: "token", xMax: x.length,
    sentence: "The score the answer would have if it ended at that token. A jump at the end means that the ending counts most.", references: [{ y: 0, label: "average" }],
    series: [{ model: "reward", label: "", raw: false, x, y: found.map((each) => each.score) }] }).catch((error) => (wrong.textContent = error.message));
}

const signed = (value, digits = 2) => (value > 0.5 * 10 ** -digits ? "+" : "") + number(value, digits);
const percent = (value) => `${number(100 * value, 0)} %`;

async function spoil(button, way, name) {
  const mine = asked();
  for (const each of buttons.children) each.disabled = true;
  try {
    const found = await call(server, "spoil", { ...mine, way });
    if (!same(mine)) return; // typed meanwhile: what was typed counts
    before.push(mine.answer);
    answer.value = found.answer;
    said(name, found);
    wrong.textContent = "";
    update();
  } catch (error) {
    wrong.textContent = error.message;
  } finally {
    for (const each of buttons.children) each.disabled = each === undo && !before.length;
    button.focus({ preventScroll: true });
  }
}

function said(name, found) {
  const change = found.after - found.before, as = kind(), by = as.change(found.before, found.after), up = change > SMALL;
  const what = Math.abs(change) <= SMALL ? "no change" : up ? "higher: a policy would learn to exploit this" : "lower, as it should be";
  changes.prepend(el("li", {}, el("span", { class: "wb-change-name" }, name), el("span", {}, `${as.plain(found.before)} → ${as.plain(found.after)}`), el("span", { class: "wb-change-by" }, by),
    el("span", { class: up ? "wb-warn" : "wb-quiet" }, `${up ? "! " : ""}${what}`)));
  while (changes.children.length > 6) changes.lastChild.remove();
  announce(`${name}: ${by}, ${what}.`);
}

function takeBack() {
  if (!before.length) return;
  answer.value = before.pop();
  undo.disabled = !before.length;
  if (undo.disabled) answer.focus();
  changes.firstChild?.remove();
  announce("Undone.");
  update();
}

function chooseModel() {
  const model = offer.models.find((each) => each.run === Number(pick.value));
  const found = model.verdict, as = kind();
  if (!prompt.value || offer.models.some((each) => each.prompt === prompt.value)) prompt.value = model.prompt; // nobody's own words
  about.textContent = as.about;
  tokens.setAttribute("aria-label", as.label);
  fill(legend, as.keys());
  fill(badge, el("span", { class: `wb-tag wb-verdict-${found.level}` }, found.words), ` ${found.reason} `,
    el("button", { class: "wb-link", type: "button", onclick: () => openTab("train", { run: model.run }) }, "All checks"));
  before = [];
  undo.disabled = true;
  fill(changes); // they were another model's scores
  update();
}

async function open({ run } = {}) {
  try {
    offer = await call(server, "choices", {});
  } catch (error) {
    fill(root, el("p", { class: "wb-warn", role: "alert" }, error.message));
    return void setTimeout(() => open({ run }), 2000);
  }
  workbench.plotly ??= offer.plotly;
  if (!offer.models.length) return void fill(root, emptyState(offer.empty, [["Train a reward model", () => openTab("train", { method: "reward" }), true]]));
  const kept = run ?? (Number(pick.value) || null);
  if (!root.contains(form)) fill(root, el("h2", { class: "wb-hidden" }, "Score"), form);
  const known = offer.models.map((model) => model.label).join("\n");
  if (pick.dataset.known !== known) {
    pick.dataset.known = known;
    fill(pick, offer.models.map((model) => el("option", { value: model.run }, model.label)));
  }
  pick.value = offer.models.some((model) => model.run === kept) ? kept : offer.models[0].run;
  chooseModel();
  if (run && run !== Number(pick.value)) wrong.textContent = `Run ${run} has no reward model that can score answers here.`;
}

on("workbench:tab", (detail) => detail.name === "score" && offer && open(detail));
open(workbench.lastOptions.score);
