// Partitions and members: who does what.
import { watch } from './api.js';
import { badge, count, empty, h, seconds, table, td } from './dom.js';

export function members(main) {
  const who = h('section', { class: 'card' });
  const where = h('section', { class: 'card' }, empty('Reading …', ''));
  main.append(h('h1', {}, 'Partitions and members'), who, where);
  return watch((snap) => {
    who.replaceChildren(snap.members.length === 0 ? empty(snap.members_unknown ? 'Nobody knows' : 'No member is alive', snap.members_unknown || 'Nothing is delivered until one starts: `policysync run`.')
      : table('Members', [{ name: 'Member' }, { name: 'Release' }, { name: 'Partitions', num: true }, { name: 'Seen', num: true }, { name: 'Targets' }],
        snap.members.map((m) => h('tr', {}, td('Member', { class: 'wrap' }, m.id), td('Release', {}, m.version), td('Partitions', { class: 'num' }, count(m.partitions.length)),
          td('Seen', { class: 'num' }, `${seconds(Math.max(0, (Date.parse(snap.time) - Date.parse(m.time)) / 1000))} ago`),
          td('Targets', {}, h('span', {}, Object.entries(m.targets).map(([name, t]) => [badge(t.paused ? 'paused' : t.held ? 'held' : t.breaker, name), ' ']))))))); 
    const targets = snap.targets.map((t) => t.target);
    const rows = new Map();
    for (const l of snap.lanes) {
      const key = `${l.topic}/${l.partition}`;
      if (!rows.has(key)) rows.set(key, { end: l.end, member: l.member, lanes: {} });
      rows.get(key).lanes[l.target] = l;
    }
    where.replaceChildren(table('Partitions: what each target has not settled', [{ name: 'Partition' }, { name: 'Member' }, { name: 'End of log', num: true }, ...targets.map((name) => ({ name, num: true }))],
      [...rows].map(([key, r]) => h('tr', {}, td('Partition', {}, key), td('Member', { class: 'wrap' }, r.member ?? 'nobody'), td('End of log', { class: 'num' }, count(r.end)),
        targets.map((name) => td(name, { class: 'num' }, r.lanes[name] ? h('span', { title: `next offset ${r.lanes[name].next}, ${r.lanes[name].ahead} settled above it` }, count(r.lanes[name].lag)) : '–'))))));
  });
}
