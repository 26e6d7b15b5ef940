// Small plots: a line over time, and a strip of states.
import { s, states } from './dom.js';

// plot draws series of numbers over times (ms). Each is {name, points: [[t, v], …]}; a
// negative value is a gap. With size "spark" it has no axes.
export function plot(label, series, format, size) {
  const spark = size === 'spark';
  const [width, height, left, bottom] = spark ? [112, 26, 0, 1] : [360, 140, 48, 20];
  const all = series.flatMap((one) => one.points);
  const values = all.map((p) => p[1]).filter((v) => v >= 0);
  const top = nice(Math.max(...values, 0));
  const last = series[0]?.points.at(-1)?.[1] ?? -1;
  const spoken = values.length ? `${label}: now ${format(last)}, at most ${format(Math.max(...values))}` : `${label}: nothing yet`;
  const frame = s('svg', { viewBox: `0 0 ${width} ${height}`, class: spark ? 'plot spark' : 'plot', role: 'img', 'aria-label': spoken });
  const [from, to] = [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
  const x = (t) => left + (to > from ? (t - from) / (to - from) : 1) * (width - left - 1);
  const y = (v) => height - bottom - (v / top) * (height - bottom - (spark ? 2 : 10));
  if (!spark) {
    for (const v of [0, top / 2, top]) {
      frame.append(s('line', { class: 'grid', x1: left, x2: width, y1: y(v), y2: y(v) }), s('text', { x: left - 6, y: y(v) + 4, 'text-anchor': 'end' }, format(v)));
    }
    if (to > from) {
      frame.append(s('text', { x: left, y: height - 4 }, `${Math.round((to - from) / 60000) || '<1'} min ago`), s('text', { x: width, y: height - 4, 'text-anchor': 'end' }, 'now'));
    }
  }
  series.forEach((one, i) => {
    for (const run of runs(one.points)) {
      const line = run.map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join('L');
      if (i === 0) frame.append(s('path', { class: 'area', d: `M${line}L${x(run.at(-1)[0]).toFixed(1)} ${y(0)}L${x(run[0][0]).toFixed(1)} ${y(0)}Z` }));
      frame.append(s('path', { class: i === 0 ? 'line' : 'line second', d: `M${line}` }));
    }
  });
  return frame;
}

// runs are the parts between gaps.
function runs(points) {
  const found = [[]];
  for (const p of points) {
    if (p[1] >= 0) found.at(-1).push(p);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((run) => run.length);
}

// nice is a round number at or above v.
function nice(v) {
  if (v <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 5, 10].map((f) => f * unit).find((n) => n >= v * 0.999);
}

// strip draws the states that a target had, oldest first.
export function strip(name, points) {
  const width = 200;
  const frame = s('svg', { viewBox: `0 0 ${width} 10`, preserveAspectRatio: 'none', class: 'strip', role: 'img' });
  const said = [];
  const [from, to] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 1];
  for (let i = 0; i < points.length;) {
    let end = i;
    while (end < points.length && points[end][1] === points[i][1]) end++;
    const x1 = ((points[i][0] - from) / (to - from || 1)) * width;
    const x2 = end < points.length ? ((points[end][0] - from) / (to - from || 1)) * width : width;
    const word = states[points[i][1]]?.[0] ?? points[i][1];
    frame.append(s('rect', { x: x1, y: 0, width: Math.max(x2 - x1, 0.5), height: 10, class: `s-${points[i][1]}` }, s('title', {}, `${word} from ${new Date(points[i][0]).toISOString().slice(11, 19)}`)));
    said.push(word);
    i = end;
  }
  frame.setAttribute('aria-label', `States of ${name}, oldest first: ${said.slice(-8).join(', ') || 'none yet'}`);
  return frame;
}
