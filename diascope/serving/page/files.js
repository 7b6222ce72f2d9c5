// Files from everywhere.

import { say } from "./session.js";

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

export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  const found = [];
  for (const entry of entries) if (entry) found.push(...await filesIn(entry));
  return found;
}

export async function exampleOf(link) {
  try {
    const response = await fetch(link.dataset.example);
    if (!response.ok) throw new Error();
    return [new File([await response.blob()], link.dataset.name, { type: "image/png" })];
  } catch {
    say("The example cannot be loaded.");
    return [];
  }
}
