// The history of all targets: fetched once, then grown by each snapshot.
import { get, watch } from './api.js';

const kept = 900;
let samples = [];
let growing = false;

export async function remember() {
  samples = (await get('/api/history')).map((x) => ({ ...x, at: Date.parse(x.time) }));
  if (growing) return;
  growing = true;
  watch((snap) => {
    const at = Date.parse(snap.time);
    if (samples.length && samples.at(-1).at >= at) return;
    samples.push({ at, targets: snap.targets });
    if (samples.length > kept) samples.shift();
  });
}

// series is one value of a target over time, at most n points.
export function series(target, value, n) {
  const step = n ? Math.max(1, Math.ceil(samples.length / n)) : 1;
  const points = [];
  for (let i = (samples.length - 1) % step; i < samples.length; i += step) {
    const t = samples[i].targets.find((x) => x.target === target);
    if (t) points.push([samples[i].at, t[value]]);
  }
  return points;
}

// total is one value over all targets, added up by f.
export function total(value, f, n) {
  const step = Math.max(1, Math.ceil(samples.length / n));
  const points = [];
  for (let i = (samples.length - 1) % step; i < samples.length; i += step) points.push([samples[i].at, f(samples[i].targets.map((t) => t[value]))]);
  return points;
}
