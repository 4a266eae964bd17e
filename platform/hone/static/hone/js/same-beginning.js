// Where all answers begin with the same blocks, they are folded into one quiet line: what differs is what is judged.
// Whole blocks of the rendered Markdown only, so that no list, table or code is cut. Open or shut is remembered.
import { many, t } from "./strings.js";

// Shorter beginnings are read faster than a line about them.
export const FEWEST_WORDS = 40;

export function wordsIn(text) {
  if (!Intl.Segmenter) return text.split(/\s+/).filter(Boolean).length;
  let count = 0;
  for (const part of new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)) count += part.isWordLike ? 1 : 0;
  return count;
}

const storeOf = () => `hone-same-beginning:${document.querySelector('meta[name="user"]')?.content ?? ""}`;

export function isOpen() {
  try { return localStorage.getItem(storeOf()) === "open"; } catch { return false; }
}

export function remember(open) {
  try { localStorage.setItem(storeOf(), open ? "open" : "shut"); } catch { /* for this page only */ }
}

export function foldButton(words) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "same-toggle";
  button.textContent = many("same_beginning", words);
  return button;
}

// How many blocks stand first in every one of them. Each keeps one block of its own, or it would look empty.
function shared(bodies) {
  const most = Math.min(...bodies.map((body) => body.children.length)) - 1;
  let count = 0;
  while (count < most && bodies.every((body) => body.children[count].isEqualNode(bodies[0].children[count]))) count += 1;
  return count;
}

// Returns the toggle of all of them together, or null where nothing is folded.
export function foldSameBeginning(bodies, said) {
  if (bodies.length < 2) return null;
  const count = shared(bodies);
  if (count < 1) return null;
  const words = wordsIn([...bodies[0].children].slice(0, count).map((block) => block.textContent).join(" "));
  if (words < FEWEST_WORDS) return null;
  const folds = bodies.map((body, at) => {
    const button = foldButton(words);
    const box = document.createElement("div");
    box.className = "same-text prose";
    box.id = `same-text-${at}`;
    button.setAttribute("aria-controls", box.id);
    box.append(...[...body.children].slice(0, count));
    body.prepend(button, box);
    button.addEventListener("click", () => toggle());
    return { button, box };
  });

  function show(open) {
    for (const { button, box } of folds) {
      button.setAttribute("aria-expanded", String(open));
      box.hidden = !open;
    }
  }

  function toggle() {
    const open = folds[0].box.hidden;
    show(open);
    remember(open);
    said?.(t(open ? "same_shown" : "same_hidden"));
  }

  show(isOpen());
  return toggle;
}
