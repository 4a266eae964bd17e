// What is said about single answers: a value on each scale, and flags. Pure state, no page.
export class Judgement {
  constructor(form, letters) {
    this.form = form;
    this.letters = letters;
    this.ratings = Object.fromEntries(letters.map((letter) => [letter, {}]));
    this.flags = Object.fromEntries(letters.map((letter) => [letter, []]));
    this.history = [];
  }

  // From a draft, which may be from before the form was changed: what the form does not know is left out.
  restore({ ratings = {}, flags = {} } = {}) {
    for (const letter of this.letters) {
      for (const { key, low, high } of this.form.scales) {
        const value = ratings?.[letter]?.[key];
        if (Number.isInteger(value) && value >= low && value <= high) this.ratings[letter][key] = value;
      }
      const given = flags?.[letter];
      if (Array.isArray(given)) this.flags[letter] = this.known(given);
    }
  }

  known(keys) { return this.form.flags.map((flag) => flag.key).filter((key) => keys.includes(key)); }

  // The scales and flags that the form asks for, as the server takes them and as the draft keeps them.
  content() {
    return {
      ...(this.form.scales.length ? { ratings: structuredClone(this.ratings) } : {}),
      ...(this.form.flags.length ? { flags: structuredClone(this.flags) } : {}),
    };
  }

  // The value given again is taken back.
  rate(letter, key, value) {
    this.history.push({ letter, ratings: { ...this.ratings[letter] } });
    if (this.ratings[letter][key] === value) delete this.ratings[letter][key];
    else this.ratings[letter][key] = value;
  }

  toggle(letter, key) {
    const now = this.flags[letter];
    this.history.push({ letter, flags: now });
    this.flags[letter] = this.known(now.includes(key) ? now.filter((other) => other !== key) : [...now, key]);
  }

  undo() {
    const { letter, ratings, flags } = this.history.pop();
    if (ratings) this.ratings[letter] = ratings;
    if (flags) this.flags[letter] = flags;
    return letter;
  }

  // [{scale, letters}] of the scales that must be given and are not.
  missing() {
    return this.form.scales
      .filter((scale) => !scale.optional)
      .map((scale) => ({ scale, letters: this.letters.filter((letter) => !(scale.key in this.ratings[letter])) }))
      .filter(({ letters }) => letters.length);
  }
}
