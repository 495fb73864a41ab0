// A map of Leaflet's or MapLibre's, or an archive in MapLibre, in front of a real tilegate, on another origin than it:
//
//	node .ci/browser/maps.js leaflet|maplibre|archive|style|cesium|helper CASE SCREENSHOT.png
//
// $PAGES and $TILES are the two origins, $SPKI the hash of the key that signed their certificates, $CONTROL what the
// servers tell of the requests that reached them. Nothing is intercepted: that would turn the browser's cache off.

import {check, run, webGL, withPage} from './chromium.js'

const [library, name, shot] = process.argv.slice(2)
const {PAGES: pages, TILES: tiles, SPKI: spki, CONTROL: control} = process.env
const patience = {timeout: 60_000}
const away = [-100, 40], back = [10, 50] // the view that a map begins with
const quarters = [[30, 40], [-10, 45], [45, 55], [5, 60]]

const ask = async (path) => {
	const r = await fetch(control + path)
	if (!r.ok) throw Error(`${path}: ${await r.text()}`)
	return r.json()
}

// recorder tells what has reached tilegate since it was last asked.
async function recorder() {
	let seen = (await ask('/requests')).length
	return async () => {
		const all = await ask('/requests')
		const fresh = all.slice(seen)
		seen = all.length
		return fresh
	}
}

const isTile = ({path}) => /\/tiles\/\w+\/\d+\/\d+\/\d+\.png$/.test(path)
const line = ({method, path, status}) => `${method} ${path} ${status}`

// tilesIn are the tile requests among them, each of which must have this method and status.
function tilesIn(requests, status, when) {
	const some = requests.filter(isTile)
	for (const r of some) check(r.method === 'GET' && r.status === status, `${when}: only GET with ${status}, got ${line(r)}`)
	return some
}

const none = (requests, when) => check(!requests.some(isTile), `${when}: no tile request, got ${requests.filter(isTile).map(line)}`)

// app calls window.app in the page.
const app = (page, method, ...args) => page.evaluate(([m, a]) => window.app[m](...a), [method, args])
const covered = (page) => app(page, 'covered')
const whole = async (page, when) => check(await covered(page) === 1, `${when}: the map covered with tiles, got ${await covered(page)} of it`)
const bare = async (page, when) => check(await covered(page) === 0, `${when}: no tile to be seen, got ${await covered(page)} of the map`)

async function load(page, how = 'goto') {
	await (how === 'reload' ? page.reload() : page.goto(`${pages}/${library}.html?server=${encodeURIComponent(tiles)}`))
	await page.waitForFunction(() => window.app, null, patience)
}

// signedIn loads the page, signs in and opens the map.
async function signedIn(page, tileset, how) {
	await load(page, how)
	await app(page, 'signIn')
	check((await page.evaluate(() => app.errors)).length === 0, `to be signed in, got ${JSON.stringify(await page.evaluate(() => app.errors))}`)
	await app(page, 'open', 'session', tileset)
}

// wholeMap opens the style twice: all that it names comes from the private bucket, once, and nothing from anywhere else.
async function wholeMap(page, via, begin, prefix) {
	const elsewhere = []
	page.on('request', (r) => {
		const {origin, protocol} = new URL(r.url())
		if (![pages, tiles].includes(origin) && protocol.startsWith('http')) elsewhere.push(r.url())
	})
	const since = await recorder()
	const parts = async () => (await since()).filter((r) => /\/(tiles|assets)\//.test(r.path))
	const drawn = async (when) => {
		await app(page, 'open', via, 'cartography')
		const names = await app(page, 'written', 'names'), small = await app(page, 'written', 'small'), seas = await app(page, 'written', 'seas')
		check(names.includes('Germany') && small.includes('Luxembourg') && seas.length > 0, `${when}: names of countries and seas, got ${names} ${small} ${seas}`)
		check(String((await app(page, 'painted')).sort()) === 'dot,ice', `${when}: the sprite, got ${await app(page, 'painted')}`)
		const said = await page.evaluate(() => failures)
		check(said.length === 0, `${when}: no error of MapLibre's, got ${said}`)
	}
	await begin()
	await drawn('opened')
	const first = await parts()
	const at = (path) => first.filter((r) => r.method === 'GET' && r.status === 200 && new RegExp(`^${prefix}/${path}$`).test(r.path)).length
	for (const path of ['assets/cartography/style\\.json', 'assets/cartography/sprites/world\\.json', 'assets/cartography/sprites/world\\.png', 'assets/cartography/waters\\.geojson', 'tiles/countries\\.json',
		'assets/cartography/fonts/Go Medium/0-255\\.pbf', 'assets/cartography/fonts/Go Italic/0-255\\.pbf'])
		check(at(path) === 1, `${path} once, got ${first.map(line)}`)
	const tilesAsked = at('tiles/countries/4/\\d+/\\d+\\.mvt')
	check(tilesAsked >= 2 && first.filter((r) => r.method === 'GET').length === 7 + tilesAsked, `nothing but that, got ${first.map(line)}`)
	await page.screenshot({path: shot})

	await page.reload()
	await begin()
	await drawn('reloaded')
	const again = await parts()
	// TileJSON says what this caller may see now, and is never kept.
	check(String(again.map(line)) === `GET ${prefix}/tiles/countries.json 200`, `nothing but TileJSON to be asked for again, got ${again.map(line)}`)
	check(elsewhere.length === 0, `nothing from anywhere else, got ${elsewhere}`)
}

// asked sees that tilegate was asked for these objects of bundles by a token in the path, each once, and for no other.
async function asked(since, paths) {
	const some = (await since()).filter((r) => r.path.includes('/assets/'))
	check(String(some.map(line).sort()) === String(paths.map((path) => `GET /t/-/assets/${path} 200`).sort()), `each of ${paths} once, got ${some.map(line)}`)
}

// colours counts the red and the blue points of the page.
const colours = (page) => page.screenshot({path: shot}).then((png) => page.evaluate(async (base64) => {
	const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob())
	const copy = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
	copy.drawImage(bitmap, 0, 0)
	const {data} = copy.getImageData(0, 0, bitmap.width, bitmap.height)
	const seen = {red: 0, blue: 0}
	for (let i = 0; i < data.length; i += 4) {
		if (data[i] > 2 * data[i + 1] + 40 && data[i] > 2 * data[i + 2] + 40) seen.red++
		if (data[i + 2] > 2 * data[i] + 40 && data[i + 2] > 2 * data[i + 1] + 40) seen.blue++
	}
	return seen
}, png.toString('base64')))

const cases = {
	// A user's whole visit. The URLs are those of the tiles and nothing else, all the way.
	async session(page) {
		const since = await recorder()
		await signedIn(page, 'world')
		await whole(page, 'signed in')
		const first = tilesIn(await since(), 200, 'signed in')
		check(first.length >= 4 && new Set(first.map((r) => r.path)).size === first.length, `each tile once, got ${first.map(line)}`)

		await app(page, 'go', ...away)
		await whole(page, 'panned away')
		check(tilesIn(await since(), 200, 'panned away').length >= 4, 'other tiles where the map was panned to')
		for (const to of [back, away, back]) await app(page, 'go', ...to)
		await whole(page, 'panned back')
		none(await since(), 'panned away and back')

		const known = await page.evaluate(() => [...new Set(app.asked)].sort())
		const cookies = new Set()
		for (let i = 1; i <= 4; i++) {
			const renewed = page.evaluate(() => app.session.renew())
			for (const to of [away, back]) await app(page, 'go', ...to)
			await renewed
			await whole(page, `renewed ${i} times`)
			cookies.add((await page.context().cookies(tiles)).find((c) => c.name === '__Host-tilegate')?.value)
		}
		const during = await since()
		none(during, 'renewed four times')
		check(during.filter((r) => r.method === 'POST' && r.path === '/session' && r.status === 200).length === 4, `four renewals, got ${during.map(line)}`)
		check(cookies.size === 4 && !cookies.has(undefined), `a cookie from each renewal, got ${cookies.size}`)
		check(JSON.stringify(await page.evaluate(() => [...new Set(app.asked)].sort())) === JSON.stringify(known), 'tile URLs to stay what they were')
		for (const url of known) check(/^https:\/\/tiles\.example\.test:\d+\/tiles\/world\/4\/\d+\/\d+\.png(\?v=1)?$/.test(url), `plain tile URLs, got ${url}`)
		for (const to of quarters) await app(page, 'go', ...to)
		check(tilesIn(await since(), 200, 'with the renewed session').length >= 3, 'new tiles with the renewed session')

		await signedIn(page, 'world', 'reload')
		await whole(page, 'reloaded')
		none(await since(), 'reloaded')
		await page.screenshot({path: shot})

		await page.evaluate(() => app.session.signOut())
		await page.waitForFunction(() => app.covered() === 0, null, patience) // onchange(null) takes the map down
		none(await since(), 'signed out')
		// In this tab Chromium may paint again, from the renderer's own memory, what an image element has shown: no header
		// of ours reaches that, and docs/security.md says so. A new tab has what the browser's cache has, and that is what
		// signing out empties.
		const fresh = await page.context().newPage()
		await load(fresh)
		await app(fresh, 'open', 'tiles', 'world')
		await bare(fresh, 'signed out, in a new tab')
		const refused = (await since()).filter((r) => r.path.startsWith('/tiles/'))
		check(refused.length > 0 && refused.every((r) => r.status === 401), `only 401 once signed out, got ${refused.map(line)}`)
		check((await page.context().cookies(tiles)).length === 0, 'no cookie once signed out')
	},

	// A strict tileset is asked for each time, and sent once.
	async strict(page) {
		const since = await recorder()
		await signedIn(page, 'strict')
		await whole(page, 'signed in')
		const first = tilesIn(await since(), 200, 'signed in')
		await signedIn(page, 'strict', 'reload')
		await whole(page, 'reloaded')
		const again = tilesIn(await since(), 304, 'reloaded')
		check(again.length === first.length, `a 304 for each of ${first.length} tiles, got ${again.length}`)
	},

	// A path token needs no cookie, and no preflight: nothing about the request is for a server to allow beforehand.
	async path(page) {
		const since = await recorder()
		await load(page)
		await app(page, 'open', 'path', 'world')
		await whole(page, 'opened')
		check(tilesIn(await since(), 200, 'opened').length >= 4, 'tiles')
		for (const to of [away, back]) await app(page, 'go', ...to)
		await whole(page, 'panned back')
		check(tilesIn(await since(), 200, 'panned').length >= 4, 'other tiles where the map was panned to')
		for (const url of await page.evaluate(() => app.asked)) check(/\/t\/[\w.-]+\/tiles\/world\/4\/\d+\/\d+\.png/.test(url), `the token in the path, got ${url}`)
		check((await page.context().cookies(tiles)).length === 0, 'no cookie')
	},

	// The control: the same map, the same pans, on URLs that are signed anew each time. If this did not ask again and
	// go blank meanwhile, the cases above would prove nothing.
	async presigned(page) {
		await load(page)
		await app(page, 'open', 'presigned', 'world')
		await whole(page, 'opened')
		const first = await ask('/objects')
		await app(page, 'go', ...away)
		const before = await ask('/objects')
		await ask('/hold')
		const panned = app(page, 'go', ...back)
		while (await ask('/held') === 0) await page.waitForTimeout(20)
		await bare(page, 'panned back while S3 takes its time')
		await ask('/release')
		await panned
		await whole(page, 'panned back')
		const again = await ask('/objects') - before
		check(again >= 4 && first >= again, `the bucket to be asked again for each tile, got ${again} of ${first}`)
		const asked = await page.evaluate(() => app.asked)
		check(new Set(asked).size === asked.length, 'each URL to be another one')
	},

	// An image element that is told crossorigin="anonymous", and a script that does not include credentials, leave the
	// cookie behind: the map stays empty, the page can read why, and nobody is asked for a password.
	async anonymous(page) {
		const answers = []
		page.on('response', (r) => { if (isTile({path: new URL(r.url()).pathname})) answers.push(r) })
		page.on('dialog', (d) => { answers.push(d) })
		const since = await recorder()
		await load(page)
		await app(page, 'signIn')
		await app(page, 'open', 'tiles', 'world', {anonymous: true}) // would not end while a dialog is open
		await bare(page, 'without the cookie')
		const refused = (await since()).filter((r) => r.path.startsWith('/tiles/'))
		check(refused.length > 0 && refused.every((r) => r.method === 'GET' && r.status === 401), `only GET with 401, got ${refused.map(line)}`)
		const read = await page.evaluate(async (url) => {
			const r = await fetch(url, {credentials: 'omit'})
			return [r.status, (await r.json()).status]
		}, `${tiles}/tiles/world/5/1/1.png`)
		check(String(read) === '401,401', `a script to read the 401 and its reason, got ${read}`)
		check(answers.length > 0, 'answers')
		for (const r of answers) {
			const h = await r.allHeaders()
			check(h['access-control-allow-origin'] === pages && h['access-control-allow-credentials'] === 'true', `CORS headers on the 401, got ${JSON.stringify(h)}`)
			check(/^Bearer /.test(h['www-authenticate']), `no challenge that opens a dialog, got ${h['www-authenticate']}`)
		}
	},

	// A vector archive by its tiles: drawn where they belong, and none is asked for again after a reload.
	async tilejson(page) {
		const since = await recorder()
		await signedIn(page, 'countries')
		check(String(await app(page, 'named')) === 'Germany', `Germany in the middle, got ${await app(page, 'named')}`)
		await app(page, 'go', -100, 40)
		check(String(await app(page, 'named')) === 'United States of America', `the United States, got ${await app(page, 'named')}`)
		const asked = (await since()).filter((r) => r.path.startsWith('/tiles/countries/'))
		check(asked.length >= 4 && asked.every((r) => r.status === 200 && /^\/tiles\/countries\/3\/\d\/\d\.mvt$/.test(r.path)), `tiles, got ${asked.map(line)}`)
		await page.screenshot({path: shot})
		await signedIn(page, 'countries', 'reload')
		const again = (await since()).filter((r) => r.path.startsWith('/tiles/countries/'))
		check(again.length === 0 && String(await app(page, 'named')) === 'Germany', `nothing to be asked for again, got ${again.map(line)}`)
	},

	// The same archive by ranges of its file, with pmtiles.js and the session's cookie.
	async ranges(page) {
		const since = await recorder()
		await load(page)
		await app(page, 'signIn')
		await app(page, 'open', 'ranges', 'countries')
		check(String(await app(page, 'named')) === 'Germany', `Germany in the middle, got ${await app(page, 'named')}`)
		const asked = (await since()).filter((r) => r.path.startsWith('/tiles/'))
		check(asked.length >= 2 && asked.every((r) => r.method === 'GET' && r.status === 206 && r.path === '/tiles/countries.pmtiles'), `ranges of the file, got ${asked.map(line)}`)
		await page.evaluate(() => app.session.signOut())
		const status = await page.evaluate((url) => fetch(url, {credentials: 'include', headers: {Range: 'bytes=0-9'}, cache: 'no-store'}).then((r) => r.status), `${tiles}/tiles/countries.pmtiles`)
		check(status === 401, `the file to be closed once signed out, got ${status}`)
	},

	// A style with its tiles, glyphs and sprite, by the cookie.
	async cookie(page) {
		await load(page)
		await app(page, 'open', 'bundle', 'cartography', {anonymous: true})
		const said = await page.evaluate(() => failures)
		check(said.length === 1 && said[0].includes('401'), `no style without the cookie, got ${said}`)
		await wholeMap(page, 'bundle', async () => {
			await load(page)
			await app(page, 'signIn')
		}, '')
	},

	// The same by a token in the path, and no cookie.
	async token(page) {
		await wholeMap(page, 'bundleByPath', () => load(page), '/t/-') // as the log has it
		check((await page.context().cookies(tiles)).length === 0, 'no cookie')
	},

	// CesiumJS goes from a tileset to the one in it, and from there to its models, by relative addresses: the token stays.
	async tiles3d(page) {
		const since = await recorder()
		await load(page)
		const loaded = await app(page, 'city', await app(page, 'address', 'bundleByPath', 'city'))
		const said = await page.evaluate(() => failures)
		check(said.length === 0, `no tile to fail, got ${said}`)
		const parts = ['city/district/block.glb', 'city/district/tileset.json', 'city/district/tower.b3dm']
		check(String(loaded) === String(parts), `Cesium to load ${parts}, got ${loaded}`)
		await asked(since, ['city/tileset.json', ...parts])
		const coloured = await colours(page)
		check(coloured.red > 500 && coloured.blue > 100, `the block and the tower to be seen, got ${JSON.stringify(coloured)}`)
		check((await page.context().cookies(tiles)).length === 0, 'no cookie')
	},

	// Terrain, of which the finer level is announced and missing: Cesium goes on with what it has.
	async terrain(page) {
		const since = await recorder()
		await load(page)
		const {heights, missing} = await app(page, 'terrain', await app(page, 'address', 'bundleByPath', 'terrain'), [[-135, 10], [45, 30], [135, -40]])
		const want = [1500, 1500, 4500]
		check(heights.length === 3 && heights.every((h, i) => Math.abs(h - want[i]) < 5), `heights of ${want}, got ${heights}`)
		const some = (await since()).filter((r) => r.path.includes('/assets/'))
		for (const part of ['layer.json', '0/0/0.terrain', '0/1/0.terrain'])
			check(some.some((r) => r.path === `/t/-/assets/terrain/${part}` && r.status === 200), `${part}, got ${some.map(line)}`)
		const finer = some.filter((r) => r.path.startsWith('/t/-/assets/terrain/1/'))
		check(finer.length > 0 && finer.every((r) => r.status === 404) && missing.every((name) => name.startsWith('1/')), `404 for the finer level alone, got ${some.map(line)}, ${missing}`)
		const said = await page.evaluate(() => failures)
		check(said.length === 0, `no failure, got ${said}`)
		await page.screenshot({path: shot})
	},

	// tilegate.js in a browser's own time: sessions of 9 s, which are to be renewed after 6.
	async renews(page) {
		const since = await recorder()
		await load(page)
		await app(page, 'signIn', 'ada', 9)
		await page.waitForFunction(() => app.changes.length >= 3, null, patience)
		const changes = await page.evaluate(() => app.changes)
		for (const [i, {at}] of changes.slice(1).entries())
			check(at >= Date.parse(changes[i].renew_after) - 1000, `no renewal before ${changes[i].renew_after}, got one at ${new Date(at).toISOString()}`)
		const posts = (await since()).filter((r) => r.path === '/session' && r.method === 'POST')
		check(posts.length >= 3 && posts.every((r) => r.status === 200), `a renewal each time, got ${posts.map(line)}`)
		check((await page.evaluate(() => app.errors)).length === 0, 'no error')
	},

	// A device that sleeps runs no timer; what it does when it wakes is tell the page that it is visible.
	async wakes(page) {
		await page.addInitScript(() => { window.setTimeout = () => 0 })
		const since = await recorder()
		await load(page)
		await app(page, 'signIn', 'ada', 9)
		const wake = () => page.evaluate(() => { document.dispatchEvent(new Event('visibilitychange', {bubbles: true})) })
		const posts = async () => (await since()).filter((r) => r.path === '/session' && r.method === 'POST').length
		await wake()
		check(await posts() === 1, 'no renewal when the tab wakes early')
		await page.waitForFunction(() => Date.now() > Date.parse(app.changes[0].expires_at), null, patience)
		check(await posts() === 0, 'the tab to be asleep')
		await wake()
		await page.waitForFunction(() => app.changes.length === 2, null, patience)
		check(await posts() === 1, 'a renewal when the tab wakes late')
	},

	// Each way in which it can fail is told to the page, with what to do.
	async reports(page) {
		await load(page)
		await page.evaluate(() => { app.token = async () => 'not.a.token' })
		await app(page, 'signIn')
		let [refused] = await page.evaluate(() => app.errors)
		check(refused?.status === 401 && refused.retry === undefined && refused.message.length > 10, `a refused token to be told, got ${JSON.stringify(refused)}`)

		await page.evaluate(() => { app.token = undefined })
		await page.evaluate(() => app.session.renew())
		check((await page.evaluate(() => app.changes.length)) === 1, 'a good token to be taken next')
		await page.evaluate(() => { app.token = async () => 'whatever' })
		await page.context().setOffline(true)
		await page.evaluate(() => app.session.renew())
		const [, offline] = await page.evaluate(() => app.errors)
		check(offline?.status === 0 && offline.retry === 5, `no answer to be told with the next try, got ${JSON.stringify(offline)}`)
	},
}

run(() => withPage({
	viewport: {width: 500, height: 300},
	args: [
		`--ignore-certificate-errors-spki-list=${spki}`,
		'--host-resolver-rules=MAP *.example.test 127.0.0.1',
		...webGL, // for MapLibre
	],
}, async (page, complaints) => {
	page.setDefaultTimeout(patience.timeout)
	await cases[name](page)
	const real = complaints.filter((c) => !/ERR_INTERNET_DISCONNECTED/.test(c))
	check(real.length === 0, `no complaint of the browser's, got ${real[0]}`)
}))
