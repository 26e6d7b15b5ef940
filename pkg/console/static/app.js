// The page: who looks, which page it is, and the keyboard.
import { deaf, get, listen, post, watch } from './api.js';
import { failure, h, setTraceURL, states } from './dom.js';
import { say } from './dialog.js';
import { letter, letters } from './letters.js';
import { members } from './members.js';
import { overview } from './overview.js';
import { policies } from './policy.js';
import { remember } from './past.js';
import { target } from './target.js';

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const pages = [['/', 'Overview', overview, 'o'], ['/policies', 'Policies', policies, 'p'], ['/letters', 'Dead letters', letters, 'd'], ['/members', 'Members', members, 'm']];
let user = {};
let leave = null;
let turn = 0;

function find(path) {
  const named = path.match(/^\/targets\/([^/]+)$/);
  if (named) return [target, decodeURIComponent(named[1]), named[1]];
  if (path === '/letter') return [letter, '', 'Dead letter'];
  const page = pages.find(([at]) => at === path);
  return page && [page[2], '', page[1]];
}

async function show(focus) {
  const mine = ++turn;
  leave?.();
  leave = null;
  const found = find(location.pathname);
  for (const a of nav.children) {
    if (a.getAttribute('href') === location.pathname) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  main.replaceChildren();
  if (!found) {
    main.append(h('h1', {}, 'There is no such page'));
    return;
  }
  document.title = `${found[2]} · policysync`;
  const into = { append: (...parts) => { if (mine === turn) main.append(...parts.filter(Boolean)); } };
  try {
    const stop = await found[0](into, new URLSearchParams(location.search), found[1], user);
    if (mine !== turn) stop?.();
    else leave = stop;
  } catch (err) {
    into.append(failure(err));
  }
  if (focus && mine === turn && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
}

function go(to) {
  history.pushState(null, '', to);
  scrollTo(0, 0);
  show(true);
}

document.addEventListener('go', (e) => go(e.detail));
document.addEventListener('click', (e) => {
  const a = e.target.closest('a[href^="/"]');
  if (!a || a.target || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
  e.preventDefault();
  go(a.getAttribute('href'));
});
document.addEventListener('submit', (e) => {
  const to = e.target.getAttribute('action');
  if (!to) return;
  e.preventDefault();
  const query = new URLSearchParams([...new FormData(e.target)].filter(([, v]) => v.trim()).map(([k, v]) => [k, v.trim()]));
  if (e.target.id === 'search') e.target.reset();
  go(query.size ? `${to}?${query}` : to);
});
addEventListener('popstate', () => show(true));

let prefix = false;
document.addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest('input, select, textarea, dialog') || !user.role) return;
  const page = prefix && pages.find((p) => p[3] === e.key);
  prefix = e.key === 'g';
  if (page) go(page[0]);
  else if (e.key === '/') { e.preventDefault(); document.getElementById('find').focus(); }
});

const banner = document.getElementById('live');
function broken(text) {
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
}

// announce tells a screen reader when a target changes, and nothing else of what moves.
const last = new Map();
watch((snap) => {
  for (const t of snap.targets) {
    if (last.has(t.target) && last.get(t.target) !== t.state) say(`${t.target}: ${states[t.state]?.[0] ?? t.state}`);
    last.set(t.target, t.state);
  }
});

function login() {
  deaf();
  leave?.();
  leave = null;
  turn++;
  document.body.dataset.out = '';
  nav.replaceChildren();
  document.getElementById('search').hidden = true;
  document.getElementById('who').replaceChildren();
  broken('');
  const problem = h('p', { class: 'error', role: 'alert' });
  const token = h('input', { type: 'password', name: 'token', required: true, autocomplete: 'current-password' });
  const form = h('form', { class: 'card login' }, h('h1', {}, 'Log in'), user.login === false ? h('p', {}, 'The proxy in front of this console has not named anybody whom it knows.')
    : [h('label', {}, 'Your token', token), problem, h('button', { class: 'primary' }, 'Log in')]);
  form.addEventListener('submit', async (e) => {
    e.preventDefault();
    try {
      await post('/api/login', { token: token.value });
      await begin();
    } catch (err) {
      problem.textContent = err.message;
    }
  });
  main.replaceChildren(form);
  token.focus();
}

document.addEventListener('signedout', () => { if (user.role) { user = {}; login(); } });

async function begin() {
  user = await get('/api/session');
  if (!user.role) { login(); return; }
  setTraceURL(user.trace_url);
  document.getElementById('search').hidden = false;
  document.getElementById('group').textContent = user.group;
  nav.replaceChildren(...pages.map(([at, name, , key]) => h('a', { href: at, title: `g then ${key}` }, name)));
  document.getElementById('who').replaceChildren(
    h('span', { class: 'badge', title: user.open ? 'Nobody has to log in here, so nothing can be changed: see admin.tokens' : user.by }, user.name ? `${user.name} · ${user.role}` : 'read only'),
    user.by === 'token' ? h('button', { class: 'plain', type: 'button', onclick: async () => { await post('/api/logout', {}); user = {}; await begin(); } }, 'Log out') : '');
  await remember();
  listen(broken);
  await show(false);
}

begin().catch((err) => main.replaceChildren(failure(err)));
