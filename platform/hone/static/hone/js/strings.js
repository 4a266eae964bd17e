// Translated sentences live in the template: <div id="strings" data-saved="Saved {ago}">.
// t("saved", {ago: "3 s"}) fills the braces.
const bag = document.getElementById("strings")?.dataset ?? {};

export function t(key, values = {}) {
  return fill(bag[key] ?? key, values);
}

export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Letters, labels: parts of a list inside a sentence.
export const listed = (parts) => parts.join(t("list_separator"));

const rules = new Intl.PluralRules(document.documentElement.lang || undefined);

// "words_one" is used where the language wants it and the template has it.
export function many(key, count, values = {}) {
  const form = `${key}_${rules.select(count)}`;
  return t(form in bag ? form : key, { n: number(count), ...values });
}

const format = new Intl.NumberFormat(document.documentElement.lang || undefined);
export const number = (value) => format.format(value);
