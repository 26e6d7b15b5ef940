// Dead letters: what could not be delivered, and what to do about it.
import { get, post } from './api.js';
import { badge, count, empty, facts, failure, h, json, link, policyLink, table, td, trace, version, when } from './dom.js';
import { ask, reason, say } from './dialog.js';

const classes = ['permanent', 'transient', 'unavailable', 'throttled'];

export async function letters(main, query, _, user) {
  const operator = user.role === 'operator';
  const names = ['target', 'class', 'key', 'error', 'since'];
  const filter = Object.fromEntries(names.filter((n) => query.get(n)).map((n) => [n, query.get(n)]));
  const options = (list, value, any) => [h('option', { value: '' }, any), ...list.map(([v, text]) => h('option', { value: v, selected: v === value }, text ?? v))];
  const targets = ((await get('/api/status')).targets ?? []).map((t) => [t.target]);
  main.append(h('div', { class: 'head' }, h('h1', {}, 'Dead letters')),
    h('form', { class: 'card filters', action: '/letters' },
      h('label', {}, 'Target', h('select', { name: 'target' }, options(targets, filter.target, 'all'))),
      h('label', {}, 'Class', h('select', { name: 'class' }, options(classes.map((c) => [c]), filter.class, 'all'))),
      h('label', {}, 'Key of the policy', h('input', { name: 'key', value: filter.key ?? '' })),
      h('label', {}, 'Error contains', h('input', { name: 'error', value: filter.error ?? '' })),
      h('label', {}, 'Written', h('select', { name: 'since' }, options([['1h', 'in the last hour'], ['24h', 'in the last day'], ['168h', 'in the last week']], filter.since, 'at any time'))),
      h('button', { class: 'primary' }, 'Filter'), link('/letters', 'all')));
  const box = h('div', { class: 'card', 'aria-busy': 'true' }, empty('Reading …', 'The topic of dead letters is read to its end.'));
  main.append(box);
  let all;
  try {
    all = await get('/api/letters', filter);
  } catch (err) {
    box.replaceWith(failure(err));
    return null;
  }
  if (all.count === 0) {
    box.removeAttribute('aria-busy');
    box.replaceChildren(Object.keys(filter).length ? empty('No dead letter is like that', link('/letters', 'Show all')) : empty('No dead letters', 'Everything was delivered, or waits, or somebody has resolved it.'));
    return null;
  }
  box.replaceWith(groups(all.groups, operator), list(all, operator));
  if (all.problems?.length) main.append(h('section', { class: 'card' }, h('h2', {}, 'Not readable'), all.problems.map((text) => h('p', { class: 'error' }, text))));
  return null;
}

const go = (query) => document.dispatchEvent(new CustomEvent('go', { detail: `/letters?${new URLSearchParams(query)}` }));

function groups(counts, operator) {
  return h('section', { class: 'card' }, table('By error', [{ name: 'Letters', num: true }, { name: 'Target' }, { name: 'Class' }, { name: 'Error' }, { name: 'Last' }, { name: '' }],
    counts.slice(0, 20).map((g) => {
      const same = { target: g.target ?? '', class: g.class, ...(g.error.startsWith('(other') ? {} : { error: g.error }) };
      return h('tr', {}, td('Letters', { class: 'num' }, count(g.count)), td('Target', {}, g.target || 'none'), td('Class', {}, g.class), td('Error', { class: 'wrap' }, g.error), td('Last', {}, when(g.last)),
        td('', { class: 'num' }, h('button', { type: 'button', class: 'plain', onclick: () => go(same), 'aria-label': `Show only these ${g.count}` }, 'only these'),
          operator && h('button', { type: 'button', class: 'plain', onclick: () => redrive(same), 'aria-label': `Redrive these ${g.count}` }, 'redrive')));
    })), counts.length > 20 && h('p', { class: 'muted' }, `${counts.length - 20} more kinds of errors`));
}

function list(all, operator) {
  const chosen = new Set();
  const why = operator ? null : 'Only an operator may do this';
  const send = h('button', { type: 'button', disabled: true, title: why, onclick: () => redrive({ ids: [...chosen] }) }, 'Redrive');
  const drop = h('button', { type: 'button', disabled: true, title: why, class: 'danger', onclick: () => discard([...chosen]) }, 'Discard');
  const changed = () => {
    send.disabled = drop.disabled = !operator || chosen.size === 0;
    send.textContent = chosen.size ? `Redrive ${chosen.size}` : 'Redrive';
    drop.textContent = chosen.size ? `Discard ${chosen.size}` : 'Discard';
  };
  const boxes = all.letters.map((l) => h('input', { type: 'checkbox', 'aria-label': `Select ${l.key ?? l.id}`, onchange: (e) => { if (e.target.checked) chosen.add(l.id); else chosen.delete(l.id); changed(); } }));
  const every = h('input', { type: 'checkbox', 'aria-label': 'Select all that are listed', onchange: (e) => {
    boxes.forEach((b, i) => { b.checked = e.target.checked; if (b.checked) chosen.add(all.letters[i].id); else chosen.delete(all.letters[i].id); });
    changed();
  } });
  return h('section', { class: 'card' }, h('div', { class: 'head' }, h('h2', {}, all.count > all.letters.length ? `The newest ${all.letters.length} of ${count(all.count)}` : count(all.count) + (all.count === 1 ? ' letter' : ' letters')), h('div', { class: 'actions' }, send, drop)),
    table('!Dead letters', [{ name: every }, { name: 'Written' }, { name: 'Target' }, { name: 'Policy' }, { name: 'Version', num: true }, { name: 'Error' }, { name: '' }],
      all.letters.map((l, i) => h('tr', {}, td('Select', {}, boxes[i]), td('Written', {}, when(l.written)), td('Target', {}, l.target || 'none'), td('Policy', { class: 'wrap' }, l.key ? policyLink(l.key) : '–'),
        td('Version', { class: 'num' }, version(l.version)), td('Error', { class: 'wrap' }, `${l.class}: ${l.error}`), td('', { class: 'num' }, h('a', { href: `/letter?id=${encodeURIComponent(l.id)}`, 'aria-label': `Inspect the letter of ${l.key ?? l.id}` }, 'inspect'))))));
}

// redrive asks first what would be sent again.
async function redrive(what) {
  let would;
  try {
    would = await post('/api/redrive', { dry_run: true, ...what });
  } catch (err) {
    would = { error: err.message };
  }
  const n = (would.redrives ?? []).reduce((sum, r) => sum + r.left, 0);
  const allow = h('input', { type: 'checkbox' });
  ask({
    title: n ? `Redrive ${count(n)} dead ${n === 1 ? 'letter' : 'letters'}?` : 'Redrive',
    text: would.error ? h('p', { class: 'error' }, would.error)
      : [h('p', {}, `They are sent again to ${would.redrives.map((r) => `${r.target || 'all their targets'} (${count(r.left)})`).join(', ')}, each in its place among the versions of its policy.`),
        h('p', {}, 'Where the target has a newer version by now, the letter is settled as stale and nothing is overwritten. One that fails again becomes a new letter.')],
    fields: would.error ? [['allow_old_versions', 'Send also what may be older than what the target has', allow], reason()] : [reason()],
    agree: 'Redrive',
    act: async (v) => {
      await post('/api/redrive', { ...what, ...v });
      say('The redrive is commanded');
      document.dispatchEvent(new CustomEvent('go', { detail: location.pathname + location.search }));
    },
  });
}

function discard(ids) {
  ask({
    title: `Discard ${count(ids.length)} dead ${ids.length === 1 ? 'letter' : 'letters'}?`, text: 'They are delivered no more and listed no more. The topic keeps them.', fields: [reason(true)], agree: 'Discard', danger: true,
    act: async (v) => {
      await post('/api/discard', { ids, ...v });
      say('Discarded');
      document.dispatchEvent(new CustomEvent('go', { detail: '/letters' }));
    },
  });
}

export async function letter(main, query, _, user) {
  const id = query.get('id') ?? '';
  let l;
  try {
    l = await get('/api/letter', { id });
  } catch (err) {
    main.append(h('h1', {}, 'Dead letter'), failure(err));
    return null;
  }
  const operator = user.role === 'operator' && !l.resolution;
  main.append(h('div', { class: 'head' }, h('h1', {}, l.key ?? 'A record without key'), badge(l.resolution?.outcome ?? 'dead-lettered'),
    h('div', { class: 'actions' }, h('button', { type: 'button', disabled: !operator, onclick: () => redrive({ ids: [id] }) }, 'Redrive'), h('button', { type: 'button', class: 'danger', disabled: !operator, onclick: () => discard([id]) }, 'Discard'))),
  h('div', { class: 'verdict bad wrap' }, h('span', {}, h('strong', {}, `${l.class}: `), l.error)),
  h('section', { class: 'card' }, facts([
    ['Target', l.target ? link(`/targets/${encodeURIComponent(l.target)}`, l.target) : 'none: nobody could read the record'], l.key && ['Policy', policyLink(l.key)], ['Version', version(l.version)],
    ['Attempts', count(l.attempts)], l.first_attempt && ['Between', when(l.first_attempt), ' and ', when(l.last_attempt)], ['Source', `${l.topic}/${l.partition}, offset ${l.offset}`], ['Written', when(l.written)],
    ['Trace', trace(l.trace)], l.resolution && ['Resolved', `${l.resolution.outcome} by ${l.resolution.by}${l.resolution.reason ? `: ${l.resolution.reason}` : ''}`],
  ], 'text')),
  l.not_readable && h('div', { class: 'verdict warn' }, `By this config it can't be read or mapped: ${l.not_readable}`),
  l.delivered === false && h('div', { class: 'verdict warn' }, 'By this config routing would keep it from the target.'),
  h('div', { class: 'cols' }, l.event !== undefined && h('section', { class: 'card' }, h('h2', {}, 'Event'), json(l.event, 'Event')),
    l.document !== undefined && h('section', { class: 'card' }, h('h2', {}, 'What would be sent now'), json(l.document, 'What would be sent now')),
    l.headers?.length && h('section', { class: 'card' }, table('Headers of the record', [{ name: 'Name' }, { name: 'Value' }], l.headers.map((x) => h('tr', {}, td('Name', { class: 'wrap' }, x.name), td('Value', { class: 'wrap' }, x.value))))))
  );
  return null;
}
