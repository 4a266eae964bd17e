// Keeps the item reserved while the page is open and visible. A 409 means that it is no longer ours.
import { ApiError } from "./api.js";

export class Lease {
  constructor({ token, seconds, renew, onLost, signal }) {
    Object.assign(this, { token, seconds, onLost });
    this.send = renew;
    this.lost = false;
    this.uncertain = false;
    this.failures = 0;
    this.renewed = Date.now();
    document.addEventListener("visibilitychange", () => { if (this.due()) this.renew(); }, { signal });
    addEventListener("online", () => this.renew(), { signal });
    this.plan();
  }

  // Back after a long absence: ask at once, before somebody writes into a lost item.
  due() {
    return document.visibilityState === "visible" && (this.failures || Date.now() - this.renewed > this.seconds * 333);
  }

  plan() {
    clearTimeout(this.timer);
    const wait = this.failures ? Math.min(3000 * 2 ** (this.failures - 1), 30000) : (this.seconds * 1000) / 3;
    this.timer = setTimeout(() => (document.visibilityState === "visible" ? this.renew() : this.plan()), wait);
  }

  // Another request met trouble: ask before long, so that its notice goes when the trouble does.
  soon() {
    if (this.failures || this.running || this.uncertain || this.lost || this.stopped) return;
    this.failures = 1;
    if (!this.paused) this.plan();
  }

  // A submit may have arrived: then a 409 may only say that it did, and the next submit will tell.
  doubt() {
    this.uncertain = true;
    this.failures = 0;
  }

  renew() {
    if (this.lost || this.stopped || this.paused || this.running) return;
    this.running = this.ask();
  }

  async ask() {
    let gone = false;
    try {
      await this.send(this.token);
      this.renewed = Date.now();
      this.failures = 0;
    } catch (error) {
      gone = error instanceof ApiError && error.status === 409;
      if (!gone) this.failures += 1;
      else if (!this.uncertain) this.lose(error.code);
    } finally {
      this.running = null;
    }
    if (!gone && !this.lost && !this.stopped && !this.paused) this.plan();
  }

  // While a submit or skip is under way no renewal may follow it: it would be told that the item is gone.
  async pause() {
    this.paused = true;
    clearTimeout(this.timer);
    await this.running;
  }

  unpause() {
    this.paused = false;
    if (!this.lost && !this.stopped) this.plan();
  }

  // `code` is the server's: "already_submitted" where another tab was first.
  lose(code) {
    if (this.lost) return;
    this.lost = true;
    this.uncertain = false;
    clearTimeout(this.timer);
    this.onLost(code);
  }

  resume(token) {
    this.token = token;
    this.lost = false;
    this.stopped = false;
    this.uncertain = false;
    this.paused = false;
    this.failures = 0;
    this.renewed = Date.now();
    this.plan();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }
}
