"use strict";
// What all scripts of the page share.
const tal = {};

tal.read = (id) => JSON.parse(document.getElementById(id).textContent);

tal.element = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

// Vega's handler of tooltips: every value becomes text, never markup.
tal.tooltip = (handler, event, item, value) => {
  const box = document.getElementById("tooltip");
  if (value === null || value === undefined || value === "") {
    box.hidden = true;
    return;
  }
  const pairs = typeof value === "object" ? Object.entries(value) : [["", value]];
  const list = tal.element("dl");
  for (const [name, text] of pairs) {
    if (text === undefined || text === null || text === "" || text === "undefined" || text === "null") continue;
    list.append(tal.element("dt", String(name)), tal.element("dd", String(text)));
  }
  box.replaceChildren(list);
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const x = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  const y = event.clientY + 14 + height > innerHeight ? event.clientY - 14 - height : event.clientY + 14;
  box.style.left = `${Math.max(0, x)}px`;
  box.style.top = `${Math.max(0, y)}px`;
};

tal.save = (name, content, kind) => {
  const link = document.createElement("a");
  const url = kind ? URL.createObjectURL(new Blob([content], { type: kind })) : content;
  link.href = url;
  link.download = name;
  link.click();
  if (kind) setTimeout(() => URL.revokeObjectURL(url), 1000);
};

// As data/csv_cells.py: what begins as a formula does has an apostrophe before it, numbers stay numbers.
tal.csv = (rows) => {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (/^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows.map((row) => columns.map((c) => row[c]))].map((line) => line.map(cell).join(",") + "\n").join("");
};
