// Providers: who answers, who does not and why, and what each replica makes of one.
import { html, useEffect, useState } from '/dashboard/preact-htm.js';
import { get } from '/dashboard/api.js';
import { Badge, count, Notice, seconds, Table, useLoaded } from '/dashboard/parts.js';

// Read anew every few seconds while nobody has paused: what replicas write of themselves is no event.
export function useEvery(live, load, keys) {
  const [again, setAgain] = useState(0);
  useEffect(() => {
    if (live.paused) return undefined;
    const timer = setInterval(() => setAgain((n) => n + 1), 5000);
    return () => clearInterval(timer);
  }, [live.paused]);
  return useLoaded(load, [...keys, again]);
}

const health = (p) => (!p.used ? html`<${Badge} tone="calm">Not used yet<//>`
  : p.healthy ? html`<${Badge} tone="good">Answers<//>` : html`<${Badge} tone="bad">${p.reason}<//>`);
const breaker = (b) => html`<${Badge} tone=${b.breaker === 'closed' ? 'good' : 'bad'}>${b.breaker}<//>`;

const columns = [
  { label: 'Provider', wide: true, of: (p) => html`<a href=${`#/providers/${encodeURIComponent(p.name)}`}>${p.name}</a>` },
  { label: 'Kind', of: (p) => p.kind },
  { label: 'Model', of: (p) => p.model || '' },
  { label: 'Health', short: true, of: health },
  { label: 'Price', number: true, of: (p) => (p.pricePerMillionTokens ? `${p.pricePerMillionTokens} ${p.currency}` : '') },
  { label: 'Sentence', wide: true, of: (p) => p.message || '' },
];

export function Providers({ live }) {
  const { value, error } = useEvery(live, () => get('/providers'), []);
  return html`<h1>Providers</h1>${error && html`<${Notice} tone="bad">${error.message}<//>`}
    <div class="panel">${value ? html`<${Table} columns=${columns} rows=${value.items} nothing="None is declared." />` : html`<p class="faint">Reading…</p>`}</div>`;
}

const breakerColumns = [
  { label: 'Model', of: (b) => b.model },
  { label: 'Breaker', short: true, of: breaker },
  { label: 'Opened in a row', number: true, of: (b) => b.opened },
  { label: 'Asked again in', short: true, of: (b) => (b.retryInSeconds > 0 ? seconds(b.retryInSeconds) : '') },
  { label: 'Last word', short: true, of: (b) => `${seconds(b.heardSecondsAgo)} ago` },
  { label: 'Sentence', wide: true, of: (b) => b.message },
];
const channelColumns = [
  { label: 'Replica', wide: true, of: (c) => c.replica },
  { label: 'Breaker', short: true, of: breaker },
  { label: 'At a time', number: true, of: (c) => `${c.inFlight} of ${c.limit}` },
  { label: 'Waiting', number: true, of: (c) => count(c.waiting) },
  { label: 'Requests', number: true, of: (c) => count(c.requests) },
  { label: 'Failed', number: true, of: (c) => count(c.failures) },
  { label: 'Throttled', number: true, of: (c) => count(c.throttled) },
  { label: 'Each takes', number: true, of: (c) => `${Math.round((c.meanSeconds || 0) * 1000)} ms` },
  { label: 'Tokens saved', number: true, of: (c) => count(c.cache && c.cache.savedTokens) },
];
const callColumns = [
  { label: 'Replica', wide: true, of: (c) => c.replica },
  { label: 'When', short: true, of: (c) => `${seconds(Math.max(0, (Date.now() - c.at) / 1000))} ago` },
  { label: 'Texts', number: true, of: (c) => count(c.texts) },
  { label: 'Took', number: true, of: (c) => `${Math.round(c.seconds * 1000)} ms` },
  { label: 'Outcome', of: (c) => c.outcome },
];

export function Provider({ name, live }) {
  const { value, error } = useEvery(live, () => get(`/providers/${encodeURIComponent(name)}`), [name]);
  if (!value) return html`<h1>${name}</h1>${error ? html`<${Notice} tone="bad">${error.message}<//>` : html`<p class="faint">Reading…</p>`}`;
  const each = (list) => value.replicas.flatMap((r) => r[list].map((one) => ({ ...one, replica: r.replica })));
  const limits = [value.requestsPerMinute && `${count(value.requestsPerMinute)} requests a minute`, value.tokensPerMinute && `${count(value.tokensPerMinute)} tokens a minute`,
    value.maxTokensPerDay && `${count(value.maxTokensPerDay)} tokens a day`, value.maxCostPerDay && `${value.maxCostPerDay} ${value.currency} a day`].filter(Boolean);
  return html`${error && html`<${Notice} tone="bad">${error.message}<//>`}
    <h1>${name}</h1><p>${health(value)} <span class="cause">${value.message || ''}</span></p>
    <section class="panel"><h2>What it is</h2><dl>
      <dt>Kind</dt><dd>${value.kind}</dd>${value.endpoint && html`<dt>Endpoint</dt><dd>${value.endpoint}</dd>`}
      ${value.model && html`<dt>Model</dt><dd>${value.model}</dd>`}
      <dt>A request</dt><dd>${count(value.maxBatch)} texts at most, ${count(value.maxInFlight)} at a time</dd>
      <dt>Limits</dt><dd>${limits.join(', ') || 'none are declared'}</dd>
      <dt>Price</dt><dd>${value.pricePerMillionTokens ? `${value.pricePerMillionTokens} ${value.currency} a million tokens` : 'none is declared'}</dd></dl></section>
    <section class="panel"><h2>Breakers</h2><${Table} columns=${breakerColumns} rows=${value.breakers} nothing="It has not been used yet." /></section>
    <section class="panel"><h2>By replica</h2><${Table} columns=${channelColumns} rows=${each('channels')} nothing="No replica that runs has asked it." /></section>
    <section class="panel"><h2>Last calls</h2><${Table} columns=${callColumns} rows=${each('calls').sort((a, b) => b.at - a.at).slice(0, 15)} nothing="There are none." /></section>`;
}
