// "Submitted · Take back": for ten seconds after a submit, by button or by u. The seconds stand still while it is pointed
// at or has the focus, as far as the server's own window goes. Across a page load it is kept in this tab.
import { keys } from "./keys.js";
import { t } from "./strings.js";

const SECONDS = 10;
const AT_MOST = 14; // the server takes it for 15
const STORE = "hone-take-back";

export class TakeBack {
  // `onTaken(offer)` takes it back, and says false where that must wait a moment; `onEnd` when no longer possible.
  constructor({ onTaken, onEnd }) {
    Object.assign(this, { onTaken, onEnd, current: null });
    this.box = document.querySelector("[data-take-back]");
    this.left = this.box.querySelector("[data-take-back-left]");
    this.box.querySelector("button").addEventListener("click", () => this.take());
    keys((event, command, key) => {
      if (command || key !== "u" || !this.current) return;
      event.preventDefault();
      this.take();
    });
  }

  offer({ slot, key, at = Date.now() }) {
    this.end();
    this.current = { slot, key };
    this.at = at;
    this.rest = SECONDS - (Date.now() - at) / 1000;
    this.box.hidden = false;
    this.last = Date.now();
    this.timer = setInterval(() => this.tick(), 200);
    this.tick();
  }

  tick() {
    const now = Date.now();
    const held = this.box.matches(":hover, :focus-within");
    if (!held) this.rest -= (now - this.last) / 1000;
    this.last = now;
    const most = AT_MOST - (now - this.at) / 1000;
    if (Math.min(this.rest, most) <= 0) { this.end(); return; }
    this.left.textContent = t("seconds_left", { n: Math.ceil(Math.min(this.rest, most)) });
  }

  async take() {
    const offer = this.current;
    if (!offer || this.isTaking) return;
    this.isTaking = true;
    try {
      if (await this.onTaken(offer)) this.hide();
    } finally {
      this.isTaking = false;
    }
  }

  hide() {
    clearInterval(this.timer);
    this.current = null;
    // The focus must not fall out of the page with the button that had it.
    const focused = this.box.contains(document.activeElement);
    this.box.hidden = true;
    if (focused) (document.querySelector("[data-begin]") ?? document.getElementById("main")).focus({ preventScroll: true });
  }

  end() {
    if (!this.current) return;
    this.hide();
    this.onEnd();
  }

  // The page is about to be loaded anew.
  keep({ slot, key }) {
    try { sessionStorage.setItem(STORE, JSON.stringify({ slot, key, at: Date.now() })); } catch { /* not offered there */ }
  }

  goOn() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(STORE));
      sessionStorage.removeItem(STORE);
    } catch { return; }
    if (kept && Date.now() - kept.at < SECONDS * 1000) this.offer(kept);
  }
}
