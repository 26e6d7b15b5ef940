// Making elements, and the words and forms that all pages share.

// h makes an element. Props that begin with "on" are listeners; null children are left out.
export function h(tag, props, ...children) {
  const e = document.createElement(tag);
  set(e, props, children);
  return e;
}

// s is h for SVG.
export function s(tag, props, ...children) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  set(e, props, children);
  return e;
}

function set(e, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
}

const shapes = {
  check: 'M2.5 8.5 6 12l7.5-8', cross: 'M3.5 3.5l9 9m0-9-9 9', pause: 'M5 3v10M11 3v10', half: 'M8 2.5v6l3.5 2M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0',
  alert: 'M8 2 1.5 13.5h13zM8 6.5v3.5m0 1.6v.1', question: 'M5.5 6a2.5 2.5 0 1 1 3.6 2.2C8.3 8.6 8 9 8 10m0 2.7v.1', again: 'M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3',
  skip: 'M3 4l5 4-5 4zM9 4l5 4-5 4z', bin: 'M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5',
};

export function icon(name) {
  return s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', {
    d: shapes[name], fill: 'none', stroke: 'currentColor', 'stroke-width': 2, 'stroke-linecap': 'round', 'stroke-linejoin': 'round',
  }));
}

// What a target is doing, and how a delivery ended: word, colour, icon.
export const states = {
  closed: ['delivering', 'good', 'check'], 'half-open': ['trying again', 'warn', 'half'], open: ['breaker open', 'bad', 'cross'],
  held: ['held', 'warn', 'alert'], paused: ['paused', 'info', 'pause'], unknown: ['no member', '', 'question'],
  delivered: ['delivered', 'good', 'check'], 'dead-lettered': ['dead-lettered', 'bad', 'cross'], waiting: ['waiting', 'warn', 'half'],
  superseded: ['superseded', '', 'skip'], stale: ['stale', '', 'skip'], redriven: ['redriven', 'info', 'again'], discarded: ['discarded', '', 'bin'],
  none: ['nothing known', '', 'question'],
};

export function badge(state, word) {
  const [label, colour, shape] = states[state] ?? [state, '', 'question'];
  return h('span', { class: `badge ${colour}` }, icon(shape), word ?? label);
}

// table makes a table that turns into cards on a narrow screen.
export function table(caption, columns, rows, className = '') {
  return h('table', { class: className },
    h('caption', { class: caption.startsWith('!') ? 'hidden' : null }, caption.replace('!', '')),
    h('thead', {}, h('tr', {}, columns.map((c) => h('th', { scope: 'col', class: c.num && 'num' }, c.name || h('span', { class: 'hidden' }, 'Actions'))))),
    h('tbody', {}, rows));
}

export const td = (label, props, ...children) => h('td', { 'data-label': label, ...props }, ...children);

export const link = (href, ...children) => h('a', { href }, ...children);

export const policyLink = (key) => link(`/policies?key=${encodeURIComponent(key)}`, key);

export function empty(title, text) {
  return h('div', { class: 'empty' }, h('strong', {}, title), text);
}

export function failure(err) {
  return h('div', { class: 'card' }, h('div', { class: 'empty' }, h('strong', {}, 'This could not be read'), h('span', { class: 'error' }, err.message)));
}

export function facts(pairs, className = '') {
  return h('dl', { class: `facts ${className}` }, pairs.filter(Boolean).map(([name, ...value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

const whole = new Intl.NumberFormat('en');

export const count = (n) => whole.format(n);

export function rate(n) { return n >= 100 ? count(Math.round(n)) : n >= 10 ? n.toFixed(0) : n > 0 ? n.toFixed(1) : '0'; }

export function seconds(v) {
  if (v < 0) return '–';
  if (v === 0) return '0';
  if (v < 1) return `${Math.max(1, Math.round(v * 1000))} ms`;
  if (v < 120) return `${v < 10 ? v.toFixed(1) : Math.round(v)} s`;
  if (v < 7200) return `${Math.round(v / 60)} min`;
  return v < 172800 ? `${Math.round(v / 3600)} h` : `${Math.round(v / 86400)} d`;
}

// when is a time as text that can be compared, and how long ago.
export function when(text) {
  const t = new Date(text);
  return h('time', { datetime: text, title: `${seconds(Math.max(0, (Date.now() - t) / 1000))} ago` }, stamp(t));
}

export const stamp = (t) => new Date(t).toISOString().replace('T', ' ').slice(0, 19) + 'Z';

export const version = (v, deleted) => (deleted ? 'deleted' : v === undefined || v === null ? '–' : `v${v}`);

let traceURL = '';

export function setTraceURL(template) { traceURL = template ?? ''; }

export function trace(id) {
  if (!id) return '–';
  if (!traceURL) return h('code', { class: 'small wrap' }, id);
  return h('a', { href: traceURL.replaceAll('{trace}', encodeURIComponent(id)), rel: 'noopener noreferrer', target: '_blank', title: id }, 'trace', h('span', { class: 'hidden' }, ` ${id}, in a new tab`));
}

export const json = (value, label) => h('pre', { tabindex: '0', role: 'region', 'aria-label': label }, h('code', {}, typeof value === 'string' ? value : JSON.stringify(value, null, 2)));
