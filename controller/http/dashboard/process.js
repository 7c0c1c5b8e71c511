// The replicas, how each is; and what was asked for over HTTP.
import { html, useEffect, useState } from '/dashboard/preact-htm.js';
import { get } from '/dashboard/api.js';
import { Age, Badge, bytes, count, Notice, Table, useLoaded } from '/dashboard/parts.js';
import { useEvery } from '/dashboard/providers.js';

const tones = { alive: 'good', silent: 'bad', ended: 'calm' };
const replicaColumns = [
  { label: 'Replica', wide: true, of: (r) => r.name },
  { label: 'State', short: true, of: (r) => html`<${Badge} tone=${tones[r.state] || 'calm'}>${r.state}<//>` },
  { label: 'Version', of: (r) => r.version },
  { label: 'Host', of: (r) => `${r.host} (${r.pid})` },
  { label: 'Pipelines', number: true, of: (r) => count(r.leases) },
  { label: 'Batches', number: true, of: (r) => count(r.batches) },
  { label: 'Started', short: true, of: (r) => html`<${Age} time=${r.startedAt} />` },
];
const memory = (m) => (m && m.budget ? `${bytes(m.resident || 0)} of ${bytes(m.limit || m.budget)} (${m.level})` : 'not known');
const partColumns = [
  { label: 'Replica', wide: true, of: (r) => r.replica },
  { label: 'Memory', of: (r) => memory(r.memory) },
  { label: 'Free slots', number: true, of: (r) => (r.slots ? `${r.slots.free} of ${r.slots.all}` : '') },
  { label: 'Cache', of: (r) => (r.cache && r.cache.entries !== undefined ? `${count(r.cache.hits)} of ${count(r.cache.hits + r.cache.misses)} found` : '') },
  { label: 'Connections', of: (r) => (r.pools || []).map((p) => `${p.name} ${p.inUse}/${p.size}`).join(', ') },
  { label: 'Breakers', of: (r) => { const open = (r.breakers || []).filter((b) => b.breaker !== 'closed'); return open.length ? html`<${Badge} tone="bad">${open.map((b) => b.provider).join(', ')}<//>` : 'all closed'; } },
];
const adviceColumns = [
  { label: 'About', of: (a) => a.about },
  { label: 'Advice', wide: true, of: (a) => a.advice },
  { label: 'Why', wide: true, of: (a) => a.why },
];

export function Replicas({ live }) {
  const load = async () => {
    const [replicas, health, advice] = await Promise.all([get('/replicas', { limit: 100 }), get('/health/detailed'), get('/factory/advice')]);
    return { replicas: replicas.items, health, advice: advice.items };
  };
  const { value, error } = useEvery(live, load, []);
  if (!value) return error ? html`<${Notice} tone="bad">${error.message}<//>` : html`<p class="faint">Reading…</p>`;
  const { health } = value;
  return html`<h1>Replicas</h1>${error && html`<${Notice} tone="bad">${error.message}<//>`}
    ${!health.ready.ok && html`<${Notice} tone="bad">This process is not ready: ${health.ready.message}<//>`}
    <section class="panel"><h2>Who runs</h2><${Table} columns=${replicaColumns} rows=${value.replicas} nothing="None has shown itself." /></section>
    <section class="panel"><h2>Part by part</h2><${Table} columns=${partColumns} rows=${(health.replicas || []).filter((r) => r.alive)} nothing="None has written how it is." /></section>
    <section class="panel"><h2>Advice</h2><${Table} columns=${adviceColumns} rows=${value.advice} nothing="Nothing to change." /></section>`;
}

const actionColumns = [
  { label: 'When', short: true, of: (e) => html`<${Age} time=${e.at} />` },
  { label: 'Object', of: (e) => e.object },
  { label: 'What, and by whom', wide: true, of: (e) => e.message },
];

export function Actions({ live }) {
  const [again, setAgain] = useState(0);
  useEffect(() => live.listen((kind, data) => (kind === 'reset' || data.reason === 'AskedOverHttp') && setAgain((n) => n + 1)), []);
  const { value, error } = useLoaded(() => get('/actions', { limit: 200 }), [again]);
  return html`<h1>Actions</h1><p class="faint">What was asked for over HTTP. Commands of homeostat and SQL leave their own events.</p>
    ${error && html`<${Notice} tone="bad">${error.message}<//>`}
    <div class="panel">${value ? html`<${Table} columns=${actionColumns} rows=${value.items} nothing="Nothing was asked for." />` : html`<p class="faint">Reading…</p>`}</div>`;
}
