// The order being made: which tier each letter is in. Pure state, no page.
// A zone is "1".."9" for a tier, "x" for unacceptable, "" for not placed.
export class Order {
  constructor(letters) {
    this.letters = letters;
    this.placed = Object.fromEntries(letters.map((letter) => [letter, ""]));
    this.history = [];
  }

  // From a draft: what this page saved, or what the server kept of a refused submit.
  restore({ tiers = [], unacceptable = [] } = {}) {
    tiers.slice(0, this.letters.length).forEach((tier, index) => {
      for (const letter of tier) if (letter in this.placed) this.placed[letter] = String(index + 1);
    });
    for (const letter of unacceptable) if (letter in this.placed) this.placed[letter] = "x";
  }

  // Every tier, the empty ones too, so that a restored page looks as it was left.
  draft() { return { tiers: this.allTiers(), unacceptable: this.unacceptable() }; }

  allTiers() { return this.letters.map((_, index) => this.in(String(index + 1))); }

  zoneOf(letter) { return this.placed[letter]; }

  in(zone) { return this.letters.filter((letter) => this.placed[letter] === zone); }

  place(letter, zone) {
    if (!(letter in this.placed) || this.placed[letter] === zone) return false;
    this.history.push({ letter, from: this.placed[letter] });
    this.placed[letter] = zone;
    return true;
  }

  undo() {
    const last = this.history.pop();
    if (!last) return null;
    this.placed[last.letter] = last.from;
    return last.letter;
  }

  missing() { return this.in(""); }

  unacceptable() { return this.in("x"); }

  // Tiers from best to worst; empty ones close up, so 1, 3, 4 is sent as three tiers.
  tiers() { return this.allTiers().filter((tier) => tier.length); }

  // Exactly A > B > C > D as they were shown: maybe true, maybe nobody looked.
  isShownOrder() {
    const tiers = this.tiers();
    return tiers.length === this.letters.length && tiers.every((tier, index) => tier.length === 1 && tier[0] === this.letters[index]);
  }

  // Whether to ask about it. Of two or three answers a fair order is the shown one too often to ask each time (1 in 2,
  // 1 in 6). And who went about it in another sequence than the page's, or moved an answer again, has decided.
  isLeftAsShown() {
    const places = this.history.map(({ letter }) => this.letters.indexOf(letter));
    const inSequence = places.every((place, at) => at === 0 || place > places[at - 1]);
    return this.letters.length >= 4 && inSequence && this.isShownOrder();
  }

  toString() { return this.tiers().map((tier) => tier.join(" = ")).join(" > "); }
}
