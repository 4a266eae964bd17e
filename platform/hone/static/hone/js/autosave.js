// Drafts save themselves 800 ms after the last change, retry while offline, and are sent once more on leaving.
// states: "clean", "changed", "saving", "saved", "offline", "failed", "refused"
import { ApiError, Offline } from "./api.js";

const WAIT = 800;
const RETRY = [2000, 5000, 10000, 20000, 30000];

export class Autosave {
  constructor({ save, read, savedAt = null, onState }) {
    this.save = save;
    this.read = read;
    this.savedAt = savedAt ? new Date(savedAt) : null;
    this.onState = onState;
    this.saved = JSON.stringify(read());
    this.failures = 0;
    this.stopped = false;
    this.set(this.savedAt ? "saved" : "clean");
    setInterval(() => { if (this.state === "saved") this.onState("saved", this); }, 5000);
    addEventListener("online", () => { if (this.dirty()) this.flush(); });
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") this.leave(); });
    addEventListener("beforeunload", (event) => {
      // Only when the server could not be reached is leaving a loss.
      if (!this.stopped && this.failures && this.dirty()) event.preventDefault();
    });
  }

  set(state) {
    this.state = state;
    this.onState(state, this);
  }

  // What counts is the content; a running clock alone is no reason to write.
  dirty() { return JSON.stringify(this.read()) !== this.saved; }

  changed() {
    if (this.stopped || !this.dirty()) return;
    if (this.state !== "offline") this.set("changed");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), WAIT);
  }

  async flush() {
    clearTimeout(this.timer);
    if (this.stopped || !this.dirty()) return;
    // One write at a time, so that an older draft can never land after a newer one.
    if (this.running) { await this.running; return this.flush(); }
    this.running = this.write(this.read());
    await this.running;
    this.running = null;
  }

  async write(content) {
    if (!this.failures) this.set("saving");
    try {
      const answer = await this.save(content);
      this.saved = JSON.stringify(content);
      this.savedAt = answer?.saved_at ? new Date(answer.saved_at) : new Date();
      this.failures = 0;
      this.set("saved");
    } catch (error) {
      this.failures += 1;
      if (error instanceof ApiError && error.status === 400) {
        // Too large, or submitted already: the same again would be refused again, so the next change asks anew.
        this.why = Object.values(error.errors ?? {}).flat()[0] ?? error.message;
        return this.set("refused");
      }
      this.set(error instanceof Offline ? "offline" : "failed");
      this.timer = setTimeout(() => this.flush(), RETRY[Math.min(this.failures, RETRY.length) - 1]);
    }
  }

  leave() {
    if (this.stopped || !this.dirty()) return;
    const content = this.read();
    this.save(content, { keepalive: true }).then(() => { this.saved = JSON.stringify(content); }, () => {});
  }

  // While a submit is under way no draft may follow it: waits for the one that is being written.
  async stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running;
  }

  start() {
    this.stopped = false;
    this.changed();
  }

  ago() {
    const seconds = Math.max(0, Math.round((Date.now() - this.savedAt) / 1000));
    if (seconds < 60) return ["ago_seconds", seconds];
    if (seconds < 3600) return ["ago_minutes", Math.round(seconds / 60)];
    return ["ago_hours", Math.round(seconds / 3600)];
  }
}
