// What stands between the page and the server, as one notice: <div data-trouble="offline" hidden>.
import { ApiError, Offline } from "./api.js";
import { t } from "./strings.js";

// A refusal (400, 409) is an answer like others, so it is no trouble.
export function troubleOf(error) {
  if (error instanceof Offline) return "offline";
  if (!(error instanceof ApiError)) return "";
  if (error.status === 401 || error.status === 403) return "logged_out";
  if (error.status === 404) return "removed";
  return error.status >= 500 ? "server" : "";
}

// The server's sentences end with a stop; inside one of ours they go on.
export const bare = (sentence) => sentence.trim().replace(/[.。]$/, "");

export const firstSentence = (errors) => (errors ? Object.values(errors).flat()[0] : "");

export function whyOf(error) {
  const trouble = troubleOf(error);
  return trouble ? t(`why_${trouble}`) : bare(firstSentence(error.errors) || error.message);
}

// By itself it says the same again, on a part of the page that has just appeared.
let present = "";
export function showTrouble(kind = present) {
  present = kind;
  for (const notice of document.querySelectorAll("[data-trouble]")) notice.hidden = notice.dataset.trouble !== kind;
}
