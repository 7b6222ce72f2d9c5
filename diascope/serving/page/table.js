// The table of the session, and its file for spreadsheets.

import { answered, find } from "./session.js";

const sorted = { key: "number", rises: true };
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
  probability: ({ row }) => (row.probability ? percent(row.probability) : "-"),
  set: ({ row }) => (row.set ? row.set.join(", ") || "empty" : "-"),
  ood_score: ({ row }) => (row.ood_score ? Number(row.ood_score).toFixed(2) : "-"),
  verdict: ({ row }) => row.verdict || "-",
};
const sortsBy = {
  ...shown,
  number: (image) => image.number,
  probability: ({ row }) => (row.probability ? Number(row.probability) : null),
  ood_score: ({ row }) => (row.ood_score ? Number(row.ood_score) : null),
};

function compare(first, second) {
  const [a, b] = [sortsBy[sorted.key](first), sortsBy[sorted.key](second)];
  const isNone = (value) => value === null || value === "" || value === "-";
  if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) || first.number - second.number; // these last
  const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return (sorted.rises ? order : -order) || first.number - second.number;
}

export function showTable() {
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

export function sortBy(button) {
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

export function download() {
  const url = URL.createObjectURL(new Blob(["\ufeff", csv()], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = "diascope-images.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
