// What the network refused is kept in this browser, one text for each person and item, until the server has it.
// It is bounded, forgets itself after two weeks, and goes with the log-out.
const PREFIX = "hone-kept:";
const LONGEST = 400_000;
const MOST = 20;
const DAYS = 14;

// By item, as drafts are: of one that several people do, the same person may get another place back.
const keyOf = (user, item) => `${PREFIX}${user}:${item}`;

function entries() {
  const found = [];
  for (let at = 0; at < localStorage.length; at += 1) {
    const key = localStorage.key(at);
    if (!key?.startsWith(PREFIX)) continue;
    let value = null;
    try { value = JSON.parse(localStorage.getItem(key)); } catch { /* removed below */ }
    found.push({ key, at: Number(value?.at) || 0, content: value?.content ?? null });
  }
  return found.sort((one, other) => other.at - one.at);
}

// Storage may be full or forbidden: then the page still holds the text, and says that it is not saved.
function quietly(act) {
  try { return act(); } catch { return null; }
}

export const keep = (user, item, content) => quietly(() => {
  const text = JSON.stringify({ at: Date.now(), content });
  if (text.length > LONGEST) return;
  localStorage.setItem(keyOf(user, item), text);
  for (const old of entries().slice(MOST)) localStorage.removeItem(old.key);
});

export const kept = (user, item) => quietly(() => {
  const oldest = Date.now() - DAYS * 86_400_000;
  for (const entry of entries()) if (!entry.content || entry.at < oldest) localStorage.removeItem(entry.key);
  return entries().find((entry) => entry.key === keyOf(user, item)) ?? null;
});

export const drop = (user, item) => quietly(() => localStorage.removeItem(keyOf(user, item)));

// On a shared computer nobody's text outlasts their session there: `except` is who is logged in now.
export const dropAll = ({ except = null } = {}) => quietly(() => {
  for (const entry of entries()) {
    if (except === null || !entry.key.startsWith(`${PREFIX}${except}:`)) localStorage.removeItem(entry.key);
  }
});
