// The documents of a pipeline that were refused, and another try for them: all of them, or those of one class.
import { html, useMemo, useState } from '/dashboard/preact-htm.js';
import { post } from '/dashboard/api.js';
import { Age, Badge, count, Notice, Table } from '/dashboard/parts.js';

const columns = [
  { label: 'Document', of: (l) => l.name },
  { label: 'Class', short: true, of: (l) => html`<${Badge} tone="bad">${l.class}<//>` },
  { label: 'Tries', number: true, of: (l) => l.attempts },
  { label: 'Since', short: true, of: (l) => html`<${Age} time=${l.createdAt} />` },
  { label: 'Why', wide: true, of: (l) => l.message },
];

export function DeadLetters({ name, letters, done }) {
  const [said, setSaid] = useState(null);
  const [busy, setBusy] = useState(false);
  const classes = useMemo(() => [...new Set(letters.items.map((l) => l.class))].sort(), [letters]);
  if (!letters.items.length) return html`${said && html`<${Notice} tone=${said.tone}>${said.text}<//>`}<p class="faint">No document was refused.</p>`;
  const retry = async (body) => {
    setBusy(true);
    try {
      setSaid({ tone: 'good', text: (await post(`/pipelines/${encodeURIComponent(name)}/retry-dead-letters`, { actor: 'dashboard', ...body })).done });
      done();
    } catch (error) {
      setSaid({ tone: 'bad', text: error.message });
    }
    setBusy(false);
  };
  return html`<div class="bar">
      <button disabled=${busy} onClick=${() => retry({})}>Try all again</button>
      ${classes.length > 1 && classes.map((c) => html`<button disabled=${busy} onClick=${() => retry({ class: c })}>Try those of class ${c} again</button>`)}
    </div>
    ${said && html`<${Notice} tone=${said.tone}>${said.text}<//>`}
    <${Table} columns=${columns} rows=${letters.items} nothing="" />
    ${letters.next && html`<p class="faint">These are the newest ${count(letters.items.length)}; homeostat dead-letters list ${name} shows all.</p>`}`;
}
