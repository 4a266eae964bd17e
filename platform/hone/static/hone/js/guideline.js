// A guideline's table of contents and search, made from its headings.
import { many, t } from "./strings.js";

export function guideline(root = document.querySelector("[data-guideline]")) {
  if (!root || root.dataset.isMade) return;
  root.dataset.isMade = "";
  const body = root.querySelector("[data-guideline-body]");
  const toc = root.querySelector("[data-toc]");
  const search = root.querySelector("[data-guideline-search]");
  const count = root.querySelector("[data-guideline-count]");
  const sections = split(body);

  const entries = sections.filter((section) => section.heading);
  if (toc && entries.length > 1) {
    for (const { heading, level } of entries) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `#${heading.id}`;
      link.textContent = heading.textContent;
      item.dataset.level = level;
      item.append(link);
      toc.querySelector("ol").append(item);
    }
    toc.hidden = false;
  }

  search?.addEventListener("input", () => {
    const query = search.value.trim().toLocaleLowerCase();
    let found = 0;
    for (const { box } of sections) {
      const hit = !query || box.textContent.toLocaleLowerCase().includes(query);
      box.hidden = !hit;
      found += hit;
    }
    if (toc) toc.hidden = Boolean(query) || entries.length < 2;
    count.textContent = !query ? "" : found ? many("sections_found", found) : t("no_section");
    mark(body, query);
  });
}

// Each heading with what follows it becomes one section, so that the search can hide it whole.
function split(body) {
  const sections = [];
  let section = null;
  for (const node of [...body.childNodes]) {
    const heading = node.nodeType === 1 && /^H[1-3]$/.test(node.tagName) ? node : null;
    if (heading || !section) {
      const box = document.createElement("section");
      box.className = "guideline-section";
      section = { box, heading, level: heading ? Number(heading.tagName[1]) : 0 };
      sections.push(section);
      if (heading && !heading.id) heading.id = `section-${sections.length}`;
    }
    section.box.append(node);
  }
  body.replaceChildren(...sections.map(({ box }) => box));
  return sections;
}

// Marks the hits without touching the document, where the browser can.
function mark(body, query) {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("search");
  if (query.length < 1) return;
  const ranges = [];
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.toLocaleLowerCase();
    for (let at = text.indexOf(query); at >= 0; at = text.indexOf(query, at + query.length)) {
      const range = new Range();
      // Lower case can be longer than the original (İ); then the node is skipped.
      if (text.length !== walker.currentNode.length) break;
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + query.length);
      ranges.push(range);
    }
  }
  CSS.highlights.set("search", new Highlight(...ranges));
}
