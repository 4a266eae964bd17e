// Mixed text: every block of rendered Markdown finds its own direction. Lists, quotes and tables go as one,
// so that markers, bars and columns stand on the right side; dir="auto" overlooks children that have a dir.
export function bidi(root) {
  for (const block of root.querySelectorAll(".prose :is(p, h1, h2, h3, h4, h5, h6)")) block.dir ||= "auto";
  for (const group of root.querySelectorAll(".prose :is(ul, ol, blockquote, table)")) {
    for (const part of group.querySelectorAll("p, li, td, th, h1, h2, h3, h4, h5, h6")) part.removeAttribute("dir");
    group.dir = "auto";
  }
}
