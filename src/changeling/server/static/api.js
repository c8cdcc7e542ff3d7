// Requests to the service, again if it is busy, down for a while, or asks for a key.

import { text } from "./text.js";

const LONGEST_WAIT = 15; // seconds between attempts
const ATTEMPTS = 3; // of what fails while the service answers other requests
const BUSY_STATUSES = new Set([429, 503]); // the service is there, and says when to come back
const UNCERTAIN_STATUSES = new Set([408, 500, 502, 504]);

let key = null; // in memory only

export function setKey(value) {
  key = value;
}

export class ServiceError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function detect(picture, { stable, signal }) {
  return send(`/v1/detect?evidence=true&stable=${stable}`, { method: "POST", body: makeForm(picture), signal });
}

export function explain(picture, { signal }) {
  return send("/v1/explain", { method: "POST", body: makeForm(picture), signal });
}

export async function evaluate(verdicts) {
  const headers = { "Content-Type": "application/json" };
  return (await send("/v1/evaluate", { method: "POST", body: JSON.stringify({ verdicts }), headers })).evaluation;
}

export async function describeModel() {
  return (await send("/v1/models", {})).models[0];
}

// The bytes of the file as it is on disk: nothing is drawn, scaled or encoded here.
function makeForm(picture) {
  const form = new FormData();
  form.append("images", picture.blob, picture.name);
  return form;
}

async function send(path, { headers = {}, ...options }) {
  const authorization = key === null ? {} : { Authorization: `Bearer ${key}` };
  const response = await fetch(path, { ...options, headers: { ...headers, ...authorization } });
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  const message = body.error?.message ?? text.httpError(response.status);
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  throw new ServiceError(response.status, message, retryAfter);
}

async function isAlive(signal) {
  try {
    return (await fetch("/healthz", { signal })).ok;
  } catch {
    return false;
  }
}

export function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// Call `request` until it is answered. `notify({request, kind, seconds})` is called before each wait, and with kind null at
// the end; `askForKey()` resolves when there is another key to try. Throws what cannot be helped: ServiceError, or an abort.
export async function sendWithRetries(request, { signal, notify, askForKey }) {
  try {
    return await retry(request, { signal, notify: (status) => notify({ request, ...status }), askForKey });
  } finally {
    notify({ request, kind: null });
  }
}

async function retry(request, { signal, notify, askForKey }) {
  let failures = 0;
  let wait = 1;
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (signal?.aborted) throw error;
      if (error instanceof ServiceError) {
        if (error.status === 401) {
          await askForKey();
          continue;
        }
        if (UNCERTAIN_STATUSES.has(error.status)) failures += 1;
        else if (!BUSY_STATUSES.has(error.status)) throw error;
        if (failures >= ATTEMPTS) throw error;
        wait = error.retryAfter ?? Math.min(2 * wait, LONGEST_WAIT);
        notify({ kind: "busy", seconds: wait });
      } else {
        if (await isAlive(signal)) failures += 1;
        if (failures >= ATTEMPTS) throw new ServiceError(0, text.brokenUpload, null);
        notify({ kind: "unreachable", seconds: wait });
      }
      await sleep(wait, signal);
      if (!(error instanceof ServiceError)) wait = Math.min(2 * wait, LONGEST_WAIT);
    }
  }
}
