/* Importing files: chosen with a button, or dropped anywhere on a tab that has an importer. Each file gets a report that
   stays until it is dismissed. */
(() => {
  if (workbench.importer) return;
  const { el, fill, call, count, announce, emit, activeTab } = workbench;
  const LARGEST_MB = 20;
  const importers = new Map();  // tab -> what takes the files dropped on it

  const sheet = el("div", { class: "wb wi-drop", "aria-hidden": "true", hidden: true }, el("p", {}, "Drop the file to import it"));
  document.body.append(sheet);

  const here = (event) => (event.dataTransfer?.types.includes("Files") ? importers.get(activeTab()) : null);
  let hiding = 0;
  document.addEventListener("dragover", (event) => {
    if (!here(event)) return;
    event.preventDefault();  // else the browser opens the file and leaves the page
    event.dataTransfer.dropEffect = "copy";
    sheet.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => (sheet.hidden = true), 300);  // comes again many times a second while a file is over the page
  });
  document.addEventListener("drop", (event) => {
    const take = here(event);
    if (!take) return;
    event.preventDefault();
    sheet.hidden = true;
    take([...event.dataTransfer.files]);
  });

  /* An importer for one tab, over that tab's server functions: `node` holds its reports, `take(files)` reads files. */
  function importer(server, tab) {
    const node = el("div", { class: "wi-reports" });
    async function take(files) {
      for (const file of files) await importOne(server, node, file);
    }
    importers.set(tab, take);
    return { node, take };
  }

  async function importOne(server, node, file) {
    const text = el("div", { class: "wi-text" }, el("p", { class: "wb-quiet" }, `Reading ${file.name}`));
    const report = el("section", { class: "wi-report", "aria-label": `Import of ${file.name}` }, text,
      el("button", { class: "wb-link", onclick: () => report.remove() }, "Dismiss", el("span", { class: "wb-hidden" }, ` the report on ${file.name}`)));
    node.prepend(report);
    try {
      if (file.size > LARGEST_MB * 1e6) throw new Error(`${file.name} is larger than ${LARGEST_MB} MB. Import it on the command line: python -m workbench import FILE`);
      const answer = await call(server, "import_file", { name: file.name, data: await base64(file) });
      emit("workbench:imported", {});
      workbench.refresh();
      fill(text, lines(file.name, answer));
    } catch (error) {
      fill(text, el("p", { class: "wb-bad" }, error.message.includes(file.name) ? error.message : `${file.name}: ${error.message}`));
    }
    announce(text.firstChild.textContent);
  }

  function base64(file) {
    return new Promise((done, fail) => {
      const reader = new FileReader();
      reader.onload = () => done(String(reader.result).split(",", 2)[1] || "");
      reader.onerror = () => fail(new Error(`${file.name} could not be read. Folders cannot be imported; drop the files in it.`));
      reader.readAsDataURL(file);
    });
  }

  /* What was added, what was there, what was left out and why. */
  function lines(name, answer) {
    const known = answer.known ? `, ${answer.known.toLocaleString("en")} already here` : "";
    const one = answer.kind.replace(/s\b/, "");
    return [
      el("p", { class: "wb-small" }, `${count(answer.added, one, answer.kind)} added from ${name} (${answer.format})${known}.`),
      answer.remarks.map((each) => el("p", { class: "wb-small" }, `${each[0].toUpperCase()}${each.slice(1)}.`)),
      rows("left out", "wb-warn", answer.bad, answer.bad_total),
      rows("kept, but look at them", "wb-small", answer.notes, answer.notes_total),
    ];
  }

  function rows(what, kind, named, total) {
    if (!total) return null;
    const more = total - named.length;
    return [el("p", { class: kind }, `${count(total, "row")} ${what}:`),
      el("ul", { class: "wi-rows", tabindex: "0", "aria-label": `Rows ${what}` },
        named.map((each) => el("li", { class: "wb-small" }, `Line ${each.line}: `, el("bdi", {}, each.reason))),
        more ? el("li", { class: "wb-small" }, `and ${more.toLocaleString("en")} more`) : null)];
  }

  workbench.importer = importer;
})();
