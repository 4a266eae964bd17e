// One way to call the API: JSON in, JSON out, the CSRF header, and an error that says what happened.
export class ApiError extends Error {
  constructor(status, body) {
    super(body?.detail || `HTTP ${status}`);
    this.status = status;
    this.code = body?.code || "";
    this.errors = body?.errors || null;
  }
}

// No whole answer: no network, the server is down, or it took too long.
export class Offline extends Error {}

const PATIENCE = 30_000;

function csrfToken() {
  const cookie = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  return cookie ? decodeURIComponent(cookie[1]) : document.querySelector('meta[name="csrf-token"]')?.content || "";
}

export async function call(method, path, body, { keepalive = false } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      keepalive,
      // One that outlives its page keeps nobody waiting.
      signal: keepalive ? undefined : AbortSignal.timeout(PATIENCE),
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken() },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw new Offline(error.message);
  }
  if (response.status === 204) return null;
  let data = null;
  try {
    data = await response.json();
  } catch (error) {
    // Cut off on the way, or a page of something in between: nobody knows what the server said.
    if (response.ok) throw new Offline(error.message);
  }
  if (response.status >= 502 && response.status <= 504) throw new Offline(`HTTP ${response.status}`);
  if (!response.ok) throw new ApiError(response.status, data);
  return data;
}

export const work = {
  next: (project, kind) => call("POST", `/api/v1/projects/${encodeURIComponent(project)}/work/${kind}/next/`, {}),
  renew: (slot, leaseToken) => call("POST", `/api/v1/work/${slot}/renew/`, { lease_token: leaseToken }),
  // The item's key says that it was ours, also when the lease is lost.
  saveDraft: ({ slot, item_key }, content, options) => call("PUT", `/api/v1/work/${slot}/draft/`, { content, item_key }, options),
  check: (slot, messages) => call("POST", `/api/v1/work/${slot}/check/`, { messages }),
  takeBack: (slot, clientKey) => call("POST", `/api/v1/work/${slot}/take-back/`, { client_key: clientKey }),
  giveBack: (slot, leaseToken) => call("POST", `/api/v1/work/${slot}/give-back/`, { lease_token: leaseToken }, { keepalive: true }),
  submit: ({ slot, item_key }, body) => call("POST", `/api/v1/work/${slot}/submit/`, { item_key, ...body }),
  skip: (slot, body) => call("POST", `/api/v1/work/${slot}/skip/`, body),
};

// The part of the page that shows the item after this one, or null.
export async function fetchAhead(slot, leaseToken) {
  const response = await fetch(`${location.pathname}ahead/`, {
    method: "POST",
    credentials: "same-origin",
    redirect: "manual", // to the log-in page
    signal: AbortSignal.timeout(PATIENCE),
    headers: { "X-CSRFToken": csrfToken() },
    body: new URLSearchParams({ slot_id: slot, lease_token: leaseToken }),
  });
  return response.status === 200 ? response.text() : null;
}

export const review = {
  renew: (review, leaseToken) => call("POST", `/api/v1/reviews/${review}/renew/`, { lease_token: leaseToken }),
  saveDraft: (review, body, options) => call("PUT", `/api/v1/reviews/${review}/draft/`, body, options),
  decide: (review, body) => call("POST", `/api/v1/reviews/${review}/decide/`, body),
};

export const preview = (text) => call("POST", "/api/v1/preview/", { text });
