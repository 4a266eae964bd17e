// Two answers side by side with what differs marked. Letters typed in the dialog choose the pair.
import { diff } from "./diff.js";
import { FEWEST_WORDS, foldButton, isOpen, remember, wordsIn } from "./same-beginning.js";

export function diffDialog(root, answers) {
  const dialog = root.querySelector("#diff-dialog");
  const [left, right] = dialog.querySelectorAll("select");
  const sides = [...dialog.querySelectorAll("[data-diff]")];
  const texts = Object.fromEntries(answers.map((answer) => [answer.letter, answer.text]));
  let turn = 0;

  function show() {
    const parts = diff(texts[left.value], texts[right.value]);
    const [same, rest] = beginning(parts);
    fill(sides[0], rest, "gone", "del");
    fill(sides[1], rest, "new", "ins");
    if (same) fold(same);
  }

  // The text that both begin with, up to the end of a line or sentence, and the parts after it.
  function beginning(parts) {
    const [[kind, text] = [], ...rest] = parts;
    if (kind !== "same" || !rest.length) return ["", parts];
    const same = text.match(/^.*(?:\n|[.!?…]\s|[。！？])/su)?.[0] ?? "";
    return wordsIn(same) < FEWEST_WORDS ? ["", parts] : [same, [["same", text.slice(same.length)], ...rest]];
  }

  function fold(same) {
    const words = wordsIn(same);
    const folds = sides.map((side, at) => {
      const button = foldButton(words);
      const box = document.createElement("div");
      box.id = `same-diff-${at}`;
      box.className = "same-text";
      box.textContent = same.replace(/\n$/, "");
      button.setAttribute("aria-controls", box.id);
      button.addEventListener("click", () => open(box.hidden));
      side.prepend(button, box);
      return { button, box };
    });
    const open = (is) => {
      remember(is);
      for (const { button, box } of folds) {
        button.setAttribute("aria-expanded", String(is));
        box.hidden = !is;
      }
    };
    open(isOpen());
  }

  function fill(place, parts, kind, tag) {
    place.replaceChildren();
    for (const [what, text] of parts) {
      if (what === "same") place.append(text);
      else if (what === kind) {
        const mark = document.createElement(tag);
        mark.textContent = text;
        place.append(mark);
      }
    }
  }

  left.addEventListener("change", show);
  right.addEventListener("change", show);
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const letter = event.key.toUpperCase();
    if (letter === "V") dialog.close();
    else if (letter === "O") sides[0].querySelector(".same-toggle")?.click();
    else if (letter in texts) {
      (turn++ % 2 ? right : left).value = letter;
      show();
    } else return;
    event.preventDefault();
  });

  return (selected) => {
    const letters = Object.keys(texts);
    turn = 0;
    left.value = selected;
    right.value = letters[(letters.indexOf(selected) + 1) % letters.length];
    show();
    dialog.showModal();
  };
}
