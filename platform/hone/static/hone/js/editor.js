// One message being written: textarea that grows, counts, Markdown preview, its own errors.
import { findingItem } from "./checks.js";
import { previewer } from "./markdown.js";
import { many, number, t } from "./strings.js";

const template = document.getElementById("editor-template");
const grows = CSS.supports("field-sizing", "content");
const words = Intl.Segmenter ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;
let made = 0;

export class Editor {
  constructor({ role, content = "", limits, label, removable = false, onChange, onRemove }) {
    Object.assign(this, { role, limits, onChange });
    this.box = template.content.firstElementChild.cloneNode(true);
    this.box.dataset.role = role;
    this.find = (name) => this.box.querySelector(`[data-${name}]`);
    this.area = this.box.querySelector("textarea");
    const id = `message-${(made += 1)}`;
    this.area.id = id;
    this.area.placeholder = this.area.dataset[role] ?? "";
    this.area.setAttribute("aria-describedby", `${id}-count ${id}-error ${id}-findings`);
    this.find("label").htmlFor = id;
    this.find("count").id = `${id}-count`;
    this.find("error").id = `${id}-error`;
    this.find("findings").id = `${id}-findings`;
    this.findings = [];
    this.setLabel(label);
    this.area.value = content;

    this.area.addEventListener("input", () => {
      this.grow();
      this.setErrors([]);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.count(), 150);
      this.onChange();
    });
    this.render = previewer(this.find("rendered"));
    this.find("write").addEventListener("click", () => this.showWrite());
    this.find("preview").addEventListener("click", () => this.showPreview());
    const remove = this.find("remove");
    remove.hidden = !removable;
    remove.addEventListener("click", onRemove ?? (() => {}));
    this.count();
  }

  get content() { return this.area.value; }

  get message() { return { role: this.role, content: this.content }; }

  setLabel(text) { this.find("label").textContent = text; }

  grow() {
    if (grows) return;
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight}px`;
  }

  count() {
    // Code points, as the server counts them; .length would count most emoji twice.
    const length = [...this.content].length;
    const max = this.longest();
    let wordCount = 0;
    if (words) for (const part of words.segment(this.content)) wordCount += part.isWordLike ? 1 : 0;
    else wordCount = this.content.split(/\s+/).filter(Boolean).length;
    const [least, most] = this.wanted();
    const near = max && (most || length > max * 0.8);
    if (least) this.find("characters").textContent = t(most ? "characters_between" : "characters_from", { n: number(length), min: number(least), max: number(most || 0) });
    else this.find("characters").textContent = near ? t("characters_of", { n: number(length), max: number(max) }) : many("characters", length);
    this.find("words").textContent = many("words", wordCount);
    this.find("over").textContent = max && length > max ? t("too_long", { n: number(length - max) }) : "";
  }

  // What the project wants of a response; other turns have the limit of all texts alone.
  wanted() { return this.role === "assistant" ? [this.limits.response_min, this.limits.response_max] : []; }

  longest() { return this.wanted()[1] || this.limits.max_chars; }

  // null: they are not known just now. Read out once the number of remarks changes, not at each letter.
  showFindings(found, isWritten) {
    const before = this.said;
    this.findings = found ?? [];
    const list = this.find("findings");
    const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
    list.replaceChildren(...this.findings.map((finding) => findingItem(finding, this.area, () => this.toggle(false))));
    if (focused >= 0) (list.children[Math.min(focused, list.children.length - 1)]?.firstChild ?? this.area).focus();
    this.box.classList.toggle("is-blocked", this.findings.some((finding) => finding.action === "block"));
    const blocks = this.findings.filter((finding) => finding.action === "block").length;
    this.said = this.findings.length ? t("findings_said", { blocks, warnings: this.findings.length - blocks }) : isWritten && found ? t("checked") : "";
    this.find("checked").hidden = !(isWritten && found && !found.length);
    if (this.said !== before) this.find("findings-said").textContent = before || this.findings.length ? this.said : "";
  }

  focusFinding(finding) {
    this.toggle(false);
    const item = this.find("findings").children[this.findings.indexOf(finding)];
    item?.firstChild.focus();
    item?.scrollIntoView({ block: "nearest" });
  }

  // What the page can know before asking the server.
  check() {
    const length = [...this.content.trim()].length;
    const max = this.limits.max_chars;
    const all = [...this.content].length;
    if (!length) return [t("empty")];
    if (max && all > max) return [t("too_long_error", { max: number(max), n: number(all) })];
    return [];
  }

  setErrors(sentences) {
    this.box.classList.toggle("is-wrong", sentences.length > 0);
    this.area.setAttribute("aria-invalid", String(sentences.length > 0));
    this.find("error").textContent = sentences.join(" ");
    this.find("error").hidden = sentences.length === 0;
  }

  showWrite() {
    this.toggle(false);
    this.area.focus();
  }

  showPreview() {
    // The same height as the text, so that nothing below jumps.
    this.find("rendered").style.minHeight = `${this.area.offsetHeight}px`;
    this.toggle(true);
    this.render(this.content);
  }

  toggle(previewing) {
    this.area.hidden = previewing;
    this.find("rendered").hidden = !previewing;
    this.find("write").setAttribute("aria-pressed", String(!previewing));
    this.find("preview").setAttribute("aria-pressed", String(previewing));
  }

  focus() {
    this.toggle(false);
    this.area.focus();
  }
}
