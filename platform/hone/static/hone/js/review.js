// The review page: one label, comments at its text, and a verdict.
import { ApiError, Offline, review as api } from "./api.js";
import { Autosave } from "./autosave.js";
import { drawer, toggleDrawer } from "./drawer.js";
import { guideline } from "./guideline.js";
import { keys } from "./keys.js";
import { Lease } from "./lease.js";
import { Comments } from "./review-comments.js";
import { savedLine } from "./saved.js";
import { fill } from "./strings.js";
import { showTrouble, troubleOf, whyOf } from "./trouble.js";

const work = JSON.parse(document.getElementById("work-data").textContent);
const page = document.querySelector("[data-review-page]");
const find = (name) => page.querySelector(`[data-${name}]`);
const remark = find("remark");
const verdicts = { approve: find("approve"), return: find("return"), reject: find("reject") };
const rejecting = document.getElementById("reject-dialog");
let busy = false;
let over = false;

// It lives as long as its page.
const { signal } = new AbortController();

const comments = new Comments({ page, say, onChange: () => autosave.changed() });
remark.value = typeof work.draft?.remark === "string" ? work.draft.remark : "";
comments.restore(work.draft?.comments);

const autosave = new Autosave({
  signal,
  read: () => ({ comments: comments.content(), remark: remark.value }),
  save: (content, options) => ask(api.saveDraft(work.review, { lease_token: work.lease_token, content }, options)),
  onState: savedLine(page),
});
const lease = new Lease({
  signal,
  token: work.lease_token,
  seconds: work.lease_seconds,
  renew: (token) => ask(api.renew(work.review, token)),
  onLost: end,
});

function say(text) { find("said").textContent = text; }

// Any answer takes the notice of a trouble away; a refusal because it is not ours any more ends the review.
async function ask(request) {
  try {
    const answer = await request;
    showTrouble("");
    return answer;
  } catch (error) {
    const trouble = troubleOf(error);
    showTrouble(trouble);
    if (error instanceof ApiError && error.status === 409 && !lease.uncertain) end(error.code);
    else if (trouble) lease.soon();
    throw error;
  }
}

function end(code) {
  if (over) return;
  over = true;
  lease.stop();
  autosave.stop();
  rejecting.close();
  for (const button of [...Object.values(verdicts), find("comment")]) button.disabled = true;
  find("failure").hidden = true;
  find("over-text").textContent = { label_gone: page.dataset.gone, already_submitted: page.dataset.another }[code] ?? page.dataset.lost;
  find("over").hidden = false;
  find("next").focus();
}

function fail(text) {
  find("failure-text").textContent = text;
  find("failure").hidden = false;
}

function faultOfRemark(sentence) {
  find("remark-error").textContent = sentence;
  find("remark-error").hidden = !sentence;
  remark.setAttribute("aria-invalid", String(Boolean(sentence)));
}

// Whether there is something to send; else the place that needs words has the focus.
function isWhole(verdict) {
  const empty = comments.firstEmpty();
  if (empty) { empty.area.focus(); return false; }
  if (verdict !== "return" || comments.rows.length || remark.value.trim()) return true;
  faultOfRemark(page.dataset.nothingSaid);
  remark.focus();
  return false;
}

async function decide(verdict, more = {}) {
  if (busy || over || !isWhole(verdict)) return;
  busy = true;
  verdicts[verdict].setAttribute("data-busy", "");
  find("failure").hidden = true;
  await Promise.all([autosave.stop(), lease.pause()]);
  try {
    if (!over) {
      const body = { lease_token: work.lease_token, verdict, comments: comments.content(), remark: remark.value, ...more };
      await ask(api.decide(work.review, body));
      lease.stop();
      location.assign(location.pathname);
      return;
    }
  } catch (error) {
    refused(error);
  }
  busy = false;
  verdicts[verdict].removeAttribute("data-busy");
}

function refused(error) {
  rejecting.close();
  if (over) return;
  if (error instanceof Offline) lease.doubt();
  autosave.start({ hold: error instanceof Offline });
  lease.unpause();
  const errors = error instanceof ApiError ? error.errors : null;
  for (const [field, sentences] of Object.entries(errors ?? {})) {
    const row = comments.rows[Number(field.match(/^comments\.(\d+)/)?.[1] ?? -1)];
    if (row) { comments.fault(row, sentences[0]); row.area.focus(); }
    else if (field === "remark") { faultOfRemark(sentences[0]); remark.focus(); }
  }
  fail(error instanceof Offline ? page.dataset.unknown : fill(page.dataset.failed, { why: whyOf(error) }));
}

function reject() {
  if (busy || over || !isWhole("reject")) return;
  rejecting.showModal();
}

const views = [...page.querySelectorAll("[data-view]")];
function show(view) {
  const rendered = view === "rendered";
  for (const button of views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  for (const box of page.querySelectorAll("[data-blocks]")) box.hidden = rendered;
  for (const box of page.querySelectorAll("[data-rendered]")) box.hidden = !rendered;
}
const turnView = () => show(views[0].getAttribute("aria-pressed") === "true" ? "rendered" : "written");
for (const button of views) button.addEventListener("click", () => show(button.dataset.view));

// Comments belong to the text as written.
function comment() {
  if (over) return;
  show("written");
  comments.begin();
}

// A press of the button must not take the selection away.
find("comment").addEventListener("mousedown", (event) => event.preventDefault());
find("comment").addEventListener("click", comment);
verdicts.approve.addEventListener("click", () => decide("approve"));
verdicts.return.addEventListener("click", () => decide("return"));
verdicts.reject.addEventListener("click", reject);
rejecting.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  decide("reject", { reason: new FormData(event.target).get("reason") || "" });
});
find("next").addEventListener("click", () => location.assign(location.pathname));
remark.addEventListener("input", () => { faultOfRemark(""); autosave.changed(); });
remark.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.isComposing) (comments.chosen ?? comments.blocks[0])?.focus(); });
// Back from the next label: this page may show one that is decided.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

drawer("guideline");
guideline();
keys((event, command, key) => {
  // A key held down while the next label loads would judge that one unseen.
  if (event.repeat || command || event.shiftKey && key !== "?") return;
  if (key === "c") comment();
  else if (key === "a") decide("approve");
  else if (key === "r") decide("return");
  else if (key === "x") reject();
  else if (key === "v") turnView();
  else if (key === "g") toggleDrawer("guideline");
  else if (key === "?") document.getElementById("keys-dialog").showModal();
  else return;
  event.preventDefault();
});
