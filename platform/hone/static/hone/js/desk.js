// The items on a person's desk: the one in hand, the one fetched ahead, the one just submitted. Each is a whole part of
// the page with its own session; only the one in hand is in the document, the others are laid aside as they stand.
// So Submit shows the next one before the server has answered, and nothing is lost when the answer is a refusal.
import { fetchAhead, work as api } from "./api.js";
import { bidi } from "./bidi.js";
import { drawer, showState } from "./drawer.js";
import { guideline } from "./guideline.js";
import { t } from "./strings.js";
import { TakeBack } from "./take-back.js";
import { toast } from "./toast.js";
import { showTrouble, troubleOf, whyOf } from "./trouble.js";

// Where nothing was open, it is not asked for at every letter.
const ASK_AGAIN = 15_000;
// Whoever has looked at the next item for longer is not pulled away from it.
const UNSETTLED = 2000;
const SCROLLERS = "[data-prompt-body], [data-answers], .answer, .write-scroll";

const said = document.querySelector("[data-work-said]");

export class Desk {
  // `start(root, work, desk)` brings an item's part of the page to life and gives its session.
  constructor(root, start) {
    this.start = start;
    this.ahead = null;
    this.sending = null; // the session whose submit is under way behind the one in hand
    this.behind = null; // what was not submitted, and how its page says why
    this.submitted = null; // kept while it can be taken back
    this.notBefore = 0;
    drawer("guideline");
    this.takeBack = new TakeBack({ onTaken: (offer) => this.taken(offer), onEnd: () => this.forget() });
    // Back from another page: this one may show what is submitted already.
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
    addEventListener("pagehide", () => this.giveBack());
    document.addEventListener("visibilitychange", () => this.seen());
    if (root) this.begin({ root, work: workOf(root), session: null });
    this.current?.session.look();
    this.takeBack.goOn();
  }

  // What follows the one in hand. The page says that it is there: tests have nothing else to wait for.
  get ahead() { return this.next; }

  set ahead(item) {
    this.next = item;
    document.body.toggleAttribute("data-next-ready", Boolean(item));
  }

  begin(item) {
    this.current = item;
    guideline(item.root.querySelector("[data-guideline]"));
    item.session ??= this.start(item.root, item.work, this);
  }

  // The item in hand is nearly done: the next one may come. Trouble is no news here; Submit then loads the page.
  async lookAhead(session) {
    const busy = this.ahead || this.fetching || this.sending || this.behind;
    if (busy || session.gone || Date.now() < this.notBefore) return;
    this.fetching = true;
    const html = await fetchAhead(session.work.slot, session.lease.token).catch(() => null);
    this.fetching = false;
    if (this.current.session !== session) return;
    if (!html) { this.notBefore = Date.now() + ASK_AGAIN; return; }
    const root = document.createElement("div");
    root.className = "work";
    root.dataset.work = "";
    root.innerHTML = html; // made by the server from the same template as the page's first item
    bidi(root);
    this.ahead = { root, work: workOf(root), session: null };
  }

  // Hidden for so long that nothing was renewed, the page may hold an item that went to somebody else.
  seen() {
    if (document.visibilityState === "hidden") { this.hiddenAt = Date.now(); return; }
    const merelyFetched = this.ahead && !this.ahead.session;
    if (!merelyFetched || Date.now() - this.hiddenAt < this.ahead.work.lease_seconds * 500) return;
    this.drop();
    this.current.session.look();
  }

  // At the key press, before anything is sent. Says whether there was an item to show.
  moveOn(session) {
    if (!this.ahead || this.sending) return false;
    performance.mark("hone-submit");
    this.sending = session;
    this.sent = this.current;
    this.takeBack.end();
    this.showNext();
    performance.measure("hone-next-item", "hone-submit");
    return true;
  }

  showNext() {
    const next = this.ahead;
    this.ahead = null;
    this.notBefore = 0;
    this.show(next);
  }

  // Another submit may still be under way behind this one.
  async settled(session) {
    if (this.sending && this.sending !== session) await this.sending.submitting;
  }

  show(item) {
    const old = this.current;
    for (const dialog of old.root.querySelectorAll("dialog[open]")) dialog.close();
    old.scrolled = [...old.root.querySelectorAll(SCROLLERS)].map((box) => [box, box.scrollTop, box.scrollLeft]);
    old.scrollY = scrollY;
    swapGuidelines(old.root, item.root);
    old.root.replaceWith(item.root);
    this.begin(item);
    item.shownAt = performance.now();
    scrollTo(0, item.scrollY ?? 0);
    for (const [box, top, left] of item.scrolled ?? []) box.scrollTo({ top, left, behavior: "instant" });
    showState(item.root.querySelector("[data-guideline]"));
    showTrouble();
    document.getElementById("toasts").replaceChildren(); // they speak of the other item
    item.root.querySelector("[data-begin]").focus({ preventScroll: true });
  }

  // The server has it. `answer.next_slot` is what it has put into this person's hand.
  done(session, { answer, key }) {
    const offer = { slot: session.work.slot, key };
    if (this.sending === session) this.sending = null;
    else if (this.behind) { session.dispose(); this.goBack({ again: false }); return; }
    else if (this.ahead && answer.next_slot === this.ahead.work.slot) { this.sent = this.current; this.showNext(); }
    else { this.takeBack.keep(offer); this.leave(); return; }
    this.takeBack.end();
    this.submitted = this.sent;
    if (answer.next_slot !== this.current.work.slot) {
      // Somebody who had nothing was given it, or this is the answer to a repetition: the server will say.
      if (!this.current.session.begun) { this.takeBack.keep(offer); this.leave(); return; }
      this.current.session.lease.renew();
    }
    said.textContent = t("submitted_said");
    this.takeBack.offer(offer);
    this.current.session.look();
  }

  // It was not submitted: back to it, as it stands. `show` says why on its own page, `why` on another item's.
  failed(session, { why, show }) {
    if (this.sending !== session) { show(); return; }
    this.sending = null;
    this.behind = { item: this.sent, show };
    const { session: next, shownAt } = this.current;
    if (!next.begun && performance.now() - shownAt < UNSETTLED) this.goBack();
    else next.tellBehind(why, () => { if (!next.busy) this.goBack(); });
  }

  // `again`: the item that is in hand now comes again after it.
  goBack({ again = true } = {}) {
    const { item, show } = this.behind;
    this.behind = null;
    this.current.session.tellBehind("");
    if (again) this.ahead = this.current;
    this.show(item);
    show();
  }

  // The last label is taken back: its item as it was left, and the one in hand waits behind it.
  async taken({ slot, key }) {
    const next = this.current?.session;
    if (next?.busy || this.sending) return false;
    next?.setBusy(true);
    try {
      const work = await api.takeBack(slot, key);
      next?.setBusy(false);
      const item = this.submitted;
      if (item?.work.slot !== slot) { await next?.autosave.flush(); this.leave(); return true; }
      this.submitted = null;
      if (this.ahead) this.forgetItem(this.ahead); // the server has given it back
      this.ahead = this.current;
      this.show(item);
      item.session.reopen(work);
      said.textContent = t("taken_back");
    } catch (error) {
      next?.setBusy(false);
      const isTrouble = Boolean(troubleOf(error));
      toast(t("not_taken_back", { why: isTrouble ? whyOf(error) : error.message }), { state: "failed", seconds: 8 });
      // It may be taken back still once the server answers.
      if (isTrouble) return false;
      this.forget();
    }
    return true;
  }

  // Another reservation of the item in hand: what waited behind the old one may be gone.
  drop() {
    if (this.ahead) this.forgetItem(this.ahead);
    this.ahead = null;
  }

  forget() {
    if (this.submitted) this.forgetItem(this.submitted);
    this.submitted = null;
  }

  forgetItem(item) { item.session?.dispose(); }

  // What was merely fetched is somebody else's at once; what was begun stays for as long as its lease.
  giveBack() {
    if (!this.ahead || this.ahead.session?.begun || this.isLeaving) return;
    api.giveBack(this.ahead.work.slot, this.ahead.work.lease_token).catch(() => {});
  }

  leave() {
    this.isLeaving = true;
    this.current?.session.stop();
    location.assign(location.pathname);
  }
}

function workOf(root) { return JSON.parse(root.querySelector("#work-data").textContent); }

// The guideline that one is reading, searching or has open stays as it is, as long as it is the same version.
function swapGuidelines(from, to) {
  const [used, fresh] = [from, to].map((root) => root.querySelector("[data-guideline]"));
  if (!used || !fresh || used.dataset.guideline !== fresh.dataset.guideline) return;
  const mark = document.createComment("");
  const scroller = used.querySelector(".drawer-body");
  const at = scroller.scrollTop;
  fresh.replaceWith(mark);
  used.replaceWith(fresh);
  mark.replaceWith(used);
  // It is in the document again only once the caller has put it there.
  queueMicrotask(() => { scroller.scrollTop = at; });
}
