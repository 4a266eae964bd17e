// Two answers: which is better and how much, as one place from -4 (the first, significantly) over 0 (a tie) to 4
// (the second). The order's tiers follow it.
const MOST = 4;

export class Strength {
  constructor(order, ties) {
    Object.assign(this, { order, ties, at: null, history: [] });
  }

  restore(draft) {
    const [first, second] = this.order.letters.map((letter) => Number(this.order.zoneOf(letter)));
    const strength = draft?.strength;
    let at = null;
    if (first && second && first === second) at = this.ties ? 0 : null;
    else if (first && second && Number.isInteger(strength) && strength >= 1 && strength <= MOST) {
      at = first < second ? -strength : strength;
    }
    this.put(at);
  }

  // Null where there is none: nothing chosen yet, or a tie.
  get value() { return this.at ? Math.abs(this.at) : null; }

  set(at) {
    if (at === this.at || (at === 0 && !this.ties)) return false;
    this.history.push(this.at);
    this.put(at);
    return true;
  }

  // One step toward the first (-1) or the second (1); from nothing, the weakest on that side.
  toward(step) {
    let at = (this.at ?? 0) + step;
    if (at === 0 && !this.ties) at = step;
    return Math.abs(at) <= MOST && this.set(at);
  }

  undo() { this.put(this.history.pop()); }

  put(at) {
    this.at = at;
    const [first, second] = this.order.letters;
    const tiers = at === null ? ["", ""] : [at > 0 ? "2" : "1", at < 0 ? "2" : "1"];
    [this.order.placed[first], this.order.placed[second]] = tiers;
  }
}
