// Keeps the item reserved while the page is open and visible. A 409 means that it is no longer ours.
import { ApiError, work } from "./api.js";

export class Lease {
  constructor({ slot, token, seconds, onLost, onState }) {
    Object.assign(this, { slot, token, seconds, onLost, onState });
    this.lost = false;
    this.failures = 0;
    this.renewed = Date.now();
    document.addEventListener("visibilitychange", () => { if (this.due()) this.renew(); });
    addEventListener("online", () => this.renew());
    this.plan();
  }

  // Back after a long absence: ask at once, before somebody writes into a lost item.
  due() { return document.visibilityState === "visible" && Date.now() - this.renewed > this.seconds * 333; }

  plan() {
    clearTimeout(this.timer);
    const wait = this.failures ? Math.min(3000 * 2 ** (this.failures - 1), 30000) : (this.seconds * 1000) / 3;
    this.timer = setTimeout(() => (document.visibilityState === "visible" ? this.renew() : this.plan()), wait);
  }

  renew() {
    if (this.lost || this.stopped || this.paused || this.running) return;
    this.running = this.ask();
  }

  async ask() {
    try {
      await work.renew(this.slot, this.token);
      this.renewed = Date.now();
      this.failures = 0;
      this.onState("online");
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) this.lose();
      else {
        this.failures += 1;
        this.onState("offline");
      }
    } finally {
      this.running = null;
    }
    if (!this.lost && !this.stopped && !this.paused) this.plan();
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

  lose() {
    if (this.lost) return;
    this.lost = true;
    clearTimeout(this.timer);
    this.onLost();
  }

  resume(token) {
    this.token = token;
    this.lost = false;
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
