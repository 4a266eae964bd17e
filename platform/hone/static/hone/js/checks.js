// What the project's rules say about the texts: asked 600 ms after the last change, shown in one line under each editor.
import { work as api } from "./api.js";
import { t } from "./strings.js";

const WAIT = 600;
// A field that is not answered soon must not hold up a submit: the server checks again.
const PATIENCE = 3000;

export class Checks {
  // `read` gives the whole conversation, `editorOf` the editor of its message at a place.
  constructor({ slot, enabled, read, editors, editorOf }) {
    Object.assign(this, { slot, enabled, read, editors, editorOf });
    this.latest = 0;
    this.asked = "";
    if (enabled) this.changed();
  }

  changed() {
    if (!this.enabled) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), WAIT);
  }

  // An older question's answer never replaces a newer one's.
  async ask() {
    clearTimeout(this.timer);
    const messages = this.read();
    const text = JSON.stringify(messages);
    if (text === this.asked) return this.running;
    this.asked = text;
    const mine = (this.latest += 1);
    this.running = this.fetch(messages, mine);
    return this.running;
  }

  async fetch(messages, mine) {
    try {
      const { findings } = await api.check(this.slot, messages);
      if (mine === this.latest) this.show(findings, messages);
    } catch {
      if (mine !== this.latest) return;
      // Asked again with the next change; drafts and submit say what the trouble is.
      this.asked = "";
      this.show(null, messages);
    }
  }

  show(findings, messages) {
    for (const editor of this.editors()) {
      const own = findings?.filter((finding) => this.editorOf(finding.message) === editor) ?? null;
      editor.showFindings(own, messages.some((turn, index) => this.editorOf(index) === editor && turn.content.trim()));
    }
  }

  // The first finding that stands in the way of a submit, by what is written now; null too where nobody answers.
  async firstBlock() {
    if (!this.enabled) return null;
    const patience = new Promise((done) => { setTimeout(done, PATIENCE, "late"); });
    // What is shown then is of an older text, whose faults may be mended.
    if (await Promise.race([this.ask(), patience]) === "late") return null;
    for (const editor of this.editors()) {
      const block = editor.findings.find((finding) => finding.action === "block");
      if (block) return { editor, block };
    }
    return null;
  }
}

const dialog = document.getElementById("alike-dialog");

export function openAlike(prompt) {
  dialog.querySelector("[data-alike-text]").textContent = prompt.text;
  dialog.showModal();
}

// The server counts code points, a textarea counts UTF-16 units.
export function select(area, start, end) {
  const points = [...area.value];
  const units = (count) => points.slice(0, count).join("").length;
  area.focus();
  area.setSelectionRange(units(start), units(end));
}

export function findingItem(finding, area, reveal) {
  const item = document.createElement("li");
  const acts = finding.prompt || finding.start !== null;
  const part = document.createElement(acts ? "button" : "span");
  if (acts) part.type = "button";
  part.className = "finding";
  part.dataset.action = finding.action;
  const word = document.createElement("strong");
  word.textContent = t(`finding_${finding.action}`);
  part.append(word, " ", finding.sentence);
  if (finding.prompt) part.append(" ", Object.assign(document.createElement("u"), { textContent: t("show_prompt") }));
  if (acts) part.addEventListener("click", () => {
    if (finding.prompt) { openAlike(finding.prompt); return; }
    reveal();
    select(area, finding.start, finding.end);
  });
  else part.tabIndex = -1;
  item.append(part);
  return item;
}
