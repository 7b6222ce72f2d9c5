// The page: images wait in a queue, are sent two at a time, and are answered as they come.

import { ask, openGate, Refused } from "./asking.js";
import { exampleOf, filesOf } from "./files.js";
import { begin, heatMap, place, placeError, printOne, remove, setOpacity, showMore } from "./results.js";
import { find, form, imageOf, images, say, showWhetherEmpty } from "./session.js";
import { download, showTable, sortBy } from "./table.js";

const AT_ONCE = 2;
const waiting = []; // numbers
const under = { way: 0, done: 0, asked: 0, stop: new AbortController() };
let lastNumber = 0;

function add(files) {
  const model = form.elements.model.value;
  [...files].forEach((file, place) => {
    lastNumber += 1;
    const name = file.name || "pasted image";
    enqueue({ number: lastNumber, name, file, model, isFirst: place === 0 });
  });
}

function addChosen(input) {
  add([...input.files]);
  input.value = "";
}

function enqueue(image) {
  images.set(image.number, image);
  waiting.push(image.number);
  under.asked += 1;
  showWhetherEmpty();
  if (under.way < AT_ONCE) work();
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
  try {
    const most = Number(form.dataset.fileBytes);
    if (image.file.size > most) {
      const size = Math.floor(most / 2 ** 20);
      throw new Refused(`The file is larger than ${size} MB.`, { action: "Send a smaller picture.", isFinal: true });
    }
    if (!image.file.size) throw new Refused("The file is empty.", { action: "Choose another file.", isFinal: true });
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
  say(`Image ${image.number}: ${find("h3", image.article).textContent}`);
  showTable();
  begin(image);
  if (image.isFirst) bringIntoView(image.article);
}

function bringIntoView(article) {
  if (article.getBoundingClientRect().top > 0.7 * innerHeight) article.scrollIntoView();
}

function tryAgain(image) {
  image.row = null;
  showTable();
  enqueue(image);
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
  openGate();
  showWhetherEmpty();
  say("Cancelled.");
}

function clearAll() {
  cancel();
  for (const image of [...images.values()]) remove(image);
  find("input[type=file]").focus();
  say("All images are forgotten.");
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
  ".again": (button) => tryAgain(imageOf(button)),
  ".print": (button) => printOne(imageOf(button)),
  ".ask-heat-map": (button) => heatMap(imageOf(button)),
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-example]");
  if (link && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    exampleOf(link).then(add);
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
  if (target.matches("input[type=file]")) addChosen(target);
  else if (target.matches(".choose select")) {
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
  filesOf(event.dataTransfer).then(add, () => say("The folder cannot be read."));
});
form.addEventListener("submit", (event) => event.preventDefault());
document.documentElement.classList.add("has-script");
chooseModel();

// What a link asked for while there was no script is asked for again, by the script.
find("#results").replaceChildren();
const example = new URLSearchParams(location.search).get("example");
if (example) find(`.about:not([hidden]) [href$="&example=${CSS.escape(example)}"]`)?.click();
addChosen(find("input[type=file]")); // by somebody who was faster than this script

// Whoever goes back to a page that was left finds nothing.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
