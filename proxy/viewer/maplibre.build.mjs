// Bundles MapLibre GL JS for the map page into maplibre/. Its published files hold the code that the map and its worker
// share twice; split, it is loaded once, which saves a quarter. The names hold the content's hash, so that browsers may
// keep the files forever.

import {readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {brotliCompressSync, constants, gzipSync} from 'node:zlib'
import {build} from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const to = join(here, 'maplibre')
const from = join(here, 'node_modules', 'maplibre-gl')

for (const name of readdirSync(to)) if (name.startsWith('maplibre') || name === 'LICENSE.txt') rmSync(join(to, name))
const {version} = JSON.parse(readFileSync(join(from, 'package.json')))
const license = `/*! MapLibre GL JS ${version}, BSD-3-Clause, https://github.com/maplibre/maplibre-gl-js/blob/v${version}/LICENSE.txt */`
await build({
	absWorkingDir: here,
	entryPoints: {'maplibre-map': 'maplibre.mjs', 'maplibre-worker': join(from, 'src/source/worker.ts'), 'maplibre-style': join(from, 'dist/maplibre-gl.css')},
	entryNames: '[name]-[hash]',
	chunkNames: 'maplibre-shared-[hash]',
	bundle: true, splitting: true, minify: true, format: 'esm', target: 'es2022',
	tsconfigRaw: {compilerOptions: {useDefineForClassFields: false}}, // as MapLibre's own: its arrays declare fields that a base class sets
	legalComments: 'none',
	banner: {js: license, css: license},
	outdir: to,
	// The package exports its published files alone, and has its source beside them.
	plugins: [{name: 'source', setup: ({onResolve}) => onResolve({filter: /^maplibre-gl\/src\//}, ({path}) => ({path: join(here, 'node_modules', path)}))}],
})
for (const name of readdirSync(to)) {
	if (!name.startsWith('maplibre')) continue
	const body = readFileSync(join(to, name))
	writeFileSync(join(to, name + '.gz'), gzipSync(body, {level: 9}))
	writeFileSync(join(to, name + '.br'), brotliCompressSync(body, {params: {[constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 22}}))
}
writeFileSync(join(to, 'LICENSE.txt'), readFileSync(join(from, 'LICENSE.txt'))) // last, and new: it tells make that the rest is done
