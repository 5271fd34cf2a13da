/* A little markdown as nodes, never as HTML: links and images stay the text they are. */
(() => {
  if (workbench.markdown) return;
  const { el } = workbench;

  function inline(text) {
    const parts = [];
    const pattern = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\n]+)\*/g;
    let from = 0;
    for (const match of text.matchAll(pattern)) {
      parts.push(text.slice(from, match.index));
      parts.push(match[1] ? el("code", {}, match[1]) : match[2] ? el("strong", {}, match[2]) : el("em", {}, match[3]));
      from = match.index + match[0].length;
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
        blocks.push(el("pre", { dir: "auto" }, el("code", {}, code.join("\n"))));
      } else if (/^#{1,3} /.test(line)) {
        blocks.push(el("p", { class: "wd-heading", dir: "auto" }, inline(line.replace(/^#+ /, ""))));
      } else if (/^([-*]|\d+\.) /.test(line)) {
        const ordered = /^\d/.test(line);
        const items = [];
        for (; i < lines.length && (ordered ? /^\d+\. / : /^[-*] /).test(lines[i]); i++) items.push(el("li", { dir: "auto" }, inline(lines[i].replace(/^([-*]|\d+\.) /, ""))));
        i--;
        blocks.push(el(ordered ? "ol" : "ul", {}, items));
      } else if (line.trim()) {
        const paragraph = [line];
        while (i + 1 < lines.length && lines[i + 1].trim() && !/^(```|#{1,3} |[-*] |\d+\. )/.test(lines[i + 1])) paragraph.push(lines[++i]);
        blocks.push(el("p", { dir: "auto" }, paragraph.flatMap((each, at) => (at ? [el("br"), ...inline(each)] : inline(each)))));
      }
    }
    return blocks.length ? blocks : [el("p", { class: "wb-quiet" }, "Nothing to preview yet.")];
  }

  workbench.markdown = markdown;
})();
