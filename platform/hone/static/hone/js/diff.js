// Word diff of two texts by longest common subsequence. Words come from Intl.Segmenter, which also splits Chinese.
// The table of a diff grows with the product of the lengths: what is too large for words goes by sentences, then by
// lines, then as one piece, so that the page never stalls.
const MOST_CELLS = 12_000_000;
const GRAINS = ["word", "sentence", "line"];

function pieces(text, grain) {
  if (grain === "line") return text.split(/(?<=\n)/u);
  if (!Intl.Segmenter) return text.split(grain === "word" ? /(\s+|[^\p{L}\p{N}]+)/u : /(?<=[.!?。！？\n])/u).filter(Boolean);
  return Array.from(new Intl.Segmenter(undefined, { granularity: grain }).segment(text), (part) => part.segment);
}

// [["same" | "gone" | "new", text], ...]
export function diff(before, after) {
  return join(compared(before, after, GRAINS));
}

// What both begin and end with costs nothing; only what is left is held against the table's bound.
function compared(before, after, [grain, ...coarser]) {
  const a = pieces(before, grain);
  const b = pieces(after, grain);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let endA = a.length;
  let endB = b.length;
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA -= 1; endB -= 1; }
  const same = (text) => ["same", text];
  return [...a.slice(0, start).map(same), ...left(a.slice(start, endA), b.slice(start, endB), coarser), ...a.slice(endA).map(same)];
}

function left(a, b, coarser) {
  if (a.length * b.length <= MOST_CELLS) return middle(a, b);
  if (coarser.length) return compared(a.join(""), b.join(""), coarser);
  return [["gone", a.join("")], ["new", b.join("")]];
}

function middle(a, b) {
  const width = b.length + 1;
  const best = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const parts = [];
  let gone = [];
  let fresh = [];
  const flush = () => {
    parts.push(...gone.map((text) => ["gone", text]), ...fresh.map((text) => ["new", text]));
    gone = [];
    fresh = [];
  };
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const value = best[i * width + j];
    if (a[i] === b[j]) { flush(); parts.push(["same", a[i]]); i += 1; j += 1; }
    // One word for another, where that loses nothing; otherwise texts that repeat themselves drift apart.
    else if (best[(i + 1) * width + j + 1] === value) { gone.push(a[i]); fresh.push(b[j]); i += 1; j += 1; }
    else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) { gone.push(a[i]); i += 1; }
    else { fresh.push(b[j]); j += 1; }
  }
  gone.push(...a.slice(i));
  fresh.push(...b.slice(j));
  flush();
  return parts;
}

function join(parts) {
  const joined = [];
  for (const [kind, text] of parts) {
    if (joined.at(-1)?.[0] === kind) joined.at(-1)[1] += text;
    else joined.push([kind, text]);
  }
  return joined;
}
