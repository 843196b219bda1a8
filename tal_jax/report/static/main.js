"use strict";
// The list first: it is what people work with. `data-ready` says that everything is drawn.
(async () => {
  for (const table of document.querySelectorAll("table.sortable")) tal.sortable(table);
  await tal.browser(tal.read("data-recordings"), tal.read("data-timeline"));
  document.body.dataset.list = "true";
  await tal.figures();
  document.body.dataset.ready = "true";
  document.body.dataset.milliseconds = Math.round(performance.now());
})();
