// The write page: a conversation given or begun here, ending with the response.
import { Checks } from "./checks.js";
import { Editor } from "./editor.js";
import { keys } from "./keys.js";
import { Session } from "./session.js";
import { t } from "./strings.js";
import { toast } from "./toast.js";

export function start(page, work, desk) {
  const find = (selector) => page.querySelector(selector);
  const place = find("[data-editors]");
  const note = find("[data-note]");
  const systemButton = find("[data-add-system]");
  const summary = find("[data-error-summary]");
  const given = (work.prompt?.messages ?? []).map(({ role, content }) => ({ role, content }));

  // Asked only of those who write the prompt too.
  const about = [...page.querySelectorAll("[data-about]")];
  const readAbout = () => Object.fromEntries(about.map((field) => [field.name, field.value.trim()]));

  // Removed turns stay in `all`, so that they come back at their place whatever was added since.
  let all = [];
  let editors = [];
  let session = null;
  let checks = null;
  let asking = false; // the last checks, before a submit

  // With a prompt the first editor answers it; without one the person writes the prompt too.
  const first = given.length ? ["assistant"] : ["user", "assistant"];

  function make(role, content = "", removable = false) {
    const editor = new Editor({
      role,
      content,
      removable,
      limits: work.limits ?? {},
      label: "",
      onChange: changed,
      onRemove: () => remove(editor),
    });
    return editor;
  }

  function changed() {
    session?.changed();
    checks?.changed();
  }

  // What the server kept of a refused submit is the whole conversation; the given turns are not ours to edit.
  function own(messages) {
    if (!Array.isArray(messages)) return [];
    const whole = given.length && given.every((turn, index) => messages[index]?.role === turn.role && messages[index]?.content === turn.content);
    return whole ? messages.slice(given.length) : messages;
  }

  function start(messages) {
    const usable = messages.length >= first.length;
    const wanted = usable ? messages : first.map((role) => ({ role, content: "" }));
    const base = first.length + (wanted[0].role === "system" ? 1 : 0);
    all = wanted.map(({ role, content }, index) => make(role, content, role === "system" || (role === "user" && index >= base)));
    layOut();
  }

  function layOut() {
    editors = all.filter((editor) => !editor.removed);
    let turn = given.filter((message) => message.role === "user").length;
    const several = editors.filter((editor) => editor.role === "assistant").length > 1;
    for (const editor of editors) {
      if (editor.role === "user") turn += 1;
      const role = t(`role_${editor.role}`);
      editor.setLabel(several && editor.role !== "system" ? t("turn", { role, n: turn }) : role);
    }
    // Only what is new or gone moves: moving a textarea would drop its focus.
    for (const child of [...place.children]) if (!editors.some((editor) => editor.box === child)) child.remove();
    editors.forEach((editor, index) => {
      if (place.children[index] !== editor.box) place.insertBefore(editor.box, place.children[index] ?? null);
      editor.grow();
    });
    if (systemButton) systemButton.hidden = editors[0]?.role === "system";
  }

  function addTurn() {
    const user = make("user", "", true);
    all.push(user, make("assistant"));
    layOut();
    user.focus();
    changed();
  }

  function addSystem() {
    const editor = make("system", "", true);
    all.unshift(editor);
    layOut();
    editor.focus();
    changed();
  }

  // A turn goes as a pair, and comes back by Undo.
  function remove(editor) {
    const at = editors.indexOf(editor);
    const gone = editors.slice(at, editor.role === "user" ? at + 2 : at + 1);
    for (const each of gone) each.removed = true;
    layOut();
    editors[Math.max(at - 1, 0)].focus();
    changed();
    if (!gone.some((each) => each.content)) return;
    toast(t("turn_removed"), { seconds: 10, action: { label: t("undo"), run: () => bringBack(gone) } });
  }

  function bringBack(gone) {
    // Only one system message fits: a newer one goes on below the old text.
    const newer = gone[0].role === "system" && editors.find((each) => each.role === "system");
    if (newer) newer.area.value = [gone[0].content, newer.content].filter((text) => text.trim()).join("\n\n");
    else for (const each of gone) each.removed = false;
    layOut();
    (newer || gone[0]).focus();
    changed();
  }

  // An empty system message is no message.
  const sent = () => editors.filter((editor) => editor.role !== "system" || editor.content.trim());

  function showErrors(found) {
    const list = summary.querySelector("ul");
    list.replaceChildren();
    for (const { editor, text } of found) {
      const item = document.createElement("li");
      if (editor) {
        const link = document.createElement("a");
        link.href = `#${editor.area.id}`;
        link.textContent = t("labelled", { label: editor.find("label").textContent, text });
        link.addEventListener("click", (event) => { event.preventDefault(); editor.focus(); });
        item.append(link);
      } else {
        item.textContent = text;
      }
      list.append(item);
    }
    for (const editor of editors) editor.setErrors(found.filter((each) => each.editor === editor).map((each) => each.text));
    summary.hidden = found.length === 0;
    if (found.length) {
      summary.focus();
      summary.scrollIntoView({ block: "nearest" });
    }
  }

  // "messages.3.content" counts the whole conversation; the given turns have no editor.
  function editorFor(field) {
    const index = field.match(/^messages\W+(\d+)/);
    if (index) return sent()[Number(index[1]) - given.length];
    return field === "messages" || field === "content" ? editors.at(-1) : undefined;
  }

  async function submit() {
    if (asking) return;
    const found = sent().flatMap((editor) => editor.check().map((text) => ({ editor, text })));
    showErrors(found);
    if (found.length) return;
    asking = true;
    const first = await checks.firstBlock().finally(() => { asking = false; });
    if (desk.current?.session !== session) return; // another item is in hand by now
    if (first) first.editor.focusFinding(first.block);
    else session.submit();
  }

  function fill(draft) {
    note.value = draft?.note ?? "";
    if (note.value) note.closest("details").open = true;
    for (const field of about) if (draft?.[field.name]) field.value = draft[field.name];
    start(own(draft?.messages));
  }

  for (const field of about) field.addEventListener("input", () => session.changed());
  fill(work.draft);

  session = new Session({
    root: page,
    work,
    desk,
    // Only what the page itself can know: whether the rules let it pass is found out at the server.
    isNearlyDone: () => sent().every((editor) => !editor.check().length && editor.content.length >= (editor.wanted()[0] ?? 0)),
    readDraft: () => ({ messages: editors.map((editor) => editor.message), note: note.value, ...readAbout() }),
    readBody: () => ({
      messages: [...given, ...sent().map((editor) => editor.message)],
      note: note.value.trim(),
      ...readAbout(),
      guideline_version: work.guideline?.number ?? null,
    }),
    restore: (content) => { fill(content); checks.changed(); },
    onErrors: (errors) => showErrors(Object.entries(errors).flatMap(([field, sentences]) => [sentences].flat().map((text) => ({ editor: editorFor(field), text })))),
  });
  checks = new Checks({
    slot: work.slot,
    enabled: work.limits?.checked,
    read: () => [...given, ...sent().map((editor) => editor.message)],
    editors: () => editors,
    editorOf: (index) => sent()[index - given.length],
  });
  const submitButton = find("[data-submit]");
  session.onChange = () => { submitButton.disabled = session.gone; };

  note.addEventListener("input", () => session.changed());
  find("[data-add-turn]").addEventListener("click", addTurn);
  systemButton?.addEventListener("click", addSystem);
  submitButton.addEventListener("click", submit);

  keys((event, command, key) => {
    // Held down it would submit the next item too.
    if (command && key === "Enter") { event.preventDefault(); if (!event.repeat) submit(); }
    else if (command && !event.shiftKey && key === "s") { event.preventDefault(); session.autosave.flush(); }
    else if (!command && key === "?") { event.preventDefault(); document.getElementById("keys-dialog").showModal(); }
  }, { root: page, signal: session.signal });
  return session;
}
