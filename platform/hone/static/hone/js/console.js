// The console's pages: polled parts that change in place, tables as CSV.
import { copyCsv } from "./console-csv.js";
import { morph } from "./console-morph.js";
import { localTimes } from "./times.js";

// Polled parts: hx-swap="calm" writes only what differs, so focus, selection, open folds and dialogs stay. --------
const said = document.querySelector("[data-said]");
const lost = document.querySelector("[data-lost]");

function atEnd(box) {
  return box.scrollHeight - box.scrollTop - box.clientHeight < 24;
}

function calm(target, fragment) {
  const fresh = fragment.firstElementChild;
  if (!fresh) return [target];
  localTimes(fragment);
  const following = [...target.querySelectorAll("[data-follow]")].filter(atEnd).map((box) => box.id);
  const before = target.dataset.say;
  morph(target, fresh);
  for (const id of following) toEnd(document.getElementById(id));
  if (said && target.dataset.say !== before) said.textContent = target.dataset.say ?? "";
  return [target];
}

function toEnd(box) {
  if (box) box.scrollTop = box.scrollHeight;
}
for (const box of document.querySelectorAll("[data-follow]")) toEnd(box);

htmx.defineExtension("calm", {
  isInlineSwap: (style) => style === "calm",
  handleSwap: (style, target, fragment) => (style === "calm" ? calm(target, fragment) : false),
});

// A hidden tab asks for nothing, nor does a part whose last answer has ended its polling: the tick that still comes then
// (queued behind that answer, or before htmx settles) would find no hx-swap and replace what is kept.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden || !event.target.hasAttribute("data-live")) event.preventDefault();
});
const setLost = (isLost) => lost?.toggleAttribute("hidden", !isLost);
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.target.hasAttribute("data-live")) setLost(!event.detail.successful);
});
// A login page in place of the polled part: the session has ended.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (xhr.responseURL && new URL(xhr.responseURL).pathname !== new URL(requestConfig.path, location.href).pathname) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});

// A stage of the strip opens its details. --------------------------------------------------------------------------
function openFromAddress() {
  const name = decodeURIComponent(location.hash.slice(1));
  const found = name && document.getElementById(name);
  if (found instanceof HTMLDetailsElement) {
    found.open = true;
    found.scrollIntoView({ block: "start" });
    found.querySelector("summary").focus({ preventScroll: true });
  }
}
addEventListener("hashchange", openFromAddress);
document.addEventListener("click", (event) => {
  const box = event.target.closest('.stage-box[href^="#"]');
  if (box && box.getAttribute("href") === location.hash) openFromAddress();
});
openFromAddress();

// Tables as CSV. ---------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-csv]");
  if (!button) return;
  const rows = [...document.getElementById(button.dataset.csv).rows].filter((row) => !row.hasAttribute("data-extra"));
  const text = (cell) => cell.innerText.trim().replace(/\s+/g, " ");
  copyCsv(rows.map((row) => [...row.cells].map(text)), button.dataset.copied);
});
