// The Worker's logic, with fetch in the test's hands: node --test testdata/cloudflare.test.mjs
import assert from 'node:assert/strict'
import {readFile} from 'node:fs/promises'
import {test} from 'node:test'

const source = await readFile(new URL('../cloudflare.js', import.meta.url))
const {default: worker} = await import(`data:text/javascript;base64,${source.toString('base64')}`)

const env = {ORIGIN: 'https://origin.example.com', ORIGIN_SECRET: 'origin-secret', CACHE_SECRET: 'cache secret&'}

// run lets the Worker answer a request and tells what it has fetched: /auth/verify answers with verdict.
async function run(path, {headers = {}, method = 'GET', verdict = 204, settings = env} = {}) {
	const fetched = []
	globalThis.fetch = async (url, options) => {
		fetched.push({url: new URL(url), ...options, headers: new Headers(options.headers)})
		const decision = new URL(url).pathname === '/auth/verify'
		return decision ? new Response(null, {status: verdict}) : new Response('tile', {
			headers: {'Cache-Control': 'max-age=3600, s-maxage=86400', 'Surrogate-Key': 'tileset-basemap', Age: '7'},
		})
	}
	const answer = await worker.fetch(new Request('https://tiles.example.com' + path, {headers, method}), settings)
	return {answer, fetched, shared: fetched.filter(f => f.cf?.cacheEverything)}
}

test('a tile is kept under an address that nobody can guess', async () => {
	const viewer = {Authorization: 'Bearer x', Cookie: 'a=b', Origin: 'https://app.example.com', 'X-Origin-Verify': 'x'}
	const {answer, fetched, shared} = await run('/tiles/basemap/1/0/0.png?v=1&shared=x&access_token=y', {headers: viewer})
	assert.equal(fetched[0].headers.get('X-Original-URI'), '/tiles/basemap/1/0/0.png?v=1&shared=x&access_token=y')
	assert.equal(shared.length, 1)
	assert.equal(shared[0].url.origin + shared[0].url.pathname, 'https://origin.example.com/tiles/basemap/1/0/0.png')
	assert.deepEqual([...shared[0].url.searchParams], [['shared', 'cache secret&'], ['origin', 'https://app.example.com']])
	assert.deepEqual([...shared[0].headers], [['origin', 'https://app.example.com'], ['x-origin-verify', 'origin-secret']])
	assert.equal(answer.headers.get('Cache-Control'), 'private, max-age=3600')
	for (const name of ['Age', 'Surrogate-Key']) assert.equal(answer.headers.get(name), null)
})

test('nothing is kept for who is refused, of other paths, by other methods, or without the secret', async () => {
	for (const [path, options] of [
		['/tiles/basemap/1/0/0.png', {verdict: 401}],
		['/tiles/basemap/1/0/0.png', {verdict: 200}],
		['/tiles/basemap.json', {}],
		['/tiles/other/1/0/0.png', {}],
		['/session', {method: 'POST'}],
		['/tiles/basemap/1/0/0.png', {method: 'OPTIONS'}],
		['/tiles/basemap/1/0/0.png', {settings: {...env, CACHE_SECRET: undefined}}],
		['/tiles/basemap/1/0/0.png', {settings: {...env, CACHE_SECRET: ''}}],
	]) {
		const {fetched, shared} = await run(path, options)
		assert.equal(shared.length, 0, path)
		const last = fetched.at(-1)
		assert.equal(last.url.href, 'https://origin.example.com' + path)
		assert.equal(last.cache, 'no-store')
		assert.equal(last.headers.get('X-Origin-Verify'), null)
	}
})
