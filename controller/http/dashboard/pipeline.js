// One pipeline: how it is and why, what it does now, what it did, and what may be asked of it.
import { html, useEffect, useMemo, useState } from '/dashboard/preact-htm.js';
import { get, post } from '/dashboard/api.js';
import { Age, Badge, bytes, Chart, Confirm, count, Notice, seconds, Table, Urgency, useLoaded } from '/dashboard/parts.js';
import { DeadLetters } from '/dashboard/deadletters.js';

const normalTrue = new Set(['Ready', 'Synced', 'ProviderHealthy', 'ChangeFeed']);
const tone = (c) => {
  if (c.status === 'Unknown') return 'warn';
  if (c.type === 'Reconciling') return 'calm';
  return (c.status === 'True') === normalTrue.has(c.type) ? 'good' : 'bad';
};

// What is not as it should be stands in front.
const tones = ['bad', 'warn', 'calm', 'good'];
const worstFirst = (conditions) => [...conditions].sort((a, b) => tones.indexOf(tone(a)) - tones.indexOf(tone(b)));

const conditionColumns = [
  { label: 'Condition', of: (c) => c.type },
  { label: 'Status', short: true, of: (c) => html`<${Badge} tone=${tone(c)}>${c.status}<//>` },
  { label: 'Reason', of: (c) => c.reason },
  { label: 'Since', short: true, of: (c) => html`<${Age} time=${c.lastTransition} />` },
  { label: 'Sentence', wide: true, of: (c) => c.message },
];
const runColumns = [
  { label: 'Run', number: true, of: (r) => r.name },
  { label: 'Trigger', of: (r) => r.trigger },
  { label: 'Status', of: (r) => r.status },
  { label: 'Adrift', number: true, of: (r) => count(r.planned) },
  { label: 'Healed', of: (r) => r.healed },
  { label: 'Tokens', number: true, of: (r) => count(r.tokens) },
  { label: 'Ended', short: true, of: (r) => (r.endedAt ? html`<${Age} time=${r.endedAt} />` : 'under way') },
  { label: 'Sentence', wide: true, of: (r) => r.message },
];
export const eventColumns = [
  { label: 'When', short: true, of: (e) => html`<${Age} time=${e.at} />` },
  { label: 'Type', short: true, of: (e) => html`<${Badge} tone=${e.type === 'Warning' ? 'warn' : 'calm'}>${e.type}<//>` },
  { label: 'Reason', of: (e) => e.reason },
  { label: 'Sentence', wide: true, of: (e) => e.message },
];
const standing = { filling: 'calm', serving: 'good', kept: 'calm', aborted: 'warn' };
const revisionColumns = [
  { label: 'Revision', number: true, of: (r) => r.revision },
  { label: 'Standing', short: true, of: (r) => html`<${Badge} tone=${standing[r.standing] || 'calm'}>${r.standing}<//>` },
  { label: 'Model', of: (r) => `${r.model} (${r.dimensions})` },
  { label: 'Documents', number: true, of: (r) => count(r.documents) },
  { label: 'Size', number: true, of: (r) => bytes(r.bytes) },
  { label: 'What changed', wide: true, of: (r) => r.changed || '' },
];

function Progress({ pipeline }) {
  const { summary, progress, status } = pipeline;
  const whole = (summary && summary.sourceDocuments) ?? status.sourceDocuments;
  const fill = (pipeline.revisions || []).find((r) => r.fill);
  const done = fill ? fill.fill.written : status.documents;
  const of = fill ? fill.fill.of : whole;
  return html`<section class="panel"><h2>Now</h2>
    <p>${progress ? `Run ${progress.run}, ${progress.phase}: ${count(progress.written)} written, ${count(progress.embedded)} chunks embedded, ${count(progress.tokens)} tokens`
      : 'No run is under way.'}${summary && summary.waiting ? ` ${count(summary.waiting)} wait${summary.lagSeconds === undefined ? '' : `, the oldest for ${seconds(summary.lagSeconds)}`}.` : ''}</p>
    ${of !== undefined && html`<label>${count(done)} of ${count(of)} documents${fill ? ` in revision ${fill.revision}` : ''}
      ${fill && fill.fill.secondsLeft !== undefined ? `, about ${seconds(fill.fill.secondsLeft)} left` : ''}
      <progress max=${Math.max(1, of)} value=${Math.min(done, of)}></progress></label>`}
    <p class="faint">${Object.entries(status.drift).filter(([, n]) => n > 0).map(([kind, n]) => `${count(n)} ${kind}`).join(', ') || 'Nothing is adrift.'}</p>
  </section>`;
}

function Facts({ pipeline }) {
  const { spec, cost, index } = pipeline;
  return html`<section class="panel"><h2>What it is</h2><dl>
    <dt>Source</dt><dd>${spec.source}</dd><dt>Target</dt><dd>${spec.target}</dd>
    <dt>Provider</dt><dd><a href=${`#/providers/${encodeURIComponent(spec.provider)}`}>${spec.provider}</a></dd>
    <dt>Index</dt><dd>${index.method === 'none' ? 'none is declared' : `${index.method} over ${index.type}`}${index.state ? `, ${index.state}` : ''}</dd>
    <dt>Cost</dt><dd>${count(cost.tokens)} tokens in the last ${cost.runs} runs${cost.pricePerMillionTokens ? ` (${cost.paid.toPrecision(3)} ${cost.currency})` : ''}, ${count(cost.savedTokens)} saved by caches</dd>
    ${pipeline.journalLimit && html`<dt>Rollback</dt><dd>replaced text stays until it is older than one of: ${pipeline.journalLimit}</dd>`}
  </dl></section>`;
}

// The buttons; what was done or refused is said below them.
function Ask({ pipeline, done }) {
  const [said, setSaid] = useState(null);
  const [ask, setAsk] = useState(null);
  const [busy, setBusy] = useState(false);
  const path = `/pipelines/${encodeURIComponent(pipeline.metadata.name)}`;
  const go = async (verb, body) => {
    setBusy(true);
    try {
      setSaid({ tone: 'good', text: (await post(`${path}/${verb}`, { actor: 'dashboard', ...body })).done });
      done();
    } catch (error) {
      setSaid({ tone: 'bad', text: error.message });
    }
    setBusy(false);
  };
  const plan = pipeline.status.blockedPlan || (pipeline.cost.held && pipeline.cost.held.plan);
  const suspended = pipeline.suspension || pipeline.revisionPin;
  return html`<div class="bar">
      <button class="main" disabled=${busy} onClick=${() => go('reconcile')}>Reconcile</button>
      ${suspended ? html`<button disabled=${busy} onClick=${() => go('resume')}>Resume</button>`
        : html`<button disabled=${busy} onClick=${() => setAsk({ title: 'Suspend it?', text: 'What changes in the source is not embedded until it is resumed.', verb: 'Suspend', go: () => go('suspend', { reason: 'from the dashboard' }) })}>Suspend</button>`}
      ${plan && html`<button disabled=${busy} onClick=${() => setAsk({ title: `Approve plan ${plan}?`, text: 'What it holds back is done: deletions cannot be undone by resuming, and tokens are paid for.', verb: 'Approve', go: () => go('approve', { plan }) })}>Approve plan ${plan}</button>`}
    </div>
    ${said && html`<${Notice} tone=${said.tone}>${said.text}<//>`}
    <${Confirm} ask=${ask} close=${() => setAsk(null)} />`;
}

function Checkpoints({ name, rows, done }) {
  const [ask, setAsk] = useState(null);
  const [said, setSaid] = useState(null);
  const back = async (checkpoint) => {
    try {
      setSaid({ tone: 'good', text: (await post(`/pipelines/${encodeURIComponent(name)}/rollback`, { actor: 'dashboard', checkpoint })).done });
      done();
    } catch (error) {
      setSaid({ tone: 'bad', text: error.message });
    }
  };
  const columns = [
    { label: 'Checkpoint', of: (c) => c.name },
    { label: 'State', of: (c) => c.state },
    { label: 'Taken', short: true, of: (c) => html`<${Age} time=${c.createdAt} />` },
    { label: 'Documents', number: true, of: (c) => count(c.documents) },
    { label: 'Go back', of: (c) => c.state === 'ready' && html`<button aria-label=${`Roll back to ${c.name}`} onClick=${() => setAsk({ title: `Roll back to ${c.name}?`, text: 'All that was written since goes, and the pipeline is pinned there until it is resumed.', verb: 'Roll back', go: () => back(c.name) })}>Roll back</button>` },
  ];
  return html`${said && html`<${Notice} tone=${said.tone}>${said.text}<//>`}
    <${Table} columns=${columns} rows=${rows} nothing="There is none." /><${Confirm} ask=${ask} close=${() => setAsk(null)} />`;
}

async function read(name) {
  const of = { pipeline: name };
  const [pipeline, trend, runs, events, letters, checkpoints] = await Promise.all([
    get(`/pipelines/${encodeURIComponent(name)}`), get(`/pipelines/${encodeURIComponent(name)}/trend`),
    get('/runs', { ...of, limit: 15 }), get('/events', { ...of, limit: 30 }), get('/dead-letters', { ...of, limit: 100 }),
    get('/checkpoints', { ...of, limit: 20 })]);
  return { pipeline, trend: trend.items, runs: runs.items, events: events.items, letters, checkpoints: checkpoints.items };
}

export function Pipeline({ name, live }) {
  const [again, setAgain] = useState(0);
  const { value, error } = useLoaded(() => read(name), [name, again]);
  const anew = () => setAgain((n) => n + 1);
  useEffect(() => {
    let due = 0;
    const stop = live.listen((kind, data) => {
      const ours = kind === 'reset' || data.name === name || data.object === `pipeline/${name}`;
      if (ours && !due) due = setTimeout(() => { due = 0; anew(); }, 400);
    });
    return () => { stop(); clearTimeout(due); };
  }, [name]);
  const points = useMemo(() => (value ? value.trend.map((p) => [Date.parse(p.at) / 1000, p.drift]) : []), [value]);
  if (error && !value) return html`<h1>${name}</h1><${Notice} tone="bad">${error.message}<//><p><a href="#/">All pipelines</a></p>`;
  if (!value) return html`<p class="faint">Reading…</p>`;
  const { pipeline } = value;
  return html`
    ${error && html`<${Notice} tone="bad">${error.message}<//>`}
    <h1>${name}</h1>
    ${pipeline.summary && html`<p><${Urgency} of=${pipeline.summary.urgency} /> <span class="cause">${pipeline.summary.cause}</span></p>`}
    ${pipeline.remedy && html`<${Notice}><b>What to do:</b> ${pipeline.remedy}<//>`}
    ${pipeline.suspension && html`<${Notice}>${pipeline.suspension.pin === 'rollback' ? 'Pinned' : 'Suspended'} by ${pipeline.suspension.by || 'somebody'}${pipeline.suspension.reason ? `: ${pipeline.suspension.reason}` : ''}<//>`}
    <${Ask} pipeline=${pipeline} done=${anew} />
    <div class="columns"><${Progress} pipeline=${pipeline} /><${Facts} pipeline=${pipeline} /></div>
    <section class="panel"><h2>Drift over time</h2><${Chart} points=${points} label="Documents adrift at each run" /></section>
    <section class="panel"><h2>Conditions</h2><${Table} columns=${conditionColumns} rows=${worstFirst(pipeline.status.conditions)} nothing="No controller has looked at it yet." /></section>
    <section class="panel"><h2>Dead letters</h2><${DeadLetters} name=${name} letters=${value.letters} done=${anew} /></section>
    <section class="panel"><h2>Runs</h2><${Table} columns=${runColumns} rows=${value.runs} nothing="None has ended yet." /></section>
    <section class="panel"><h2>Events</h2><${Table} columns=${eventColumns} rows=${value.events} nothing="There are none." /></section>
    <section class="panel"><h2>Revisions</h2><${Table} columns=${revisionColumns} rows=${pipeline.revisions} nothing="There is none yet." /></section>
    <section class="panel"><h2>Checkpoints</h2><${Checkpoints} name=${name} rows=${value.checkpoints} done=${anew} /></section>`;
}
