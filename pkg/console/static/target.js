// Target: how it is doing, and what an operator can do about it.
import { get, post, watch } from './api.js';
import { badge, count, empty, facts, failure, h, json, link, rate, seconds, stamp, table, td, when } from './dom.js';
import { ask, reason, say } from './dialog.js';
import { plot, strip } from './plot.js';
import { series } from './past.js';

export async function target(main, query, name, user) {
  const operator = user.role === 'operator';
  const state = h('span', {});
  const act = (label, f, props = {}) => h('button', { type: 'button', disabled: !operator, title: operator ? null : 'Only an operator may do this', onclick: f, ...props }, label);
  const pause = act('Pause', () => ask({
    title: `Pause ${name}?`, text: 'Attempts under way end and no other starts, on all members. Nothing is lost; the other targets go on.', fields: [reason()], agree: 'Pause',
    act: async (v) => { await post('/api/pause', { target: name, ...v }); await reload(); say(`${name} is told to pause`); },
  }));
  const resume = act('Resume', () => ask({
    title: `Resume ${name}?`, text: 'It goes on where it was.', agree: 'Resume',
    fields: [['accept_dead_letters', 'Accept dead letters: what failed for good up to now holds it no more', h('input', { type: 'checkbox' })], reason()],
    act: async (v) => { await post('/api/resume', { target: name, ...v }); await reload(); say(`${name} is told to resume`); },
  }));
  const body = h('div', { class: 'card' }, empty('Reading …', ''));
  const told = h('section', { class: 'card' });
  main.append(h('div', { class: 'head' }, h('h1', {}, name), state, h('div', { class: 'actions' }, pause, resume, act('Replay …', () => replay(name, reload)))), body, told);
  let about;
  try {
    about = await get('/api/target', { target: name });
  } catch (err) {
    if (err.code !== 404) { main.append(failure(err)); return null; }
    about = { config: '' };
  }
  main.append(h('section', { class: 'card' }, h('h2', {}, 'Config'), about.config ? json(about.config, 'Config of the target')
    : empty('Not in this config', 'Only the commits know this target. `policysync targets forget` drops its cursors.')));
  const lanes = h('section', { class: 'card' });
  main.append(lanes);
  const reload = () => commands(told, name, (c) => act('Cancel', () => ask({
    title: `Cancel ${c.id}?`, text: 'A replay ends where it is, and the target goes on from where it was before. Of a redrive or a push, what is under way settles.', fields: [reason()], agree: 'Cancel it', danger: true,
    act: async (v) => {
      const { old_versions: old } = await post('/api/cancel', { id: c.id, ...v });
      await reload();
      say(old ? 'Cancelled. The target may have got older versions than it had: a replay of the newest ones mends that' : 'Cancelled');
    },
  })));
  const [timer, stop] = [setInterval(reload, 5000), watch((snap) => {
    const t = snap.targets.find((x) => x.target === name);
    if (!t) { body.replaceChildren(empty('There is no such target', link('/', 'Overview'))); return; }
    if (state.dataset.is !== t.state) state.replaceChildren(badge(t.state));
    state.dataset.is = t.state;
    pause.hidden = t.state === 'paused';
    resume.hidden = t.state !== 'paused' && t.state !== 'held';
    body.replaceChildren(...view(t));
    lanes.replaceChildren(table('Partitions', [{ name: 'Partition' }, { name: 'Next offset', num: true }, { name: 'Settled above it', num: true }, { name: 'End of log', num: true }, { name: 'Not settled', num: true }, { name: 'Member' }],
      snap.lanes.filter((l) => l.target === name).map((l) => h('tr', {}, td('Partition', {}, `${l.topic}/${l.partition}`), td('Next offset', { class: 'num' }, l.next < 0 ? 'not committed' : count(l.next)),
        td('Settled above it', { class: 'num' }, count(l.ahead)), td('End of log', { class: 'num' }, count(l.end)), td('Not settled', { class: 'num' }, count(l.lag)), td('Member', { class: 'wrap' }, l.member ?? '–')))));
  })];
  reload();
  return () => { clearInterval(timer); stop(); };
}

function view(t) {
  const settled = Object.entries(t.settled).filter(([, n]) => n).map(([outcome, n]) => `${count(n)} ${outcome}`).join(', ');
  return [t.failure && h('div', { class: 'verdict bad' }, h('span', {}, h('strong', {}, 'Last failure: '), t.failure)), facts([
    ['Not settled', count(t.lag)], ['Oldest waiting', t.oldest_waiting_seconds > 0 ? seconds(t.oldest_waiting_seconds) : '–'], ['In flight', count(t.in_flight)],
    ['Settled per second', rate(t.per_second)], ['Latency, median', seconds(t.p50_seconds)], ['p99', seconds(t.p99_seconds)],
    ['Dead letters', t.letters ? link(`/letters?target=${encodeURIComponent(t.target)}`, count(t.letters)) : '0'],
  ]),
  h('p', { class: 'muted' }, settled ? `Since the members started: ${settled}.` : 'Nothing has settled since the members started.'),
  h('h2', {}, 'Breaker and states, last half hour'), strip(t.target, series(t.target, 'state')),
  h('p', {}, t.breakers.length ? t.breakers.map((b) => h('span', {}, badge(b.state), ' ', h('span', { class: 'muted small' }, b.member), '  ')) : 'No member tells.'),
  h('div', { class: 'cols' },
    h('figure', { class: 'fig' }, h('h2', {}, 'Settled per second'), plot('Settled per second', [{ points: series(t.target, 'per_second', 280) }], rate)),
    h('figure', { class: 'fig' }, h('h2', {}, 'Latency: p99, and dashed the median'), plot('99th percentile of the latency', [{ points: series(t.target, 'p99_seconds', 280) }, { points: series(t.target, 'p50_seconds', 280) }], seconds)),
    h('figure', { class: 'fig' }, h('h2', {}, 'Not settled'), plot('Not settled', [{ points: series(t.target, 'lag', 280) }], (n) => count(Math.round(n)))))].filter(Boolean);
}

// commands shows what members were told about the target and still hold to.
async function commands(box, name, act) {
  let all;
  try {
    all = await get('/api/commands');
  } catch (err) {
    box.replaceChildren(h('h2', {}, 'Commands'), h('p', { class: 'error' }, err.message));
    return;
  }
  const of = (list) => (list ?? []).filter((c) => c.target === name);
  const lines = [
    ...of(all.pauses).map((c) => ['Paused', c]),
    ...of(all.accepted_dead_letters).map((c) => [`Dead letters accepted of events up to ${stamp(c.up_to)}`, c]),
    ...of(all.replays).map((c) => {
      const done = (c.parts ?? []).filter((p) => p.state === 'done').length;
      const left = (c.parts ?? []).reduce((n, p) => n + p.left, 0);
      return [`Replay ${c.id}: ${done} of ${(c.parts ?? []).length} partitions done${left ? `, ${count(left)} offsets left` : ''}`, c];
    }),
    ...of(all.redrives).map((c) => [`Redrive ${c.id}: ${count(c.left ?? 0)} letters left`, c]),
    ...of(all.pushes).map((c) => [`Push of ${c.key ?? c.id}`, c]),
  ];
  box.replaceChildren(lines.length ? table('Commands that the members hold to', [{ name: 'Command' }, { name: 'By' }, { name: 'When' }, { name: 'Why' }, { name: 'Cancel' }],
    lines.map(([what, c]) => h('tr', {}, td('Command', {}, what), td('By', {}, c.by), td('When', {}, when(c.time)), td('Why', { class: 'wrap' }, c.reason || '–'), td('Cancel', {}, c.id ? act(c) : '–'))))
    : h('div', {}, h('h2', {}, 'Commands'), h('p', { class: 'muted' }, 'None: it does what it does by itself.')));
}

function replay(name, reload) {
  const from = h('input', { required: true, placeholder: 'earliest, 2026-11-01, or TOPIC/PARTITION:OFFSET,…' });
  const plan = h('div', { class: 'small', role: 'status' });
  ask({
    title: `Replay ${name}`,
    text: [h('p', {}, 'It gets the newest version of each policy again that changed since then, under new idempotency keys. The other targets notice nothing.'), plan],
    fields: [['from', 'From', from],
      ['every', 'Every version, not only the newest of each policy', h('input', { type: 'checkbox' })],
      ['allow_old_versions', 'Push also what is older than what the target has', h('input', { type: 'checkbox' })], reason()],
    agree: 'Show what it would do',
    act: async (v) => {
      if (plan.dataset.from !== JSON.stringify(v)) {
        const would = await post('/api/replay', { target: name, dry_run: true, ...v });
        plan.dataset.from = JSON.stringify(v);
        plan.replaceChildren(h('ul', {}, would.partitions.map((g) => h('li', {}, `${g.topic}/${g.partition}: offsets ${g.from} to ${g.to}, ${g.events === undefined ? `at most ${count(g.to - g.from)} events` : `${count(g.events)} events of ${count(g.policies)} policies`}`))),
          h('p', {}, 'Press the button again to begin.'));
        document.querySelector('dialog button[type=submit]').textContent = 'Replay';
        throw new Error('');
      }
      await post('/api/replay', { target: name, ...v });
      await reload();
      say('The replay is commanded');
    },
  });
}
