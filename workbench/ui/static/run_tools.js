// What can be done with the run in the card, whatever its state: star, name and note, where it lies, delete with undo.
(() => {
  if (window.workbench.runTools) return;
  const { el, fill, call, announce } = workbench;

  async function copy(text, node, state) {
    try {
      await navigator.clipboard.writeText(text);
      state.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(node); // a page without https may not write to the clipboard
      state.textContent = "Selected. Press Ctrl C to copy.";
    }
  }

  /* A text to take along, with its button. */
  function copied(label, text) {
    const code = el("code", {}, text), state = el("span", { class: "wb-quiet", role: "status" });
    return el("div", { class: "wb-copied" }, el("h3", {}, label), el("pre", { tabindex: "0", "aria-label": label }, code),
      el("div", { class: "wb-row" }, el("button", { class: "wb-button", type: "button", "aria-label": `Copy: ${label}`, onclick: () => copy(text, code, state) }, "Copy"), state));
  }

  /* `changed(number)`: the run has another label, or is back; `removed(number)`: it is gone. */
  function runTools(server, { changed, removed }) {
    let run = null, undoable = null; // the run in the card, and the number of the one deleted last
    const plain = (text, onclick, more = {}) => el("button", { class: "wb-plain", type: "button", onclick, ...more }, text);
    const star = plain("☆ Star", () => relabel({ starred: !run.starred }), { "aria-pressed": "false" });
    const naming = plain("Name and note", () => toggle(naming, form), { "aria-expanded": "false" });
    const files = plain("Files and command", () => toggle(files, about), { "aria-expanded": "false" });
    const drop = plain("Delete", () => remove());
    const note = el("p", { class: "wb-run-note", dir: "auto", hidden: true });
    const wrong = el("p", { class: "wb-bad", role: "alert" });
    const name = el("input", { type: "text", id: "wb-run-name", dir: "auto", maxlength: 60, autocomplete: "off" });
    const text = el("textarea", { id: "wb-run-note", dir: "auto", rows: 3, maxlength: 4000 });
    const form = el("form", { class: "wb-run-form", hidden: true }, el("label", { for: "wb-run-name" }, "Name"), name, el("label", { for: "wb-run-note" }, "Note"), text,
      el("div", { class: "wb-row" }, el("button", { class: "wb-button", type: "submit" }, "Save"), plain("Cancel", () => toggle(naming, form))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      relabel({ name: name.value, note: text.value }, () => toggle(naming, form));
    });
    const about = el("div", { class: "wb-about", hidden: true });
    const undoBar = el("p", { class: "wb-undo", role: "status", hidden: true });
    const node = el("div", { class: "wb-run-tools" }, el("div", { class: "wb-row", role: "group", "aria-label": "This run" }, star, naming, files, drop), note, wrong, form, about);

    function toggle(button, box) {
      box.hidden = !box.hidden;
      button.setAttribute("aria-expanded", String(!box.hidden));
      if (box.hidden) return button.focus();
      if (box === about) return showAbout();
      [name.value, text.value] = [run.label, run.note];
      name.focus();
    }

    async function trying(name, payload) {
      wrong.textContent = "";
      try {
        return await call(server, name, payload);
      } catch (error) {
        wrong.textContent = error.message;
        return null;
      }
    }

    async function relabel(change, done = () => {}) {
      const number = run.number;
      if (!(await trying("relabel", { run: number, ...change }))) return;
      done();
      changed(number);
    }

    async function remove() {
      const answer = await trying("delete", { run: run.number });
      if (!answer) return;
      undoable = answer.run;
      undoBar.hidden = false;
      const undo = el("button", { class: "wb-link", type: "button", onclick: () => restore(answer.run) }, "Undo");
      fill(undoBar, `${answer.title} is deleted. `, undo);
      undo.focus();
      removed(answer.run);
    }

    /* Resolves to an error's text, "" when the run is back. */
    async function restore(number) {
      try {
        const answer = await call(server, "restore", { run: number });
        if (number === undoable) undoBar.hidden = true;
        announce(`Undone. ${answer.title} is back.`);
        changed(number);
        return "";
      } catch (error) {
        if (number === undoable) fill(undoBar, error.message);
        return error.message;
      }
    }

    async function showAbout() {
      const asked = run.number;
      fill(about, el("p", { class: "wb-quiet" }, "Looking"));
      try {
        const answer = await call(server, "about", { run: asked });
        if (asked !== run.number) return;
        fill(about, answer.folder ? copied("Folder on disk", answer.folder) : el("p", { class: "wb-quiet" }, answer.reason),
          answer.command ? copied("Command that repeats this run", answer.command) : null,
          el("div", { class: "wb-copied" }, el("h3", {}, "Download"), answer.files.length
            ? el("div", { class: "wb-row" }, answer.files.map((file) => el("a", { class: "wb-button", href: file.url, download: "" }, file.label)))
            : el("p", { class: "wb-quiet" }, "Nothing yet.")));
      } catch (error) {
        if (asked === run.number) fill(about, el("p", { class: "wb-bad", role: "alert" }, error.message));
      }
    }

    function show(news) {
      if (news.number !== run?.number) {
        for (const [button, box] of [[naming, form], [files, about]]) {
          box.hidden = true;
          button.setAttribute("aria-expanded", "false");
        }
        wrong.textContent = "";
      }
      run = news;
      star.textContent = run.starred ? "★ Starred" : "☆ Star";
      star.setAttribute("aria-pressed", String(run.starred));
      note.hidden = !run.note;
      if (note.textContent !== run.note) note.textContent = run.note;
    }

    return { node, undoBar, show, restore };
  }

  Object.assign(window.workbench, { runTools, copy });
})();
