// Seconds of real work on an item: it is on the page, the page is visible, and somebody touched it within the last minute.
const IDLE_AFTER = 60_000;
// What one tick may add: a machine that slept, or a tab that was held back, worked no longer than this.
const MOST = 2_000;

export class Clock {
  // `key` names this person's item: what was counted outlasts a reload of the tab, also before there is a draft.
  constructor({ seconds = 0, key = "", root, signal }) {
    this.key = key && `hone-clock:${key}`;
    this.root = root;
    this.elapsed = Math.max(seconds, this.stored()) * 1000;
    // Not Date.now(), which jumps when somebody sets the machine's clock.
    this.ticked = this.touched = performance.now();
    for (const name of ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchstart"]) {
      document.addEventListener(name, () => { this.touched = performance.now(); }, { passive: true, capture: true, signal });
    }
    const timer = setInterval(() => this.tick(), 1000);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  get seconds() { return Math.floor(this.elapsed / 1000); }

  tick() {
    const now = performance.now();
    const passed = Math.min(now - this.ticked, MOST);
    this.ticked = now;
    if (!this.root.isConnected || document.visibilityState !== "visible" || now - this.touched > IDLE_AFTER) return;
    this.elapsed += passed;
    this.store();
    this.onTick?.();
  }

  stored() {
    try { return Number(this.key && sessionStorage.getItem(this.key)) || 0; } catch { return 0; }
  }

  store() {
    try { if (this.key) sessionStorage.setItem(this.key, this.seconds); } catch { /* it lasts for this page only */ }
  }

  // The item is done: the next one begins at nothing.
  forget() {
    try { sessionStorage.removeItem(this.key); } catch { /* nothing was kept */ }
    this.key = "";
  }

  text() {
    const two = (n) => String(n).padStart(2, "0");
    return `${two(Math.floor(this.seconds / 3600))}:${two(Math.floor(this.seconds / 60) % 60)}:${two(this.seconds % 60)}`;
  }
}
