"use strict";
// The time line of one recording, laid out as report/timeline.py does it for the PNGs.
tal.sizes = { truthLane: 16, lane: 11, panel: 46, gap: 9, levels: 100, narrowest: 400 };

tal.layout = (content, i) => {
  const { labels, kinds } = content;
  const sizes = tal.sizes;
  const bars = [], areas = [], names = [];
  const classes = new Set(), present = new Set();
  let top = 0;
  const tables = [["truth", content.truth, sizes.truthLane]];
  content.runs.forEach((run, r) => tables.push([run, content.detections[r], sizes.lane]));
  for (const [what, table, height] of tables) {
    const [first, last] = [table.offset[i], table.offset[i + 1]];
    let best = 0, highest = 0;
    for (let j = first; j < last; j++) {
      if (table.score) best = j === first ? table.score[j] : Math.max(best, table.score[j]);
      highest = Math.max(highest, table.lane[j]);
    }
    for (let j = first; j < last; j++) {
      const k = table.label[j], y = top + height * table.lane[j];
      classes.add(k);
      const [start, end] = [table.start[j], table.end[j]];
      const x2 = Math.max(end, start + content.span[i] / sizes.narrowest);
      const bar = { what, class: labels[k], start, end, x: start, x2, y, y2: y + height - 2, weight: 1, right: false };
      if (table.score) {
        const score = table.score[j];
        bar.weight = best > 0 ? 0.2 + 0.8 * Math.max(score / best, 0) : 0.6;
        bar.right = table.kind[j] === 0;
        Object.assign(bar, { score, own: table.own[j], other: table.other[j], kind: kinds[table.kind[j]] });
      } else {
        present.add(k);
      }
      bars.push(bar);
    }
    names.push({ text: what, y: top + (height * (1 + highest) - 2) / 2, y2: 0, floor: false });
    top += height * (1 + highest) + sizes.gap;
  }
  (content.sequences[i] ?? []).forEach((panel, n) => {
    const floor = top + sizes.panel;
    panel.label.forEach((k, c) => {
      const value = panel.value[c];
      classes.add(k);
      const add = (place, level) => areas.push({
        series: `${n} ${k}`, class: labels[k], present: present.has(k), x: place * panel.stride,
        y: floor - (sizes.panel * level) / sizes.levels, y2: floor,
      });
      add(0, value[0]);
      value.forEach((level, t) => add(t + 0.5, level));
      add(value.length, value[value.length - 1]);
    });
    names.push({ text: panel.name, y: floor - sizes.panel / 2, y2: floor, floor: true });
    top = floor + sizes.gap;
  });
  const bounds = new Set();
  for (let j = content.truth.offset[i]; j < content.truth.offset[i + 1]; j++) {
    bounds.add(content.truth.start[j]).add(content.truth.end[j]);
  }
  const datasets = { bars, areas, names, bounds: [...bounds].sort((a, b) => a - b).map((x) => ({ x })) };
  return { datasets, tall: top, classes: [...classes].sort((a, b) => a - b) };
};

tal.filled = (template, content, i, width) => {
  const { datasets, tall, classes } = tal.layout(content, i);
  const { colours, labels } = content;
  const spec = structuredClone(template);
  spec.layer[0].encoding.color.scale = {
    domain: classes.map((k) => labels[k]),
    range: classes.map((k) => colours[k]),
  };
  const values = { seconds: content.span[i], tall };
  for (const parameter of spec.params) parameter.value = values[parameter.name] ?? parameter.value;
  return Object.assign(spec, { datasets, width, height: tall });
};
