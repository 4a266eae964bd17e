// Drafts save themselves 800 ms after the last change, retry while there is trouble, and are sent once more on leaving.
// states: "clean", "changed", "saving", "saved", "offline", "failed", "refused"
import { ApiError, Offline } from "./api.js";

const WAIT = 800;
const RETRY = [2000, 5000, 10000, 20000, 30000];
// fetch() refuses a body that outlives its page above 64 KiB.
const KEEPALIVE_BYTES = 60_000;

export class Autosave {
  constructor({ save, read, savedAt = null, onState, signal }) {
    this.save = save;
    this.read = read;
    this.savedAt = savedAt ? new Date(savedAt) : null;
    this.onState = onState;
    this.saved = this.text();
    this.held = null;
    this.stopped = false;
    this.rest();
    const timer = setInterval(() => { if (this.state === "saved") this.onState("saved", this); }, 5000);
    signal.addEventListener("abort", () => clearInterval(timer));
    addEventListener("online", () => this.flush(), { signal });
    addEventListener("pagehide", () => this.leave(), { signal });
    // A hidden tab may never come back, one that comes back may have connection and log-in again.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden" || this.failures) this.flush();
    }, { signal });
    addEventListener("beforeunload", (event) => { if (this.wouldLose()) event.preventDefault(); }, { signal });
  }

  set(state) {
    this.state = state;
    this.onState(state, this);
  }

  // Nothing left to write.
  rest() {
    clearTimeout(this.timer);
    this.failures = 0;
    this.refused = false;
    this.set(this.savedAt ? "saved" : "clean");
  }

  // What counts is the content; a running clock alone is no reason to write.
  text() { return JSON.stringify(this.read()); }

  dirty() { return this.text() !== this.saved; }

  due() { return !this.stopped && this.dirty() && this.text() !== this.held; }

  changed() {
    const text = this.text();
    if (this.stopped || text === this.held) return;
    this.held = null;
    if (text === this.saved && !this.running) { this.rest(); return; }
    if (this.state !== "offline" && this.state !== "failed") this.set("changed");
    this.plan(WAIT);
  }

  plan(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.writeOnce(), wait);
  }

  // Writes until all that was typed is with the server, and says whether it is.
  async flush() {
    clearTimeout(this.timer);
    while (await this.writeOnce());
    return !this.dirty();
  }

  // One write at a time, so that an older draft can never land after a newer one.
  async writeOnce() {
    while (this.running) await this.running;
    return this.due() && this.begin();
  }

  begin(options) {
    this.running = this.write(options).finally(() => { this.running = null; });
    return this.running;
  }

  async write(options) {
    const content = this.read();
    this.sent = JSON.stringify(content);
    if (!this.failures) this.set("saving");
    try {
      const answer = await this.save(content, options);
      this.saved = this.sent;
      this.savedAt = answer?.saved_at ? new Date(answer.saved_at) : new Date();
      this.failures = 0;
      this.refused = false;
      if (!this.dirty()) { this.rest(); return true; }
      this.set("changed");
      this.plan(WAIT);
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 400) {
        // Too large, or submitted already: the same again would be refused again, so the next change asks anew.
        this.failures = 0;
        this.refused = true;
        this.why = Object.values(error.errors ?? {}).flat()[0] ?? error.message;
        this.set("refused");
        return false;
      }
      this.failures += 1;
      this.set(error instanceof Offline ? "offline" : "failed");
      this.plan(RETRY[Math.min(this.failures, RETRY.length) - 1]);
      return false;
    }
  }

  // The last words cannot go along when the page goes now: no server, refused or too large, or an older write still
  // under way.
  wouldLose() {
    if (this.stopped || !this.dirty()) return false;
    return Boolean(this.failures || this.refused || this.held || !this.isSmall() || (this.running && this.sent !== this.text()));
  }

  isSmall() { return new Blob([this.text()]).size < KEEPALIVE_BYTES; }

  leave() {
    if (this.stopped || !this.dirty()) return;
    const options = { keepalive: this.isSmall() };
    if (!this.running) this.begin(options);
    // The write under way may die with the page; the same once more does no harm in either order.
    else if (this.sent === this.text()) this.save(this.read(), options).catch(() => {});
  }

  // While a submit is under way no draft may follow it: waits for the one that is being written.
  async stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running;
  }

  // `hold`: perhaps this content was submitted just now; it becomes a draft only when it changes.
  start({ hold = false } = {}) {
    this.stopped = false;
    this.held = hold ? this.text() : null;
    this.changed();
  }

  // The server has put what stands here back as the draft.
  reopen(savedAt) {
    this.stopped = false;
    this.held = null;
    this.saved = this.text();
    this.savedAt = new Date(savedAt);
    this.rest();
  }

  ago() {
    const seconds = Math.max(0, Math.round((Date.now() - this.savedAt) / 1000));
    if (seconds < 60) return ["ago_seconds", seconds];
    if (seconds < 3600) return ["ago_minutes", Math.round(seconds / 60)];
    return ["ago_hours", Math.round(seconds / 3600)];
  }
}
