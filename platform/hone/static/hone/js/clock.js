// Seconds of real work on an item: it is on the page, the page is visible, and somebody touched it within the last minute.
const IDLE_AFTER = 60_000;

export class Clock {
  constructor({ seconds = 0, root, signal }) {
    this.seconds = seconds;
    this.root = root;
    this.touched = Date.now();
    for (const name of ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchstart"]) {
      document.addEventListener(name, () => { this.touched = Date.now(); }, { passive: true, capture: true, signal });
    }
    const timer = setInterval(() => this.tick(), 1000);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  tick() {
    if (!this.root.isConnected || document.visibilityState !== "visible" || Date.now() - this.touched > IDLE_AFTER) return;
    this.seconds += 1;
    this.onTick?.();
  }

  text() {
    const two = (n) => String(n).padStart(2, "0");
    return `${two(Math.floor(this.seconds / 3600))}:${two(Math.floor(this.seconds / 60) % 60)}:${two(this.seconds % 60)}`;
  }
}
