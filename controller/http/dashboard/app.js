// The dashboard's frame: which page is shown (by the part of the address behind #), the stream that keeps it live, the pause, and the
// token where one is asked for.
import { html, render, useCallback, useEffect, useRef, useState } from '/dashboard/preact-htm.js';
import { stream, token } from '/dashboard/api.js';
import { Fleet } from '/dashboard/fleet.js';
import { Pipeline } from '/dashboard/pipeline.js';
import { Provider, Providers } from '/dashboard/providers.js';
import { Actions, Replicas } from '/dashboard/process.js';

const pages = [['#/', 'Pipelines'], ['#/providers', 'Providers'], ['#/replicas', 'Replicas'], ['#/actions', 'Actions']];

function page(hash, live) {
  const [, kind = '', name = ''] = hash.replace(/^#/, '').split('/');
  let plain = '';
  try {
    plain = decodeURIComponent(name);
  } catch { /* an address that was mistyped names nothing */ }
  if (kind === 'pipelines' && plain) return html`<${Pipeline} key=${plain} name=${plain} live=${live} />`;
  if (kind === 'providers' && plain) return html`<${Provider} key=${plain} name=${plain} live=${live} />`;
  if (kind === 'providers') return html`<${Providers} live=${live} />`;
  if (kind === 'replicas') return html`<${Replicas} live=${live} />`;
  if (kind === 'actions') return html`<${Actions} live=${live} />`;
  return html`<${Fleet} live=${live} />`;
}

function TokenForm({ done }) {
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const send = (event) => {
    event.preventDefault();
    token.set(field.current.value.trim());
    done();
  };
  return html`<form class="panel" onSubmit=${send}>
    <h1>Token</h1>
    <p>This server answers to whoever has the token of its setting <code>http.token</code>. It is kept in this tab alone.</p>
    <div class="bar"><label>Token <input ref=${field} type="password" autocomplete="off" /></label>
    <button class="main">Show the dashboard</button></div></form>`;
}

const words = { live: 'live', broken: 'not connected', paused: 'paused', token: 'locked', begin: 'connecting' };

function App() {
  const [hash, setHash] = useState(location.hash || '#/');
  const [state, setState] = useState('begin');
  const [paused, setPaused] = useState(false);
  const [key, setKey] = useState(0);
  const listeners = useRef(new Set());
  const listen = useCallback((f) => {
    listeners.current.add(f);
    return () => listeners.current.delete(f);
  }, []);

  useEffect(() => {
    const moved = () => setHash(location.hash || '#/');
    const typed = (event) => {
      if (event.target.closest('input, textarea, dialog') || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'p') setPaused((p) => !p);
    };
    addEventListener('hashchange', moved);
    addEventListener('keydown', typed);
    return () => {
      removeEventListener('hashchange', moved);
      removeEventListener('keydown', typed);
    };
  }, []);
  useEffect(() => {
    if (paused) return undefined;
    // What went by meanwhile is read anew once.
    for (const f of listeners.current) f('reset', {});
    return stream({ state: setState, message: (kind, data) => listeners.current.forEach((f) => f(kind, data)) });
  }, [paused, key]);
  useEffect(() => document.title = `${decodeURIComponent(hash.split('/').pop() || 'pipelines')} · homeostat`, [hash]);

  const shown = paused ? 'paused' : state;
  const current = (at) => (at === '#/' ? hash === '#/' || hash.startsWith('#/pipelines') : hash.startsWith(at));
  return html`
    <header>
      <a class="brand" href="#/"><img src="/dashboard/icon.svg" alt="" />homeostat</a>
      <nav aria-label="Pages">${pages.map(([at, title]) => html`
        <a href=${at} aria-current=${current(at) ? 'page' : undefined}>${title}</a>`)}</nav>
      <div class="live"><span role="status"><span class="dot ${shown === 'live' ? 'on' : shown === 'broken' ? 'off' : ''}"></span>${words[shown]}</span>
        <button aria-pressed=${paused} onClick=${() => setPaused(!paused)} title="Key: p">${paused ? 'Go on' : 'Pause refresh'}</button></div>
    </header>
    <main id="content" tabindex="-1">${state === 'token' ? html`<${TokenForm} done=${() => { setState('begin'); setKey(key + 1); }} />`
      : page(hash, { listen, paused })}</main>`;
}

const root = document.getElementById('app');
root.replaceChildren();
render(html`<${App} />`, root);
