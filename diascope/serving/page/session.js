// The images of this session. They lie here until the page is left; nothing is stored.

export const find = (selector, within = document) => within.querySelector(selector);
export const form = find("#send");
export const root = form.dataset.root;
export const images = new Map(); // by number: {number, name, file, model, article, row, url}

export const answered = () => [...images.values()].filter((image) => image.row);
export const say = (words) => { find("#said").textContent = words; };

export function imageOf(element) {
  const article = element.closest(".result");
  return images.get(Number(article?.id.replace("image-", "")));
}

export function showWhetherEmpty() {
  document.body.classList.toggle("has-results", images.size > 0);
}
