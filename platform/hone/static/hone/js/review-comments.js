// A reviewer's comments: made on a selection or on a chosen paragraph, shown beside the text and marked in it.
// Offsets count code points of the whole text, as the server does; .length would count most emoji twice.
import { fill } from "./strings.js";

const points = (text) => [...text].length;

export class Comments {
  constructor({ page, say, onChange }) {
    Object.assign(this, { page, say, onChange, rows: [] });
    this.list = page.querySelector("[data-comments]");
    this.template = document.getElementById("comment-template");
    this.blocks = [...page.querySelectorAll("[data-block]")];
    this.texts = new Map(this.blocks.map((block) => [block, block.textContent]));
    for (const block of this.blocks) {
      block.addEventListener("focus", () => this.choose(block));
      block.addEventListener("keydown", (event) => this.move(event, block));
      block.addEventListener("click", (event) => {
        const mark = event.target.closest("mark");
        if (mark && getSelection().isCollapsed) this.rows[Number(mark.dataset.row)]?.area.focus();
      });
    }
  }

  choose(block) {
    this.chosen = block;
    for (const other of this.blocks) {
      other.classList.toggle("is-chosen", other === block);
      other.setAttribute("aria-selected", String(other === block));
      if (other.closest("[data-text]") === block.closest("[data-text]")) other.tabIndex = other === block ? 0 : -1;
    }
  }

  // One Tab stop a text; the arrows go on into the next text.
  move(event, block) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const to = this.blocks[this.blocks.indexOf(block) + step];
    if (!to) return;
    event.preventDefault();
    to.focus();
    to.scrollIntoView({ block: "nearest" });
  }

  // {block, text, start, end} of what is selected, else of the chosen paragraph; null for neither.
  place() {
    const selection = getSelection();
    if (selection.rangeCount && !selection.isCollapsed) {
      const range = selection.getRangeAt(0);
      const parts = this.blocks
        .filter((block) => block.checkVisibility() && range.intersectsNode(block))
        .map((block) => this.part(range, block))
        .filter((part) => part.start < part.end);
      const text = parts[0]?.block.closest("[data-text]");
      const own = parts.filter((part) => part.block.closest("[data-text]") === text);
      if (own.length) return { block: own[0].block, text, start: own[0].start, end: own.at(-1).end };
    }
    const block = this.chosen;
    if (!block?.checkVisibility()) return null;
    return { block, text: block.closest("[data-text]"), start: Number(block.dataset.start), end: Number(block.dataset.end) };
  }

  // What of a paragraph is selected.
  part(range, block) {
    const base = Number(block.dataset.start);
    const upTo = (node, offset) => {
      const before = document.createRange();
      before.selectNodeContents(block);
      before.setEnd(node, offset);
      return base + points(before.toString());
    };
    const start = block.contains(range.startContainer) ? upTo(range.startContainer, range.startOffset) : base;
    const end = block.contains(range.endContainer) ? upTo(range.endContainer, range.endOffset) : Number(block.dataset.end);
    return { block, start, end };
  }

  quote(text, start, end) {
    const found = this.blocks.filter((block) => block.closest("[data-text]") === text);
    return found
      .map((block) => {
        const base = Number(block.dataset.start);
        return [...this.texts.get(block)].slice(Math.max(0, start - base), Math.max(0, end - base)).join("");
      })
      .filter(Boolean)
      .join("\n\n");
  }

  // At the selection or the chosen paragraph; says what is missing where there is neither.
  begin() {
    const at = this.place();
    if (!at) {
      this.say(this.page.dataset.choose);
      this.page.querySelector("[data-no-comments]").hidden = false;
      this.blocks[0]?.focus();
      return;
    }
    getSelection().removeAllRanges();
    this.choose(at.block);
    const row = this.add(at);
    this.say(fill(this.page.dataset.added, { n: this.rows.length }));
    row.area.focus();
    this.onChange();
  }

  add({ block = null, text, start, end, body = "" }) {
    const box = this.template.content.firstElementChild.cloneNode(true);
    const row = { box, text, start, end, area: box.querySelector("textarea"), error: box.querySelector("[data-error]") };
    row.back = block ?? this.blocks.find((each) => each.closest("[data-text]") === text);
    row.area.value = body;
    row.error.id = `comment-error-${(this.made = (this.made ?? 0) + 1)}`;
    row.area.setAttribute("aria-describedby", row.error.id);
    box.querySelector("[data-quote]").textContent = this.quote(text, start, end);
    row.area.addEventListener("input", () => { this.fault(row, ""); this.onChange(); });
    row.area.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.isComposing) { event.preventDefault(); row.back?.focus(); } });
    box.querySelector("[data-remove]").addEventListener("click", () => this.remove(row));
    this.rows.push(row);
    this.list.append(box);
    this.show();
    return row;
  }

  remove(row) {
    this.rows = this.rows.filter((other) => other !== row);
    row.box.remove();
    this.show();
    this.say(this.page.dataset.removed);
    row.back?.focus();
    this.onChange();
  }

  fault(row, sentence) {
    row.error.textContent = sentence;
    row.error.hidden = !sentence;
    row.area.setAttribute("aria-invalid", String(Boolean(sentence)));
  }

  show() {
    this.page.querySelector("[data-no-comments]").hidden = this.rows.length > 0;
    this.rows.forEach((row, index) => {
      const name = fill(this.page.dataset.commentOn, { n: index + 1 });
      row.box.querySelector("[data-name]").textContent = name;
      row.area.setAttribute("aria-label", name);
    });
    for (const block of this.blocks) this.mark(block);
  }

  // The paragraph anew, cut where comments begin and end.
  mark(block) {
    const base = Number(block.dataset.start);
    const text = [...this.texts.get(block)];
    const own = this.rows
      .map((row, index) => ({ index, low: Math.max(0, row.start - base), high: Math.min(text.length, row.end - base), at: row.text }))
      .filter((row) => row.at === block.closest("[data-text]") && row.low < row.high);
    const edges = [...new Set([0, text.length, ...own.flatMap((row) => [row.low, row.high])])].sort((a, b) => a - b);
    const parts = edges.slice(0, -1).map((start, at) => {
      const words = text.slice(start, edges[at + 1]).join("");
      const about = own.find((row) => row.low <= start && edges[at + 1] <= row.high);
      if (!about) return words;
      const mark = document.createElement("mark");
      mark.dataset.row = about.index;
      mark.textContent = words;
      return mark;
    });
    block.replaceChildren(...parts);
  }

  // As the API takes them.
  content() {
    return this.rows.map(({ text, start, end, area }) => {
      const which = text.dataset.answer ? { answer: text.dataset.answer } : { message: Number(text.dataset.message) };
      return { ...which, start, end, body: area.value };
    });
  }

  restore(kept) {
    for (const row of Array.isArray(kept) ? kept : []) {
      const name = row.answer ? `[data-answer="${CSS.escape(row.answer)}"]` : `[data-message="${Number(row.message)}"]`;
      const text = this.page.querySelector(`[data-text]${name}`);
      if (text) this.add({ text, start: Number(row.start), end: Number(row.end), body: String(row.body ?? "") });
    }
  }

  // The first comment without words, marked as such; undefined where all have some.
  firstEmpty() {
    const empty = this.rows.filter((row) => !row.area.value.trim());
    for (const row of empty) this.fault(row, this.page.dataset.commentEmpty);
    return empty[0];
  }
}
