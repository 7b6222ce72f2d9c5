// Asking the server: again where it is busy, and later where it is gone.

import { find, root } from "./session.js";

const MOST_TRIES = 30;
const LONGEST_WAIT_SECONDS = 60;
let gate = null; // a promise, while the server is gone
let opens = null;

class Unreachable extends Error {}
class SignedOut extends Error {}
export class Refused extends Error {
  constructor(detail, { action = "", isFinal = false } = {}) {
    super(detail);
    this.action = action;
    this.isFinal = isFinal;
  }
}

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

async function isThere() {
  try {
    await fetch(`${root}/healthz`, { cache: "no-store" });
    return true;
  } catch {
    return false;
  }
}

async function send(path, file, signal) {
  const headers = { "Content-Type": "application/octet-stream" }; // the file's name stays here
  try {
    return await fetch(`${root}/${path}`, { method: "POST", body: file, headers, signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (!(await isThere())) throw new Unreachable();
    throw new Refused("The connection ended while the image was sent.", { action: "Try again; if it ends again, the server may not take this file." });
  }
}

// Return HTML. A busy server is asked again; one that is gone, when somebody says so.
export async function ask(path, file, { signal, tell = () => {} } = {}) {
  for (let tries = 1; ; tries += 1) {
    let response;
    try {
      response = await send(path, file, signal);
      if (response.status === 401 || response.redirected) throw new SignedOut();
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof SignedOut)) throw error;
      tries = 0;
      await somebodySaysSo(error, signal);
      continue;
    }
    if ((response.status === 503 || response.status === 429) && tries < MOST_TRIES) {
      const seconds = Math.min(Number(response.headers.get("Retry-After")) || 2, LONGEST_WAIT_SECONDS);
      tell(`The server is busy; it is asked again in ${seconds} s.`);
      await pause(seconds, signal);
      continue;
    }
    if (response.headers.get("Content-Type")?.startsWith("text/html")) {
      return { html: await response.text(), isAnswered: response.ok };
    }
    const problem = await response.json().catch(() => ({}));
    throw new Refused(problem.detail || `The server answered with ${response.status}.`, { action: problem.do });
  }
}

// One banner for all that wait, until the button is pressed.
function somebodySaysSo(error, signal) {
  const isSignedOut = error instanceof SignedOut;
  find("#unreachable-words").textContent = isSignedOut
    ? "You are not signed in any more. Sign in in another tab, then try again; the results stay here."
    : "The server cannot be reached. The results stay here; start it again or check the network, then try again.";
  find("#sign-in").hidden = !isSignedOut;
  find("#sign-in").target = "_blank";
  if (!gate) {
    gate = new Promise((resolve) => { opens = resolve; });
    find("#unreachable").hidden = false;
  }
  return new Promise((resolve, reject) => {
    gate.then(resolve);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

export function openGate() {
  find("#unreachable").hidden = true;
  opens?.();
  gate = opens = null;
}
