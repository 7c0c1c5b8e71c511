// What every page is made of: words for numbers and times, badges, tables, sparklines, charts, dialogs. Text from the server becomes
// text nodes only.
import { html, useEffect, useRef, useState } from '/dashboard/preact-htm.js';

export const count = (n) => (n === undefined || n === null ? '–' : Number(n).toLocaleString('en'));
export const seconds = (s) => {
  if (s === undefined || s === null) return '–';
  if (s < 90) return `${s < 10 ? Math.round(s * 10) / 10 : Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 360) / 10} h` : `${Math.round(s / 86400)} d`;
};
export const age = (time) => (time ? seconds(Math.max(0, (Date.now() - Date.parse(time)) / 1000)) : '–');
export const bytes = (n) => (n > 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n > 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1000)} kB`);

export function Age({ time }) {
  return html`<time datetime=${time} title=${time}>${age(time)}</time>`;
}

const kUrgency = {
  failing: ['bad', 'Failing'], notReady: ['bad', 'Not ready'], losing: ['warn', 'Refusing some'],
  working: ['calm', 'Working'], paused: ['warn', 'Paused'], well: ['good', 'Well'],
};
export const urgencies = Object.keys(kUrgency);
export const urgencyName = (urgency) => (kUrgency[urgency] || ['', urgency])[1];
export function Urgency({ of }) {
  return html`<span class="badge ${(kUrgency[of] || ['calm'])[0]}">${urgencyName(of)}</span>`;
}
export const Badge = ({ tone, children }) => html`<span class="badge ${tone}">${children}</span>`;

// `columns`: {label, of(row), number, wide, short}. On a narrow screen each row becomes a card.
export function Table({ columns, rows, id, nothing }) {
  if (!rows.length) return html`<p class="faint">${nothing}</p>`;
  const kind = (c) => [c.number && 'number', c.wide && 'wide', c.short && 'short'].filter(Boolean).join(' ');
  return html`<div class="scroll"><table class="cards">
    <thead><tr>${columns.map((c) => html`<th scope="col" class=${kind(c)}>${c.label}</th>`)}</tr></thead>
    <tbody>${rows.map((row, i) => html`<tr key=${id ? id(row) : i}>${columns.map((c) => html`
      <td class=${kind(c)} data-label=${c.label}>${c.of(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

export function Spark({ values, label }) {
  if (!values || !values.length) return html`<span class="faint">–</span>`;
  const last = values.slice(-24);
  const most = Math.max(1, ...last);
  return html`<svg class="spark" viewBox="0 0 96 24" role="img" aria-label=${`${label}: ${last.map(count).join(', ')}`}>
    ${last.map((v, i) => {
      const height = v ? Math.max(2, Math.log1p(v) / Math.log1p(most) * 23) : 1;
      return html`<rect x=${(24 - last.length + i) * 4} y=${24 - height} width="3" height=${height} />`;
    })}</svg>`;
}

// `points`: [seconds since 1970, value].
export function Chart({ points, label }) {
  const place = useRef(null);
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const change = () => setTheme((n) => n + 1);
    dark.addEventListener('change', change);
    return () => dark.removeEventListener('change', change);
  }, []);
  useEffect(() => {
    const at = place.current;
    if (!at || !points.length) return undefined;
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: colour('--faint'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line') } };
    const size = () => ({ width: Math.max(200, at.clientWidth), height: 190 });
    const chart = new window.uPlot({
      ...size(),
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high)] } },
      series: [{}, { label, stroke: colour('--chart'), fill: `${colour('--chart')}22`, width: 2, points: { show: points.length < 40 } }],
      axes: [axis, { ...axis, size: 60, values: (_, all) => all.map((v) => (Number.isInteger(v) ? count(v) : '')) }],
    }, [points.map((p) => p[0]), points.map((p) => p[1])], at);
    const watch = new ResizeObserver(() => chart.setSize(size()));
    watch.observe(at);
    return () => { watch.disconnect(); chart.destroy(); };
  }, [points, theme, label]);
  if (!points.length) return html`<p class="faint">No run has ended yet.</p>`;
  return html`<div class="chart" ref=${place} role="img" aria-label=${`${label}, last ${points[points.length - 1][1]}`}></div>`;
}

export function Notice({ tone, children }) {
  return html`<div class="notice ${tone || ''}" role=${tone === 'bad' ? 'alert' : 'status'}>${children}</div>`;
}

// Asks before something is done that is not easily undone. `ask`: {title, text, verb, go} or nothing.
export function Confirm({ ask, close }) {
  const place = useRef(null);
  useEffect(() => {
    if (ask && place.current && !place.current.open) place.current.showModal();
  }, [ask]);
  if (!ask) return null;
  return html`<dialog ref=${place} onClose=${close} aria-labelledby="confirm">
    <h2 id="confirm">${ask.title}</h2><p>${ask.text}</p>
    <form method="dialog" class="bar">
      <button class="main" type="button" onClick=${() => { place.current.close(); ask.go(); }}>${ask.verb}</button>
      <button>Leave it</button>
    </form></dialog>`;
}

// What `load` gives, read anew when `again` changes; what was there stays until the new is there.
export function useLoaded(load, again) {
  const [state, set] = useState({ value: null, error: null });
  useEffect(() => {
    let wanted = true;
    load().then((value) => wanted && set({ value, error: null }), (error) => wanted && set((s) => ({ ...s, error })));
    return () => { wanted = false; };
  }, again);
  return state;
}
