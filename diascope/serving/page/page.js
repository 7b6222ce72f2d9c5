"use strict";

// Everything that the page knows of images lies in `images` until the page is left; nothing is stored.
const AT_ONCE = 2;
const MOST_TRIES = 30;
const LONGEST_WAIT_SECONDS = 60;

const find = (selector, within = document) => within.querySelector(selector);
const form = find("#send");
const root = form.dataset.root;
const images = new Map(); // by number: {number, name, file, model, article, row, url}
const waiting = []; // numbers
const under = { way: 0, done: 0, asked: 0, stop: new AbortController(), gate: null, opens: null };
const sorted = { key: "number", rises: true };
let lastNumber = 0;

class Unreachable extends Error {}
class SignedOut extends Error {}
class Refused extends Error {
  constructor(detail, action) {
    super(detail);
    this.action = action || "";
  }
}

// Asking the server

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
    throw new Refused("The connection ended while the image was sent.", "Try this image again.");
  }
}

// Return HTML. A busy server is asked again; one that is gone, when somebody says so.
async function ask(path, file, { signal, tell = () => {} } = {}) {
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
    throw new Refused(problem.detail || `The server answered with ${response.status}.`, problem.do);
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
  if (!under.gate) {
    under.gate = new Promise((resolve) => { under.opens = resolve; });
    find("#unreachable").hidden = false;
  }
  return new Promise((resolve, reject) => {
    under.gate.then(resolve);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

function openGate() {
  find("#unreachable").hidden = true;
  under.opens?.();
  under.gate = under.opens = null;
}

// The queue

function add(files) {
  const model = form.elements.model.value;
  for (const file of files) {
    lastNumber += 1;
    images.set(lastNumber, { number: lastNumber, name: file.name || "pasted image", file, model });
    waiting.push(lastNumber);
    under.asked += 1;
  }
  document.body.classList.toggle("has-results", images.size > 0);
  while (under.way < AT_ONCE && waiting.length) work();
  showProgress();
}

async function work() {
  under.way += 1;
  while (waiting.length) {
    const image = images.get(waiting.shift());
    if (image) await answer(image);
    under.done += 1;
    showProgress();
  }
  under.way -= 1;
  if (!under.way) {
    under.done = under.asked = 0;
    showProgress();
  }
}

async function answer(image) {
  const { signal } = under.stop;
  place(image, find("#waiting-card").content.firstElementChild.cloneNode(true));
  if (image.number === lastNumber - under.asked + 1) image.article.scrollIntoView({ block: "nearest" });
  try {
    const most = Number(form.dataset.fileBytes);
    if (image.file.size > most) {
      throw new Refused(`The file is larger than ${Math.floor(most / 2 ** 20)} MB.`, "Send a smaller picture.");
    }
    if (!image.file.size) throw new Refused("The file is empty.", "Choose another file.");
    const tell = (words) => { find(".wait-words", image.article).textContent = words; };
    const { html } = await ask(`page/predict?model=${encodeURIComponent(image.model)}`, image.file, { signal, tell });
    const given = document.createElement("template");
    given.innerHTML = html;
    place(image, given.content.firstElementChild);
  } catch (error) {
    if (signal.aborted) return remove(image);
    placeError(image, error);
  }
  image.row = JSON.parse(image.article.dataset.row);
  say(image);
  showTable();
  begin(image);
}

function placeError(image, error) {
  const card = find("#error-card").content.firstElementChild.cloneNode(true);
  find(".detail", card).textContent = error.message;
  find(".do", card).textContent = error.action ?? "";
  card.dataset.row = JSON.stringify({ error: error.message });
  place(image, card);
}

function showProgress() {
  const isBusy = under.way > 0;
  find("#progress").hidden = !isBusy;
  if (!isBusy) return;
  find("#progress-words").textContent = `${under.done} of ${under.asked} answered`;
  find("#progress-bar").max = under.asked;
  find("#progress-bar").value = under.done;
}

function cancel() {
  under.stop.abort();
  under.stop = new AbortController();
  under.asked -= waiting.length;
  for (const number of waiting.splice(0)) images.delete(number);
  find("#unreachable").hidden = true;
  under.gate = under.opens = null;
  document.body.classList.toggle("has-results", images.size > 0);
  find("#said").textContent = "Cancelled.";
}

// Results

function place(image, article) {
  find(".which", article).textContent = `Image ${image.number}: ${image.name}`;
  article.id = `image-${image.number}`;
  article.setAttribute("aria-label", `Image ${image.number}`);
  if (image.article) return finishPlacing(image, article, () => image.article.replaceWith(article));
  const later = [...images.values()].find((one) => one.article && one.number > image.number);
  return finishPlacing(image, article, () => {
    if (later) later.article.before(article);
    else find("#results").append(article);
  });
}

function finishPlacing(image, article, put) {
  put();
  image.article = article;
  const chosen = find(".chosen img", article);
  if (!chosen) return;
  image.url ??= URL.createObjectURL(image.file);
  chosen.addEventListener("load", () => { chosen.closest("figure").hidden = false; });
  chosen.src = image.url;
}

function say(image) {
  const words = find("h3", image.article).textContent;
  find("#said").textContent = `Image ${image.number}: ${words}`;
}

// What can be seen, or nearly, gets its heat map; one is made at a time.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    const image = imageOf(entry.target);
    if (image) heatMap(image);
  }
}, { rootMargin: "600px" });
let lastHeatMap = Promise.resolve();

function begin(image) {
  const part = find(".heat-map", image.article);
  if (part && !part.dataset.asks) seen.observe(part);
}

function imageOf(element) {
  const article = element.closest(".result");
  return images.get(Number(article?.id.replace("image-", "")));
}

function heatMap(image, choice = {}) {
  lastHeatMap = lastHeatMap.then(() => makeHeatMap(image, choice));
  return lastHeatMap;
}

async function makeHeatMap(image, choice) {
  const part = image.article.isConnected && find(".heat-map", image.article);
  if (!part) return;
  const opacity = find(".slider input", part)?.value;
  const focused = part.contains(document.activeElement) ? document.activeElement.className : "";
  const query = new URLSearchParams({ model: image.model, ...choice });
  part.setAttribute("aria-busy", "true");
  try {
    const { html, isAnswered } = await ask(`page/explain?${query}`, image.file);
    if (isAnswered) part.innerHTML = html;
    else part.replaceChildren(words(`There is no heat map: ${textOf(html)}`));
    if (opacity !== undefined && isAnswered) setOpacity(find(".slider input", part), opacity);
  } catch (error) {
    part.replaceChildren(words(`There is no heat map: ${error.message}`));
  }
  part.removeAttribute("aria-busy");
  if (focused) find(`select.${focused}`, part)?.focus();
}

function words(text) {
  const paragraph = document.createElement("p");
  paragraph.className = "soft";
  paragraph.textContent = text;
  return paragraph;
}

function textOf(html) {
  const given = document.createElement("template");
  given.innerHTML = html;
  return find(".detail", given.content)?.textContent ?? "";
}

function setOpacity(slider, value) {
  slider.value = value;
  find(".layer", slider.closest(".heat-view")).style.opacity = value / 100;
}

async function showMore(details) {
  const image = imageOf(details);
  const part = find(".more-content", details);
  if (!image || details.dataset.isAsked) return;
  details.dataset.isAsked = "yes";
  part.replaceChildren(words("Being made …"));
  try {
    const { html, isAnswered } = await ask(`page/details?${new URLSearchParams({ model: image.model })}`, image.file);
    if (isAnswered) part.innerHTML = html;
    else throw new Refused(textOf(html));
  } catch (error) {
    part.replaceChildren(words(error.message));
    delete details.dataset.isAsked;
  }
}

function remove(image) {
  const after = image.article?.nextElementSibling ?? image.article?.previousElementSibling;
  if (image.article?.contains(document.activeElement)) (find(".remove", after ?? form) ?? find("input[type=file]")).focus();
  image.article?.remove();
  if (image.url) URL.revokeObjectURL(image.url);
  images.delete(image.number);
  document.body.classList.toggle("has-results", images.size > 0);
  showTable();
}

function clearAll() {
  cancel();
  for (const image of [...images.values()]) remove(image);
  find("#results").replaceChildren();
  lastNumber = 0;
  find("input[type=file]").focus();
  find("#said").textContent = "All images are forgotten.";
}

// The table and its file

const answered = () => [...images.values()].filter((image) => image.row);
const percent = (text) => {
  const value = Number(text);
  if (value > 0 && value <= 0.005) return "under 1 %";
  if (value >= 0.995 && value < 1) return "over 99 %";
  return `${(100 * value).toFixed(0)} %`;
};
const decisionOf = (row) => (row.error ? "not answered" : row.decision);
const shown = {
  number: (image) => String(image.number),
  name: (image) => image.name,
  decision: ({ row }) => decisionOf(row),
  probability: ({ row }) => (row.probability ? percent(row.probability) : ""),
  set: ({ row }) => (row.set ? row.set.join(", ") || "empty" : ""),
  ood_score: ({ row }) => (row.ood_score ? Number(row.ood_score).toFixed(2) : ""),
  verdict: ({ row }) => row.verdict ?? "",
};
const sortsBy = {
  ...shown,
  number: (image) => image.number,
  probability: ({ row }) => (row.probability ? Number(row.probability) : null),
  ood_score: ({ row }) => (row.ood_score ? Number(row.ood_score) : null),
};

function compare(first, second) {
  const [a, b] = [sortsBy[sorted.key](first), sortsBy[sorted.key](second)];
  const isNone = (value) => value === null || value === "";
  if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) || first.number - second.number; // these last
  const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return (sorted.rises ? order : -order) || first.number - second.number;
}

function showTable() {
  const rows = answered().sort(compare).map((image) => {
    const line = document.createElement("tr");
    line.className = image.row.error ? "error" : image.row.decision === "withheld" ? "withheld" : "";
    for (const [key, text] of Object.entries(shown)) {
      const cell = document.createElement("td");
      cell.className = ["number", "probability", "ood_score"].includes(key) ? "n" : key;
      if (key === "name") {
        const link = document.createElement("a");
        link.href = `#image-${image.number}`;
        link.textContent = text(image);
        cell.append(link);
      } else cell.textContent = text(image);
      line.append(cell);
    }
    return line;
  });
  find("#rows").replaceChildren(...rows);
  find("#session").hidden = !rows.length;
}

function sortBy(button) {
  const { key } = button.dataset;
  sorted.rises = sorted.key === key ? !sorted.rises : true;
  sorted.key = key;
  for (const head of document.querySelectorAll("#session th")) head.removeAttribute("aria-sort");
  button.closest("th").setAttribute("aria-sort", sorted.rises ? "ascending" : "descending");
  showTable();
}

// A spreadsheet runs what begins with one of these as a formula, so a text that does gets an apostrophe.
const defused = (text) => (/^\s*'*[=+\-@\t\r]/.test(text) ? `'${text}` : text);
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function csv() {
  const all = answered().sort(compare);
  const classes = [...new Set(all.flatMap(({ row }) => Object.keys(row.probabilities ?? {})))];
  const text = (value) => quoted(defused(value ?? ""));
  const head = ["number", "image", "sha256", "decision", ...classes.map((name) => `probability ${name}`),
    "prediction_set", "refer_reason", "ood_score", "heat_map", "model", "model_digest", "rule", "error"];
  const lines = all.map(({ number, name, row }) => [
    String(number), text(name), row.sha256 ?? "", text(decisionOf(row)),
    ...classes.map((one) => row.probabilities?.[one] ?? ""),
    text(row.set?.join("; ")), text(row.refer), row.ood_score ?? "", text(row.verdict),
    text(row.model), row.digest ?? "", text(row.rule), text(row.error),
  ]);
  return [head.map(text), ...lines].map((cells) => `${cells.join(",")}\r\n`).join("");
}

function download() {
  const url = URL.createObjectURL(new Blob(["\ufeff", csv()], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = "diascope-images.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// Paper

async function printOne(image) {
  await lastHeatMap;
  document.body.classList.add("printing-one");
  image.article.classList.add("printed");
  addEventListener("afterprint", () => {
    document.body.classList.remove("printing-one");
    image.article.classList.remove("printed");
  }, { once: true });
  print();
}

// Files from everywhere

async function filesIn(entry) {
  if (entry.isFile) return entry.name.startsWith(".") ? [] : [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) break;
    for (const one of part) found.push(...await filesIn(one));
  }
  return found;
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return add(transfer.files);
  const found = [];
  for (const entry of entries) if (entry) found.push(...await filesIn(entry));
  return add(found);
}

async function tryExample(link) {
  try {
    const response = await fetch(link.dataset.example);
    if (!response.ok) throw new Error();
    add([new File([await response.blob()], link.dataset.name, { type: "image/png" })]);
  } catch {
    find("#said").textContent = "The example cannot be loaded.";
  }
}

function chooseModel() {
  for (const part of document.querySelectorAll(".about")) part.hidden = part.dataset.model !== form.elements.model.value;
}

const clicks = {
  "#cancel": cancel,
  "#retry": openGate,
  "#clear": clearAll,
  "#download": download,
  "th button": sortBy,
  ".remove": (button) => remove(imageOf(button)),
  ".print": (button) => printOne(imageOf(button)),
  ".ask-heat-map": (button) => heatMap(imageOf(button)),
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-example]");
  if (link && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    tryExample(link);
  }
  for (const [selector, act] of Object.entries(clicks)) {
    const button = event.target.closest(selector);
    if (button) act(button);
  }
});
document.addEventListener("input", (event) => {
  if (event.target.matches(".slider input")) setOpacity(event.target, event.target.value);
});
document.addEventListener("change", (event) => {
  const { target } = event;
  if (target.matches("input[type=file]")) {
    add([...target.files]);
    target.value = "";
  } else if (target.matches(".choose select")) {
    const part = target.closest(".choose");
    const choice = { target: find(".target", part).value };
    const method = find(".method", part);
    if (method) choice.method = method.value;
    heatMap(imageOf(target), choice);
  } else if (target.matches(".drop select")) chooseModel();
});
document.addEventListener("toggle", (event) => {
  if (event.target.matches(".more") && event.target.open) showMore(event.target);
}, true);
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add([...event.clipboardData.files]);
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    form.classList.add("is-over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("is-over");
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  form.classList.remove("is-over");
  dropped(event.dataTransfer);
});
form.addEventListener("submit", (event) => event.preventDefault());
document.documentElement.classList.add("has-script");
find("#results").replaceChildren(); // what a form or a link without this script had asked for
chooseModel();
