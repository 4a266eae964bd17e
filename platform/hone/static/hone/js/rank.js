// The rank page: letters into tiers, by drag, by button or by key.
import { cannotJudge } from "./cannot-judge.js";
import { diffDialog } from "./diff-dialog.js";
import { makeDraggable } from "./drag.js";
import { toggleDrawer } from "./drawer.js";
import { keys } from "./keys.js";
import { Order } from "./order.js";
import { RankForm } from "./rank-form.js";
import { foldSameBeginning } from "./same-beginning.js";
import { scrollsSideways } from "./scrollers.js";
import { Session } from "./session.js";
import { listed, t } from "./strings.js";

export function start(page, work, desk) {
  const find = (selector) => page.querySelector(selector);

  const letters = work.answers.map((answer) => answer.letter);
  const order = new Order(letters);
  order.restore(work.draft ?? undefined);
  const cards = Object.fromEntries(letters.map((letter) => [letter, find(`.answer[data-letter="${letter}"]`)]));
  const chips = Object.fromEntries(letters.map((letter) => [letter, find(`.zone-chips [data-drag="${letter}"]`)]));
  const answers = find("[data-answers]");
  const note = find("[data-note]");
  const submitButton = find("[data-submit]");
  // What undo takes back, last first: {undo}, which answers with what to say.
  const steps = [];
  const form = new RankForm({ work, page, cards, order, act });
  let selected = letters[0];

  note.value = work.draft?.note ?? "";
  const verdict = cannotJudge({
    page,
    work,
    note,
    canAct: () => session.canAct,
    changed: () => session.changed(),
    submit: () => session.submit(),
  });

  const session = new Session({
    root: page,
    work,
    desk,
    // With two answers one choice places both.
    isNearlyDone: () => order.missing().length <= (letters.length > 2 ? 1 : 0),
    readDraft: () => ({ ...order.draft(), ...form.content(), note: note.value, ...verdict.draft() }),
    readBody: () => ({
      ...(verdict.body() ?? {
        tiers: order.tiers(),
        unacceptable: order.unacceptable(),
        ...form.content(),
        note: note.value.trim(),
      }),
      guideline_version: work.guideline?.number ?? null,
    }),
    onErrors: (errors) => session.fail({ errors }, "send_failed"),
  });
  session.onChange = show;

  function show() {
    for (const letter of letters) {
      const zone = order.zoneOf(letter);
      if (chips[letter]) showChip(chips[letter], letter, zone);
      cards[letter].classList.toggle("is-selected", letter === selected);
      for (const button of cards[letter].querySelectorAll("[data-zone]")) {
        button.setAttribute("aria-pressed", String(button.dataset.zone === zone));
      }
      cards[letter].querySelector("[data-place]").textContent = form.strength ? form.place(letter) : placeName(zone);
    }
    form.show();
    const [lacking] = missing();
    const ready = !lacking && !session.gone;
    // aria-disabled keeps the button in the tab order, where its reason can be read.
    submitButton.setAttribute("aria-disabled", String(!ready));
    find("[data-status]").textContent = lacking ? lacking.text : summary();
    find("[data-undo]").disabled = steps.length === 0;
  }

  function showChip(chip, letter, zone) {
    const box = find(`[data-zone-box="${zone}"] .zone-chips`);
    if (chip.parentElement !== box) {
      const focused = document.activeElement === chip;
      box.append(chip);
      if (focused) chip.focus();
    }
    chip.setAttribute("aria-pressed", String(letter === selected));
  }

  // Everything that Submit waits for, [{text, go}]: first the order, then what the project's form asks.
  function missing() {
    const free = order.missing();
    if (!free.length) return form.missing();
    const text = form.strength ? t("strength_missing") : t("still_to_place", { letters: listed(free) });
    return [{ text, go: () => select(free[0], { focus: true }) }, ...form.missing()];
  }

  function summary() {
    if (form.strength) return form.chosen();
    const bad = order.unacceptable();
    const parts = [order.toString(), bad.length ? t("unacceptable_are", { letters: listed(bad) }) : ""];
    return t("ready", { order: parts.filter(Boolean).join(" · ") });
  }

  function placeName(zone) {
    if (zone === "x") return t("place_unacceptable");
    return zone ? t("place_tier", { n: zone }) : t("place_none");
  }

  function place(letter, zone) {
    const undoable = { undo: () => saidOf(order.undo()) };
    act(undoable, () => order.place(letter, zone), () => saidOf(letter));
  }

  function act(state, change, said) {
    if (state && (!session.canAct || !change())) return;
    if (state) steps.push(state);
    show();
    if (said) find("[data-said]").textContent = said();
    session.changed();
  }

  function saidOf(letter) {
    const ties = order.in(order.zoneOf(letter)).filter((other) => other !== letter);
    const said = t("labelled", { label: letter, text: placeName(order.zoneOf(letter)) });
    return ties.length && order.zoneOf(letter) !== "" ? t("said_tie", { said, letters: listed(ties) }) : said;
  }

  function select(letter, { focus = false } = {}) {
    selected = letter;
    show();
    const card = cards[letter];
    if (focus) card.focus({ preventScroll: true });
    const box = card.getBoundingClientRect();
    const view = answers.getBoundingClientRect();
    const smooth = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    if (box.left < view.left || box.right > view.right) answers.scrollBy({ left: box.left - view.left - 16, behavior: smooth });
  }

  function undo() {
    const last = session.canAct && steps.pop();
    if (!last) return;
    const said = last.undo();
    act(null, null, () => said);
  }

  function submit() {
    if (!session.canAct) return;
    verdict.clear();
    const [lacking] = missing();
    if (lacking) {
      find("[data-said]").textContent = lacking.text;
      lacking.go();
    } else if (!form.strength && order.isLeftAsShown() && !session.confirmed) {
      find("#shown-order-dialog").showModal();
    } else {
      session.submit();
    }
  }

  makeDraggable(page, {
    signal: session.signal,
    onDrop: (letter, zone) => { selected = letter; place(letter, zone); show(); },
    onTap: (letter) => select(letter),
  });

  for (const letter of letters) {
    const card = cards[letter];
    card.addEventListener("focusin", () => { if (selected !== letter) { selected = letter; show(); } });
    card.addEventListener("pointerdown", () => { if (selected !== letter) { selected = letter; show(); } });
    for (const button of card.querySelectorAll("[data-zone]")) {
      // The pressed tier pressed again takes the letter out.
      button.addEventListener("click", () => place(letter, order.zoneOf(letter) === button.dataset.zone ? "" : button.dataset.zone));
    }
  }
  for (const label of page.querySelectorAll(".zone-label")) {
    label.addEventListener("click", () => place(selected, label.closest("[data-zone-box]").dataset.zoneBox));
  }

  // Synchronised scrolling goes by share of the length: answers differ in length.
  let sync = false;
  const syncButton = find("[data-sync]");
  function toggleSync() {
    sync = !sync;
    syncButton.setAttribute("aria-pressed", String(sync));
  }
  let leader = null;
  for (const card of Object.values(cards)) {
    card.addEventListener("scroll", () => {
      if (!sync || (leader && leader !== card)) return;
      leader = card;
      const share = card.scrollTop / Math.max(1, card.scrollHeight - card.clientHeight);
      for (const other of Object.values(cards)) {
        if (other !== card) other.scrollTop = share * (other.scrollHeight - other.clientHeight);
      }
      clearTimeout(toggleSync.timer);
      toggleSync.timer = setTimeout(() => { leader = null; }, 120);
    }, { passive: true });
  }

  // How many answers share the width; remembered, since it is a matter of screen and eyes.
  const COLUMNS = ["all", "2", "1"];
  const columnButtons = page.querySelectorAll("[data-columns-choice]");
  function setColumns(value) {
    if (value === "all") delete answers.dataset.columns;
    else answers.dataset.columns = value;
    for (const button of columnButtons) button.setAttribute("aria-pressed", String(button.dataset.columnsChoice === value));
    try { localStorage.setItem("hone-columns", value); } catch { /* for this page only */ }
  }
  const currentColumns = () => answers.dataset.columns ?? "all";
  for (const button of columnButtons) button.addEventListener("click", () => setColumns(button.dataset.columnsChoice));
  try { setColumns(COLUMNS.includes(localStorage.getItem("hone-columns")) ? localStorage.getItem("hone-columns") : "all"); } catch { setColumns("all"); }

  const prompt = find("[data-prompt]");
  const promptToggle = find("[data-prompt-toggle]");
  function togglePrompt() {
    if (promptToggle.hidden) return;
    const tall = prompt.classList.toggle("is-tall");
    promptToggle.setAttribute("aria-expanded", String(tall));
  }
  const promptBody = find("[data-prompt-body]");
  promptToggle.addEventListener("click", togglePrompt);
  const room = new ResizeObserver(() => {
    promptToggle.hidden = !prompt.classList.contains("is-tall") && promptBody.scrollHeight <= promptBody.clientHeight + 4;
  });
  room.observe(promptBody);
  session.signal.addEventListener("abort", () => room.disconnect());

  const noteRow = find("[data-note-row]");
  const noteButton = find("[data-note-toggle]");
  function toggleNote(open = noteRow.hidden) {
    noteRow.hidden = !open;
    noteButton.setAttribute("aria-expanded", String(open));
    if (open) note.focus();
  }
  if (note.value) { noteRow.hidden = false; noteButton.setAttribute("aria-expanded", "true"); }
  noteButton.addEventListener("click", () => toggleNote());
  note.addEventListener("input", () => session.changed());
  note.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.isComposing) { toggleNote(false); noteButton.focus(); } });

  const showDiff = diffDialog(page, work.answers);
  const bodies = letters.map((letter) => cards[letter].querySelector(".answer-body"));
  const toggleSame = foldSameBeginning(bodies, (text) => { find("[data-said]").textContent = text; });
  const toggleGuideline = () => toggleDrawer("guideline");

  find("[data-undo]").addEventListener("click", undo);
  find("[data-diff-open]").addEventListener("click", () => showDiff(selected));
  syncButton.addEventListener("click", toggleSync);
  submitButton.addEventListener("click", submit);
  find("[data-confirm-order]").addEventListener("click", () => { session.confirmed = true; submit(); });
  // The key that submits, pressed again, is the answer; one that is held down is not.
  find("#shown-order-dialog").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
    event.preventDefault();
    find("[data-confirm-order]").click();
  });

  keys((event, command, key) => {
    if (command) {
      if (key !== "Enter") return;
      event.preventDefault();
      // Held down it would submit the next item too.
      if (!event.repeat) submit();
      return;
    }
    if (key.startsWith("Arrow") && scrollsSideways(event.target)) return;
    if (form.key(event, key, selected)) { event.preventDefault(); return; }
    const letter = key.toUpperCase();
    const at = letters.indexOf(selected);
    // Shift+G always opens the guideline, since with seven answers G is one of them.
    if (event.shiftKey && letter === "G") toggleGuideline();
    else if (letters.includes(letter)) select(letter, { focus: true });
    else if (key === "ArrowRight") select(letters[Math.min(at + 1, letters.length - 1)], { focus: true });
    else if (key === "ArrowLeft") select(letters[Math.max(at - 1, 0)], { focus: true });
    else if (/^[1-9]$/.test(key) && Number(key) <= letters.length) place(selected, key);
    else if (key === "x") place(selected, "x");
    else if (key === "0" || key === "Backspace") place(selected, "");
    else if (key === "z") undo();
    else if (key === "j") verdict.open();
    else if (key === "o") toggleSame?.();
    else if (key === "v") showDiff(selected);
    else if (key === "s") toggleSync();
    else if (key === "w") setColumns(COLUMNS[(COLUMNS.indexOf(currentColumns()) + 1) % COLUMNS.length]);
    else if (key === "p") togglePrompt();
    else if (key === "n") toggleNote(true);
    else if (key === "g") toggleGuideline();
    else if (key === "?") find("#keys-dialog").showModal();
    else return;
    event.preventDefault();
  }, { root: page, signal: session.signal });

  show();
  return session;
}
