// Policy: which version each target has, why or why not, and what it would be sent.
import { get, post } from './api.js';
import { badge, count, empty, facts, failure, h, icon, json, link, table, td, trace, version, when } from './dom.js';
import { ask, reason, say } from './dialog.js';

export async function policies(main, query, _, user) {
  const key = query.get('key') ?? '';
  const input = h('input', { name: 'key', type: 'search', value: key, required: true, autocomplete: 'off', spellcheck: 'false' });
  main.append(h('div', { class: 'head' }, h('h1', {}, key || 'Policies')),
    h('form', { class: 'filters card', action: '/policies' }, h('label', {}, 'Key of the policy, as it stands in the topic', input), h('button', { class: 'primary' }, 'Search')));
  if (!key) {
    main.append(h('div', { class: 'card' }, empty('Which policy?', 'Its key tells which version every target has, since when, and why not.')));
    input.focus();
    return null;
  }
  const result = h('div', { class: 'card', 'aria-busy': 'true' }, empty('Looking …', 'Receipts, dead letters and what waits are read from Kafka.'));
  main.append(result);
  let found;
  try {
    found = await get('/api/policy', { key });
  } catch (err) {
    result.replaceWith(failure(err));
    return null;
  }
  result.replaceWith(...show(found, key, user.role === 'operator'));
  return null;
}

function show(p, key, operator) {
  const parts = [];
  const newest = p.timeline.filter((m) => m.topic).sort((a, b) => newer(b, a))[0];
  if (!newest) {
    return [h('div', { class: 'card' }, empty('Nothing is known of this policy', p.searched < p.unsettled
      ? `No target has settled it, and it is not among the newest ${count(p.searched)} of ${count(p.unsettled)} events that wait.`
      : 'No target has settled it, and it does not wait. Check the key; a version that routing keeps from a target leaves no receipt.'))];
  }
  const rows = p.targets.map((t) => judge(p, t, newest));
  parts.push(verdict(rows, newest));
  parts.push(h('section', { class: 'card' }, table('What the targets have', [
    { name: 'Target' }, { name: 'State' }, { name: 'Has', num: true }, { name: 'Since' }, { name: 'Attempts', num: true }, { name: 'Trace' }, { name: 'Why' }, { name: 'Push' },
  ], rows.map((r) => h('tr', {},
    td('Target', {}, link(`/targets/${encodeURIComponent(r.target)}`, r.target)), td('State', {}, badge(r.state, r.word)),
    td('Has', { class: 'num' }, r.held ? version(r.held.version, r.held.deleted) : 'nothing'), td('Since', {}, r.held ? when(r.held.time) : '–'),
    td('Attempts', { class: 'num' }, r.held ? count(r.held.attempts) : '–'), td('Trace', {}, trace(r.latest?.trace || r.held?.trace)),
    td('Why', { class: 'wrap' }, r.why ?? '–'), td('Push', {}, again(r.target, key, operator)))))));
  const body = h('section', { class: 'card' });
  parts.push(body, timeline(p, (m) => inspect(body, m)));
  inspect(body, newest);
  if (p.problems?.length) parts.push(h('section', { class: 'card' }, h('h2', {}, 'Not readable'), p.problems.map((text) => h('p', { class: 'error' }, text))));
  if (p.searched < p.unsettled) parts.push(h('p', { class: 'muted' }, `Of ${count(p.unsettled)} events that wait the newest ${count(p.searched)} were searched.`));
  return parts;
}

const newer = (a, b) => (a.topic === b.topic && a.partition === b.partition ? a.offset - b.offset : Date.parse(a.time) - Date.parse(b.time));

// judge says of one target how it stands to the newest version that is known.
function judge(p, t, newest) {
  const own = p.timeline.filter((m) => m.target === t.target && m.topic && !m.by);
  const latest = [...own].sort((a, b) => newer(b, a) || Date.parse(b.time) - Date.parse(a.time))[0];
  const row = { target: t.target, held: t.held, latest, state: 'none', behind: false };
  if (!latest) return { ...row, why: 'No version of it was for this target, as far as the topics tell.' };
  const resolved = latest.letter && p.timeline.find((m) => m.by && m.letter === latest.letter);
  row.state = resolved ? resolved.what : latest.what;
  row.behind = (latest.what === 'dead-lettered' && resolved?.what !== 'redriven') || latest.what === 'waiting' || newer(latest, newest) < 0;
  switch (latest.what) {
    case 'waiting': row.word = `${version(latest.version, latest.deleted)} waits`; row.why = 'It has not settled yet; the page of the target says why.'; break;
    case 'dead-lettered':
      row.word = `${version(latest.version, latest.deleted)} ${resolved ? resolved.what : 'failed'}`;
      row.why = h('span', {}, `${latest.class}: ${latest.error} `, resolved ? `(${resolved.what} by ${resolved.by}${resolved.reason ? `: ${resolved.reason}` : ''})` : link(`/letter?id=${encodeURIComponent(latest.letter)}`, 'dead letter'));
      break;
    case 'superseded': row.why = 'A newer version took its place before it was pushed.'; break;
    case 'stale': row.why = 'The target has a newer version.'; break;
    default: if (t.held?.reference) row.why = h('span', {}, 'the target calls it ', h('code', {}, t.held.reference));
  }
  return row;
}

// again is the button that sends the newest version to one target once more.
const again = (target, key, operator) => h('button', { type: 'button', disabled: !operator, title: operator ? null : 'Only an operator may do this', onclick: () => ask({
  title: `Push ${key} to ${target}?`, text: 'The newest version that it wants is sent again, in its place among what waits. The topics are read for it, which may take a while.', fields: [reason()], agree: 'Push',
  act: async (v) => { await post('/api/push', { target, key, ...v }); say(`${key} is on its way to ${target}`); },
}) }, 'Push again', h('span', { class: 'hidden' }, ` to ${target}`));

function verdict(rows, newest) {
  const behind = rows.filter((r) => r.behind);
  const what = version(newest.version, newest.deleted);
  if (behind.length === 0) {
    return h('div', { class: 'verdict good' }, icon('check'), h('span', {}, newest.deleted ? 'Every target it is for has deleted it.' : `Every target it is for has the newest known version, ${what}.`));
  }
  const failed = behind.some((r) => r.state !== 'waiting');
  return h('div', { class: `verdict ${failed ? 'bad' : 'warn'}` }, icon(failed ? 'cross' : 'half'),
    h('span', {}, h('strong', {}, behind.map((r) => r.target).join(', ')), ` ${behind.length > 1 ? 'do' : 'does'} not have the newest known version, ${what}.`));
}

function timeline(p, open) {
  return h('section', { class: 'card' }, h('h2', {}, 'What happened'),
    h('ol', { class: 'timeline' }, p.timeline.map((m) => h('li', {},
      h('span', { class: 'muted' }, when(m.time)), h('span', {}, badge(m.what)),
      h('span', { class: 'what' }, h('strong', {}, m.target), ` ${version(m.version, m.deleted)} `,
        m.attempts > 1 && `after ${m.attempts} attempts `, m.trace && trace(m.trace), ' ',
        m.topic && h('button', { class: 'plain', type: 'button', onclick: () => open(m) }, h('span', { class: 'hidden' }, 'Show the event at '), `${m.topic}/${m.partition} @ ${m.offset}`),
        m.error && h('div', { class: 'error small' }, `${m.class}: ${m.error}`),
        m.by && h('div', { class: 'small muted' }, `${m.result ? `${m.result}, ` : ''}by ${m.by}${m.reason ? `: ${m.reason}` : ''}`))))),
    h('p', { class: 'muted small' }, 'As far as the topics still have it: receipts are compacted to the last of each kind.'));
}

// inspect shows an event beside what each target would be sent of it.
async function inspect(box, m) {
  box.setAttribute('aria-busy', 'true');
  if (!box.firstChild) box.append(empty('Reading …', 'The event is fetched from the topic and mapped for each target.'));
  let v;
  try {
    v = await get('/api/event', { topic: m.topic, partition: m.partition, offset: m.offset });
  } catch (err) {
    box.replaceChildren(h('h2', {}, 'Event'), h('p', { class: 'error' }, `It can no longer be read: ${err.message}`));
    return;
  } finally {
    box.removeAttribute('aria-busy');
  }
  box.replaceChildren(h('h2', {}, `Event ${version(v.version, v.event === null)}, and what the targets are sent of it by this config`),
    facts([['Source', `${v.topic}/${v.partition}, offset ${v.offset}`], v.type && ['Type', v.type], ['Written', when(v.timestamp)], v.schema_id && ['Schema', v.schema_id]], 'text'), h('p', {}),
    v.not_readable ? h('p', { class: 'error' }, v.not_readable)
      : h('div', { class: 'cols' }, h('div', {}, h('h2', {}, 'Event'), json(v.event, 'Event')), bodies(v.documents, m.target)));
}

function bodies(documents, first) {
  const pane = h('div', { role: 'tabpanel', id: 'body' });
  const tabs = documents.map((d) => h('button', { type: 'button', role: 'tab', 'aria-controls': 'body', onclick: () => pick(d) }, d.target));
  const pick = (d) => {
    tabs.forEach((tab, i) => { tab.setAttribute('aria-selected', documents[i] === d); tab.tabIndex = documents[i] === d ? 0 : -1; });
    pane.replaceChildren(d.error ? h('p', { class: 'error' }, d.error) : !d.delivered ? empty('Not for this target', 'Routing keeps it away.') : json(d.document ?? null, `Sent to ${d.target}`));
  };
  const list = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Targets', onkeydown: (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
  } }, tabs);
  pick(documents.find((d) => d.target === first) ?? documents[0]);
  return h('div', {}, list, pane);
}
