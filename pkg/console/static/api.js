// The admin API: reading, changing, and the stream of snapshots.

export class Failed extends Error {
  constructor(code, message) { super(message); this.code = code; }
}

async function call(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: 'same-origin', ...options });
  } catch {
    throw new Failed(0, 'The console does not answer. It may be restarting.');
  }
  const body = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) {
    if (answer.status === 401) document.dispatchEvent(new Event('signedout'));
    throw new Failed(answer.status, body.error ?? `status ${answer.status}`);
  }
  return body;
}

export const get = (path, query) => call(query ? `${path}?${new URLSearchParams(query)}` : path);

export const post = (path, body) => call(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

let snapshot = null;
let stream = null;
const watchers = new Set();

// watch calls f with the newest snapshot, now and at each change, until the result is called.
export function watch(f) {
  watchers.add(f);
  if (snapshot) f(snapshot);
  return () => watchers.delete(f);
}

export const latest = () => snapshot;

// listen opens the stream. A browser opens it again by itself when it breaks.
export function listen(broken) {
  stream?.close();
  stream = new EventSource('/api/events');
  stream.onmessage = (e) => {
    snapshot = JSON.parse(e.data);
    broken(snapshot.problem ? `Kafka could not be read, this is from ${snapshot.time.startsWith('0001') ? 'before the first time' : snapshot.time.slice(11, 19)}: ${snapshot.problem}` : '');
    if (!snapshot.time.startsWith('0001')) watchers.forEach((f) => f(snapshot));
  };
  stream.onerror = () => {
    broken('The connection to the console is lost. Trying again …');
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => listen(broken), 5000);
  };
}

export function deaf() { stream?.close(); stream = null; snapshot = null; }
