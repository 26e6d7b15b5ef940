// Overview: how each target is doing.
import { watch } from './api.js';
import { badge, count, empty, facts, h, link, rate, seconds, table, td } from './dom.js';
import { plot, strip } from './plot.js';
import { series, total } from './past.js';

export function overview(main) {
  const sums = h('div', { class: 'card' });
  const problems = h('div', { class: 'banner', role: 'status', hidden: true });
  const body = h('div', { class: 'card' }, empty('Reading …', 'The first look at Kafka takes a moment.'));
  const plots = h('div', { class: 'cols' });
  main.append(h('h1', { class: 'hidden' }, 'Overview'), problems, sums, body, plots);
  const rows = new Map();
  return watch((snap) => {
    const letters = snap.targets.reduce((n, t) => n + t.letters, snap.undecodable_letters);
    sums.replaceChildren(facts([
      ['Targets', count(snap.targets.length)],
      ['Not settled', count(snap.targets.reduce((n, t) => n + t.lag, 0))],
      ['Oldest waiting', seconds(Math.max(...snap.targets.map((t) => t.oldest_waiting_seconds), 0) || -1)],
      ['Settled per second', rate(snap.targets.reduce((n, t) => n + t.per_second, 0))],
      ['Dead letters', letters ? link('/letters', count(letters)) : '0'],
      ['Members', link('/members', snap.members_unknown ? 'unknown' : count(snap.members.length))],
    ]));
    const wrong = [...(snap.problems ?? []), snap.letters_unknown && `Dead letters are not counted: ${snap.letters_unknown}`,
      snap.members_unknown && `Members are not known: ${snap.members_unknown}`,
      !snap.members_unknown && snap.members.length === 0 && 'No member is alive: nothing is delivered.',
      snap.undecodable_letters > 0 && `${count(snap.undecodable_letters)} records could not be read by anybody: they are dead letters of no target.`].filter(Boolean);
    problems.hidden = wrong.length === 0;
    problems.replaceChildren(...wrong.map((text) => h('div', {}, text)));
    const same = rows.size === snap.targets.length && snap.targets.every((t) => rows.has(t.target));
    if (!same) {
      rows.clear();
      snap.targets.forEach((t) => rows.set(t.target, row(t)));
      body.replaceChildren(table('!Targets', [
        { name: 'Target' }, { name: 'State' }, { name: 'Not settled', num: true }, { name: 'Oldest waiting', num: true },
        { name: 'Settled per second', num: true }, { name: 'Latency, median and p99', num: true }, { name: 'Dead letters', num: true }, { name: 'Last half hour' },
      ], [...rows.values()].map((r) => r.element), 'over'));
    }
    snap.targets.forEach((t) => rows.get(t.target).update(t));
    const add = (list) => list.reduce((a, b) => a + b, 0);
    plots.replaceChildren(...[['Settled per second, all targets', 'per_second', add, rate], ['Latency, p99 of the slowest target', 'p99_seconds', (list) => Math.max(...list, -1), seconds],
      ['Not settled, all targets', 'lag', add, (n) => count(Math.round(n))]].map(([title, value, f, format]) => h('section', { class: 'card' }, h('h2', {}, title), plot(title, [{ points: total(value, f, 280) }], format))));
  });
}

// row is updated in place, so that the keyboard's focus stays where it is.
function row(t) {
  const cells = { state: td('State'), lag: td('Not settled', { class: 'num' }), oldest: td('Oldest waiting', { class: 'num' }), rate: td('Settled per second', { class: 'num' }),
    latency: td('Latency, median and p99', { class: 'num' }), letters: td('Dead letters', { class: 'num' }), past: td('Last half hour', { class: 'history' }) };
  const name = td('Target', {}, h('span', {}, link(`/targets/${encodeURIComponent(t.target)}`, t.target), ' ', h('span', { class: 'muted small' }, t.configured ? t.connector : 'not in this config')));
  const why = h('div', { class: 'small muted wrap' });
  name.firstChild.append(why);
  let state = '';
  return {
    element: h('tr', {}, name, ...Object.values(cells)),
    update(now) {
      if (state !== now.state) cells.state.replaceChildren(badge(now.state));
      state = now.state;
      why.textContent = now.failure ?? '';
      cells.lag.textContent = count(now.lag);
      cells.oldest.textContent = now.oldest_waiting_seconds > 0 ? seconds(now.oldest_waiting_seconds) : '–';
      cells.rate.replaceChildren(h('span', { class: 'cell' }, rate(now.per_second),
        plot(`Settled per second at ${now.target}`, [{ points: series(now.target, 'per_second', 60) }], rate, 'spark')));
      cells.latency.replaceChildren(h('span', { class: 'cell' }, now.p50_seconds < 0 ? '–' : `${seconds(now.p50_seconds)} · ${seconds(now.p99_seconds)}`,
        plot(`99th percentile of the latency at ${now.target}`, [{ points: series(now.target, 'p99_seconds', 60) }], seconds, 'spark')));
      if (now.letters && cells.letters.firstChild?.textContent !== count(now.letters)) {
        cells.letters.replaceChildren(link(`/letters?target=${encodeURIComponent(now.target)}`, count(now.letters)));
      } else if (!now.letters) cells.letters.textContent = '0';
      cells.past.replaceChildren(strip(now.target, series(now.target, 'state', 120)));
    },
  };
}
