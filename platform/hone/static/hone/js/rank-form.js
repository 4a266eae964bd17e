// The rank page's form: scales and flags under the answers, strengths for two, the reason. A project without one
// has none of these elements, and everything here finds nothing to do.
import { Judgement } from "./judgement.js";
import { roving } from "./roving.js";
import { Strength } from "./strength.js";
import { listed, t } from "./strings.js";

const PLAIN = { scales: [], flags: [], strength: false, ties: true, reason: "off" };

export class RankForm {
  // `act(state, change, said)` makes the change while the item is ours, keeps it for undo, says and saves it;
  // without a state it only shows and saves.
  constructor({ work, page, cards, order, act }) {
    const form = work.form ?? PLAIN;
    Object.assign(this, { form, page, cards, order, act });
    this.letters = order.letters;
    this.judgement = new Judgement(form, this.letters);
    this.judgement.restore(work.draft ?? undefined);
    this.strip = page.querySelector("[data-strengths]");
    this.strength = this.strip && new Strength(order, form.ties);
    this.strength?.restore(work.draft);
    this.reason = page.querySelector("[data-reason]");
    this.roved = new Map([...page.querySelectorAll("[data-roving]")].map((group) => [group, roving(group)]));
    for (const letter of this.letters) this.bindAnswer(letter, cards[letter]);
    this.bindStrip();
    this.bindReason(work.draft?.reason);
  }

  bindAnswer(letter, card) {
    card.addEventListener("click", (event) => {
      const value = event.target.closest("[data-value]");
      const flag = event.target.closest("[data-flag]");
      if (value) this.rate(letter, value.closest("[data-scale]").dataset.scale, Number(value.dataset.value));
      else if (flag) this.flag(letter, flag.dataset.flag);
      else if (event.target.closest("[data-flags-toggle]")) this.fold(letter);
    });
    const list = card.querySelector("[data-flag-list]");
    if (!list) return;
    const help = list.querySelector("[data-flag-help]");
    for (const name of ["focusin", "pointerover"]) {
      list.addEventListener(name, (event) => {
        const flag = event.target.closest("[data-flag]");
        if (flag) help.textContent = flag.title;
      });
    }
    list.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      this.leaveFlags(letter);
    });
  }

  bindStrip() {
    this.strip?.addEventListener("click", (event) => {
      const button = event.target.closest("[data-at]");
      if (button) this.choose(() => this.strength.set(Number(button.dataset.at) === this.strength.at ? null : Number(button.dataset.at)));
    });
    // Arrows move the choice here as they do elsewhere on the page, not the focus alone.
    this.strip?.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      event.stopPropagation();
      this.choose(() => this.strength.toward(event.key === "ArrowLeft" ? -1 : 1));
      this.button(this.strength.at)?.focus();
    }, { capture: true });
  }

  // The text field has its own undo while it is typed in; afterwards the page's takes back the whole edit.
  bindReason(kept) {
    if (!this.reason) return;
    this.reason.value = typeof kept === "string" ? kept : "";
    let before = this.reason.value;
    const state = { edits: [], undo: () => { this.reason.value = before = state.edits.pop(); return t("said_undone", { what: t("the_reason") }); } };
    this.reason.addEventListener("input", () => this.act(null, () => true));
    this.reason.addEventListener("change", () => {
      if (this.reason.value === before) return;
      const from = before;
      before = this.reason.value;
      this.act(state, () => state.edits.push(from));
    });
    this.reason.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.isComposing) this.reason.blur(); });
  }

  rate(letter, key, value) {
    const scale = this.form.scales.find((one) => one.key === key);
    const words = { letter, scale: scale.label, value };
    this.act(
      this.undoable(this.judgement, t("labelled", { label: letter, text: scale.label })),
      () => { this.judgement.rate(letter, key, value); return true; },
      () => t(key in this.judgement.ratings[letter] ? "said_rated" : "said_unrated", words),
    );
  }

  flag(letter, key) {
    const words = { letter, flag: this.form.flags.find((one) => one.key === key).label };
    this.act(
      this.undoable(this.judgement, t("said_flag", words)),
      () => { this.judgement.toggle(letter, key); return true; },
      () => t(this.judgement.flags[letter].includes(key) ? "said_flag" : "said_unflag", words),
    );
  }

  choose(change) {
    this.act(this.undoable(this.strength, ""), change, () => this.chosen());
  }

  // `undo` answers with what to say; the strip says where it stands.
  undoable(state, what) {
    return { undo: () => { state.undo(); return what ? t("said_undone", { what }) : this.chosen(); } };
  }

  button(at) { return at === null ? null : this.strip.querySelector(`[data-at="${at}"]`); }

  chosen() { return this.button(this.strength.at)?.getAttribute("aria-label") ?? t("strength_none"); }

  place(letter) {
    const [first] = this.letters;
    const { at } = this.strength;
    const leads = at !== null && at !== 0 && (at < 0) === (letter === first);
    return leads || at === 0 ? this.chosen() : "";
  }

  fold(letter, open = null) {
    const toggle = this.cards[letter].querySelector("[data-flags-toggle]");
    if (!toggle) return;
    const list = this.cards[letter].querySelector("[data-flag-list]");
    list.hidden = open === null ? !list.hidden : !open;
    toggle.setAttribute("aria-expanded", String(!list.hidden));
  }

  toggleFlags(letter) {
    const list = this.cards[letter].querySelector("[data-flag-list]");
    if (list.contains(document.activeElement)) { this.leaveFlags(letter); return; }
    this.fold(letter, true);
    const buttons = [...list.querySelectorAll("[data-flag]")];
    list.scrollIntoView({ block: "nearest", inline: "nearest" });
    buttons.find((button) => button.tabIndex === 0).focus();
  }

  leaveFlags(letter) {
    this.fold(letter, false);
    this.cards[letter].focus({ preventScroll: true });
  }

  // Whether the key was one of ours.
  key(event, key, selected) {
    const digit = /^Digit(\d)$/.exec(event.code)?.[1];
    // Where digits need Shift (AZERTY), the key is a digit, and it places the answer.
    if (event.shiftKey && digit && !/^\d$/.test(event.key)) return this.rateBy(Number(digit), selected);
    if (key === "f" && this.form.flags.length && (event.shiftKey || !this.letters.includes("F"))) {
      this.toggleFlags(selected);
      return true;
    }
    if (key === "r" && this.reason) { this.reason.focus(); return true; }
    return this.strength ? this.strengthKey(key) : false;
  }

  // The scale that has the focus, or else the first.
  rateBy(value, letter) {
    const focused = document.activeElement.closest("[data-scale]");
    const scale = this.form.scales.find((one) => one.key === focused?.dataset.scale) ?? this.form.scales[0];
    if (!scale) return false;
    if (value >= scale.low && value <= scale.high) this.rate(letter, scale.key, value);
    return true;
  }

  strengthKey(key) {
    const n = Number(key);
    if (/^[1-8]$/.test(key)) this.choose(() => this.strength.set(n <= 4 ? n - 5 : n - 4));
    else if (key === "t") this.choose(() => this.strength.set(0));
    else if (key === "0" || key === "Backspace") this.choose(() => this.strength.set(null));
    else if (key === "ArrowLeft") this.choose(() => this.strength.toward(-1));
    else if (key === "ArrowRight") this.choose(() => this.strength.toward(1));
    // There are no tiers, so no key of theirs may act.
    else return key === "9" || key === "x";
    return true;
  }

  // What the form still lacks: [{text, go}], `go` leads there.
  missing() {
    const found = [];
    if (!this.form.ties && !this.strength) {
      const tied = this.order.tiers().find((tier) => tier.length > 1);
      if (tied) found.push({ text: t("no_ties", { letters: listed(tied) }), go: () => this.cards[tied[1]].focus() });
    }
    for (const { scale, letters } of this.judgement.missing()) {
      const go = () => this.cards[letters[0]].querySelector(`[data-scale="${scale.key}"] button`).focus();
      found.push({ text: t("scale_missing", { scale: scale.label, letters: listed(letters) }), go });
    }
    if (this.form.reason === "required" && !this.reason.value.trim()) {
      found.push({ text: t("reason_missing"), go: () => this.reason.focus() });
    }
    return found;
  }

  content() {
    return {
      ...this.judgement.content(),
      ...(this.strength ? { strength: this.strength.value } : {}),
      ...(this.reason ? { reason: this.reason.value } : {}),
    };
  }

  show() {
    for (const letter of this.letters) {
      const card = this.cards[letter];
      for (const group of card.querySelectorAll("[data-scale]")) {
        const value = this.judgement.ratings[letter][group.dataset.scale];
        for (const button of group.querySelectorAll("[data-value]")) {
          const on = Number(button.dataset.value) === value;
          button.setAttribute("aria-pressed", String(on));
          if (on) this.roved.get(group).stop(button);
        }
      }
      const on = this.judgement.flags[letter];
      for (const button of card.querySelectorAll("[data-flag]")) {
        button.setAttribute("aria-pressed", String(on.includes(button.dataset.flag)));
      }
      const place = card.querySelector("[data-flags-chosen]");
      if (place) {
        const labels = this.form.flags.filter((flag) => on.includes(flag.key)).map((flag) => flag.label);
        place.textContent = labels.length ? `${labels.length} · ${listed(labels)}` : "";
      }
    }
    for (const button of this.strip?.querySelectorAll("[data-at]") ?? []) {
      const on = this.strength.at !== null && Number(button.dataset.at) === this.strength.at;
      button.setAttribute("aria-pressed", String(on));
      if (on) this.roved.get(this.strip).stop(button);
    }
  }
}
