// How the dashboard asks the server: JSON with the token where one is needed, and the stream of events, which it follows by fetch
// because an EventSource cannot send a token. The token is kept for this tab alone.
const kToken = 'homeostat.token';

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(kToken) || '',
  set: (text) => sessionStorage.setItem(kToken, text),
};

function headers(more) {
  const out = { ...more };
  if (token.get()) out.Authorization = `Bearer ${token.get()}`;
  return out;
}

async function problemOf(response) {
  let detail = `The server answered ${response.status}.`;
  try {
    detail = (await response.json()).detail || detail;
  } catch { /* no problem document: the status has to do */ }
  return new Problem(response.status, detail);
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', ...options });
  } catch {
    throw new Problem(0, 'The server does not answer.');
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

export async function get(path, query = {}) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== ''));
  const response = await ask(`/api/v1${path}${words.size ? `?${words}` : ''}`, { headers: headers({ Accept: 'application/json' }) });
  return response.json();
}

export async function post(path, body = {}) {
  const response = await ask(`/api/v1${path}`, {
    method: 'POST',
    headers: headers({ Accept: 'application/json', 'Content-Type': 'application/json' }),
    body: JSON.stringify(body),
  });
  return response.json();
}

// One message of a stream: its lines as {event, id, data}.
function read(text) {
  const message = { event: 'message', data: '' };
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    message[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, '');
  }
  return message;
}

async function follow(last, signal, on) {
  const more = last ? { 'Last-Event-ID': String(last) } : {};
  const response = await ask('/api/v1/events/stream', { headers: headers({ Accept: 'text/event-stream', ...more }), signal });
  on.state('live');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    for (let end = waiting.indexOf('\n\n'); end >= 0; end = waiting.indexOf('\n\n')) {
      const message = read(waiting.slice(0, end));
      waiting = waiting.slice(end + 2);
      if (message.data) on.message(message.event, JSON.parse(message.data), Number(message.id) || 0);
    }
  }
}

// Follows the stream until it is stopped, and takes it up again where it broke. `on`: state(text), message(kind, data, id).
export function stream(on) {
  const stop = new AbortController();
  let last = 0;
  const seen = new Set();
  const once = {
    state: on.state,
    message(kind, data, id) {
      if (id) {
        if (seen.has(id)) return;
        seen.add(id);
        if (seen.size > 2000) seen.delete(seen.values().next().value);
        last = Math.max(last, id);
      }
      if (kind === 'reset') last = 0;
      on.message(kind, data);
    },
  };
  (async () => {
    for (let pause = 1000; !stop.signal.aborted; pause = Math.min(pause * 2, 15000)) {
      const began = Date.now();
      try {
        await follow(last, stop.signal, once);
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error.status === 401) return on.state('token');
        if (error.status === 400) last = 0;
      }
      if (Date.now() - began > 5000) pause = 1000;
      on.state('broken');
      await new Promise((ready) => setTimeout(ready, pause));
    }
  })();
  return () => stop.abort();
}
