// All pipelines, the one to be looked at first in front.
import { html, useEffect, useMemo, useRef, useState } from '/dashboard/preact-htm.js';
import { get } from '/dashboard/api.js';
import { count, Notice, seconds, Spark, Table, Urgency, urgencies, urgencyName } from '/dashboard/parts.js';

const kPage = 100;

const before = (a, b) => urgencies.indexOf(a.urgency) - urgencies.indexOf(b.urgency) || (b.lagSeconds || 0) - (a.lagSeconds || 0)
  || b.drift - a.drift || (a.name < b.name ? -1 : 1);

const columns = [
  { label: 'Pipeline', wide: true, of: (p) => html`<a href=${`#/pipelines/${encodeURIComponent(p.name)}`}>${p.name}</a>` },
  { label: 'State', short: true, of: (p) => html`<${Urgency} of=${p.urgency} />` },
  { label: 'Why', wide: true, of: (p) => html`<span class="cause">${p.cause}</span>` },
  { label: 'Documents', number: true, of: (p) => count(p.documents) },
  { label: 'Adrift', number: true, of: (p) => count(p.drift) },
  { label: 'Behind', number: true, of: (p) => (p.lagSeconds === undefined ? '' : seconds(p.lagSeconds)) },
  { label: 'Last runs', of: (p) => html`<${Spark} values=${p.trend} label="Documents adrift, run by run" />` },
];

// What changes in the fleet counts anew from the lines that are known, the rest as the server last said.
function useFleet(live, urgency) {
  const [fleet, set] = useState({ items: null, totals: null, next: null, error: null });
  const load = async (cursor) => {
    try {
      const got = await get('/pipelines', { limit: kPage, urgency, cursor });
      set((f) => ({ ...got, error: null, items: cursor ? [...f.items, ...got.items] : got.items }));
    } catch (error) {
      if (error.status === 409 && cursor) return load();
      set((f) => ({ ...f, error }));
    }
    return undefined;
  };
  const again = useRef(load);
  again.current = load;
  useEffect(() => { load(); }, [urgency]);
  useEffect(() => {
    let due = 0;
    const recount = () => { due = due || setTimeout(() => { due = 0; again.current(); }, 3000); };
    const stop = live.listen((kind, data) => {
      if (kind === 'reset') again.current();
      if (kind === 'gone') set((f) => f.items && ({ ...f, items: f.items.filter((p) => p.name !== data.name) }));
      if (kind !== 'pipeline') return;
      recount();
      set((f) => {
        if (!f.items) return f;
        const old = f.items.find((p) => p.name === data.name);
        const rest = f.items.filter((p) => p !== old);
        const shown = urgency ? data.urgency === urgency : old || data.urgency !== 'well';
        return { ...f, items: (shown ? [...rest, { trend: old ? old.trend : [], ...data }] : rest).sort(before) };
      });
    });
    return () => { stop(); clearTimeout(due); };
  }, [urgency]);
  return [fleet, load];
}

export function Fleet({ live }) {
  const [urgency, setUrgency] = useState('');
  const [words, setWords] = useState('');
  const [fleet, load] = useFleet(live, urgency);
  const search = useRef(null);
  useEffect(() => {
    const typed = (event) => {
      if (event.key !== '/' || event.target.closest('input')) return;
      event.preventDefault();
      search.current.focus();
    };
    addEventListener('keydown', typed);
    return () => removeEventListener('keydown', typed);
  }, []);
  const rows = useMemo(() => (fleet.items || []).filter((p) => `${p.name} ${p.source} ${p.provider} ${p.cause}`.toLowerCase()
    .includes(words.toLowerCase())), [fleet.items, words]);
  const { totals } = fleet;
  return html`
    <h1>Pipelines</h1>
    ${fleet.error && html`<${Notice} tone="bad">${fleet.error.message}<//>`}
    ${totals && html`<div class="tiles">
      <div class="tile"><b>${count(totals.documents)}</b>documents</div>
      <div class="tile"><b>${count(totals.drift)}</b>adrift</div>
      <div class="tile"><b>${count(totals.deadLetters)}</b>dead letters</div>
      ${urgencies.filter((u) => totals.urgency[u]).map((u) => html`
        <button class="tile" aria-pressed=${urgency === u} onClick=${() => setUrgency(urgency === u ? '' : u)}>
          <b>${count(totals.urgency[u])}</b>${urgencyName(u).toLowerCase()}</button>`)}
    </div>`}
    <div class="bar"><label>Find <input ref=${search} type="search" value=${words} placeholder="name, source, why" onInput=${(e) => setWords(e.target.value)} /></label>
      ${urgency && html`<button onClick=${() => setUrgency('')}>Show all</button>`}</div>
    <div class="panel">${!fleet.items ? html`<p class="faint">Reading…</p>`
      : html`<${Table} columns=${columns} rows=${rows} id=${(p) => p.name}
          nothing=${words || urgency ? 'No pipeline is like that.' : 'No pipeline is declared. homeostat apply -f declares one.'} />`}
      ${fleet.next && html`<div class="bar"><button onClick=${() => load(fleet.next)}>Show more</button></div>`}</div>`;
}
