// The results: their articles, heat maps and more, and one of them on paper.

import { ask, Refused } from "./asking.js";
import { find, form, imageOf, images, showWhetherEmpty } from "./session.js";
import { showTable } from "./table.js";

export function place(image, article) {
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

export function begin(image) {
  const part = find(".heat-map", image.article);
  if (part && !part.dataset.asks) seen.observe(part);
}

export function heatMap(image, choice = {}) {
  lastHeatMap = lastHeatMap.then(() => makeHeatMap(image, choice));
  return lastHeatMap;
}

async function makeHeatMap(image, choice) {
  const part = image.article.isConnected && find(".heat-map", image.article);
  if (!part) return;
  const opacity = find(".slider input", part)?.value;
  const focused = part.contains(document.activeElement) && document.activeElement;
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
  if (focused) find(focused.matches("select") ? `.${focused.className}` : ".slider input", part)?.focus();
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

export function setOpacity(slider, value) {
  slider.value = value;
  find(".layer", slider.closest(".heat-view")).style.opacity = value / 100;
}

export async function showMore(details) {
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

export function remove(image) {
  const after = image.article?.nextElementSibling ?? image.article?.previousElementSibling;
  if (image.article?.contains(document.activeElement)) (find(".remove", after ?? form) ?? find("input[type=file]")).focus();
  image.article?.remove();
  if (image.url) URL.revokeObjectURL(image.url);
  images.delete(image.number);
  showWhetherEmpty();
  showTable();
}

export function placeError(image, error) {
  const card = find("#error-card").content.firstElementChild.cloneNode(true);
  find(".detail", card).textContent = error.message;
  find(".do", card).textContent = error.action ?? "";
  find(".again", card).hidden = error.isFinal ?? false;
  card.dataset.row = JSON.stringify({ error: error.message });
  place(image, card);
}

export function printOne(image) {
  document.body.classList.add("printing-one");
  image.article.classList.add("printed");
  addEventListener("afterprint", () => {
    document.body.classList.remove("printing-one");
    image.article.classList.remove("printed");
  }, { once: true });
  print();
}
