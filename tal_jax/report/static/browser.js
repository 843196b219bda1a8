"use strict";
// The list of recordings: only the rows in sight exist. Choosing one redraws its time line.
tal.browser = (content, template) => {
  const ROW = 28;
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), sort = byId("sort"), classes = byId("class"), find = byId("find");
  const all = content.ids.map((_, i) => i);
  const labelsOf = all.map((i) => {
    const part = content.truth.label.slice(content.truth.offset[i], content.truth.offset[i + 1]);
    return [...new Set(part)].map((k) => content.labels[k]);
  });
  const several = content.runs.length > 1;
  const columns = [];
  content.losses.forEach((loss) => {
    const name = content.losses.length > 1 ? `loss: ${loss.name}` : `loss of ${loss.stage}`;
    columns.push({ name, value: (i) => loss.values[i], down: true, show: (v) => v.toPrecision(3) });
  });
  content.runs.forEach((run, r) => {
    const of = several ? `: ${run}` : "";
    columns.push({ name: `AP %${of}`, value: (i) => content.precision[r][i], show: (v) => v.toFixed(1) });
    columns.push({
      name: `found${of}`, value: (i) => (content.segments[i] ? content.found[r][i] / content.segments[i] : null),
      show: (v, i) => `${content.found[r][i]} of ${content.segments[i]}`,
    });
  });
  const orders = [
    ...columns.map((c) => ({ name: `${c.name}, ${c.down ? "highest" : "lowest"} first`, value: c.value, down: c.down })),
    { name: "class", value: (i) => labelsOf[i][0] ?? null },
    { name: "id", value: (i) => content.ids[i] },
    { name: "most segments", value: (i) => content.segments[i], down: true },
  ];
  orders.forEach((order, n) => sort.append(new Option(order.name, n)));
  classes.append(new Option("all", ""));
  [...new Set(labelsOf.flat())].sort().forEach((name) => classes.append(new Option(name, name)));

  const grid = `minmax(9.5rem, 3fr) minmax(3.5rem, 2fr) ${columns.map(() => "minmax(3rem, 1fr)").join(" ")}`;
  const head = tal.element("div", undefined, "row head");
  head.setAttribute("aria-hidden", "true");
  head.style.gridTemplateColumns = grid;
  head.append(tal.element("span", "id"), tal.element("span", "classes"));
  for (const column of columns) head.append(tal.element("span", column.name, "number"));

  let order = [], chosen = -1, drawing = 0, width = 0, result = null;
  const compare = (a, b) => {
    const { value, down } = orders[sort.value];
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null || x === undefined || y === undefined) return (x ?? null) === (y ?? null) ? a - b : (x ?? null) === null ? 1 : -1;
    const sign = typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0;
    return (down ? -sign : sign) || a - b;
  };

  const inner = tal.element("div", undefined, "rows");
  inner.setAttribute("role", "presentation");
  inner.style.minWidth = head.style.minWidth = `${15 + 3.6 * columns.length}rem`;
  list.append(head, inner);
  let span = "";
  const render = (changed) => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(order.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
    if (!changed && span === `${first} ${last}`) return;
    span = `${first} ${last}`;
    const rows = [];
    for (let n = first; n < last; n++) {
      const i = order[n];
      const row = tal.element("div", undefined, "row");
      row.id = `recording-${i}`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(i === chosen));
      row.setAttribute("aria-setsize", order.length);
      row.setAttribute("aria-posinset", n + 1);
      row.style.top = `${n * ROW}px`;
      row.style.gridTemplateColumns = grid;
      const id = tal.element("span", content.ids[i]);
      id.title = content.ids[i];
      const names = labelsOf[i].join(", ");
      const label = tal.element("span", names || "-", "classes");
      label.title = names;
      row.append(id, label);
      for (const column of columns) {
        const value = column.value(i);
        row.append(tal.element("span", value === null || value === undefined ? "-" : column.show(value, i), "number"));
      }
      rows.push(row);
    }
    inner.replaceChildren(...rows);
  };

  const redraw = async () => {
    const mine = ++drawing;
    if (chosen < 0) return;
    const target = byId("timeline");
    width = target.clientWidth;
    const spec = tal.filled(template, content, chosen, Math.max(260, width - 200));
    const made = tal.element("div");
    const drawn = await tal.draw(made, spec);
    if (mine !== drawing) return drawn.finalize();
    result?.finalize();
    result = Object.assign(drawn, { rows: spec.datasets.bars });
    target.replaceChildren(made);
    target.dataset.recording = chosen;
  };

  const choose = (n) => {
    if (!order.length) return;
    n = Math.max(0, Math.min(order.length - 1, n));
    chosen = order[n];
    if (n * ROW < list.scrollTop) list.scrollTop = n * ROW;
    const room = list.clientHeight - head.offsetHeight;
    if ((n + 1) * ROW > list.scrollTop + room) list.scrollTop = (n + 1) * ROW - room;
    render(true);
    list.setAttribute("aria-activedescendant", `recording-${chosen}`);
    byId("chosen").textContent = content.ids[chosen];
    const duration = content.duration[chosen];
    const parts = [duration === null ? "duration unknown" : `${duration.toFixed(1)} s`, `${content.segments[chosen]} true segment${content.segments[chosen] === 1 ? "" : "s"}`];
    content.runs.forEach((run, r) => {
      const here = content.detections[r].offset[chosen + 1] - content.detections[r].offset[chosen];
      const of = content.of[r][chosen];
      parts.push(`${several ? `${run}: ` : ""}${here < of ? `best ${here} of ${of}` : here} detections`);
    });
    byId("facts").textContent = parts.join(", ");
    return redraw();
  };

  const refresh = () => {
    const wanted = find.value.trim().toLowerCase();
    order = all.filter((i) => (!classes.value || labelsOf[i].includes(classes.value)) &&
      (!wanted || content.ids[i].toLowerCase().includes(wanted) || labelsOf[i].some((name) => name.toLowerCase().includes(wanted))));
    order.sort(compare);
    inner.style.height = `${order.length * ROW}px`;
    byId("count").textContent = `${order.length} of ${all.length} recordings`;
    list.scrollTop = 0;
    render(true);
  };

  const page = () => Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const moves = { ArrowDown: (n) => n + 1, ArrowUp: (n) => n - 1, PageDown: (n) => n + page(), PageUp: (n) => n - page(),
    Home: () => 0, End: () => order.length - 1 };
  list.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    choose(move(order.indexOf(chosen)));
  });
  // By place: rows may be replaced while the button is down.
  inner.addEventListener("click", (event) => choose(Math.floor((event.clientY - inner.getBoundingClientRect().top) / ROW)));
  list.addEventListener("scroll", () => render(false), { passive: true });
  for (const [control, kind] of [[sort, "change"], [classes, "change"], [find, "input"]]) {
    control.addEventListener(kind, () => {
      refresh();
      choose(0);
    });
  }
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      render(false);
      if (byId("timeline").clientWidth !== width) redraw();
    }, 150);
  });
  byId("timeline-png").addEventListener("click", async () => {
    if (result) tal.save(`recording_${chosen}.png`, await result.view.toImageURL("png", 2));
  });
  byId("timeline-csv").addEventListener("click", () => {
    if (result) tal.save(`recording_${chosen}.csv`, tal.csv(result.rows.map(({ x, x2, y, y2, weight, right, ...row }) => row)), "text/csv");
  });
  refresh();
  return choose(0);
};
