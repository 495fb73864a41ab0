// Opens the demo's page, signs in, waits for the map, looks at what the panel says, takes a screenshot, signs out, and
// sees that nothing is left:
//
//	node .ci/browser/demo.js http://127.0.0.1:8080/ shot.png|shot.jpg [--account ada] [--tiles 12] [--size 1280x800] [--dark]
//		[--show 'map=2/28/12&style=cartography/world']

import {parseArgs} from 'node:util'
import {accessible, check, prepareAxe, run, webGL, withPage} from './chromium.js'

const {values, positionals: [address, shot]} = parseArgs({
	allowPositionals: true,
	options: {
		account: {type: 'string', default: 'ada'},
		tiles: {type: 'string', default: '12'},
		size: {type: 'string', default: '1280x800'},
		dark: {type: 'boolean', default: false},
		show: {type: 'string', default: ''},
	},
})
if (!address || !shot) {
	console.error('usage: node demo.js URL SCREENSHOT.png [--account NAME] [--tiles N] [--size WIDTHxHEIGHT] [--dark]')
	process.exit(2)
}
const [width, height] = values.size.split('x').map(Number)
const want = Number(values.tiles)
const patience = {timeout: 90_000}

// measure opens the page again and tells after how many milliseconds the first map was there. The page's thread works on
// a clock of its own, which stands while others have the processor: MapLibre's workers, the software that stands in for a
// GPU, and other programs.
async function measure(page) {
	const devtools = await page.context().newCDPSession(page)
	await devtools.send('Performance.enable', {timeDomain: 'threadTicks'})
	await page.reload({waitUntil: 'commit'})
	await page.waitForFunction(() => document.body?.dataset.drawn, null, patience)
	const {metrics} = await devtools.send('Performance.getMetrics')
	return page.evaluate((worked) => {
		const drawn = Number(document.body.dataset.drawn)
		const all = performance.getEntriesByType('resource')
		const tiles = all.filter((r) => /\/tiles\/.*\.(png|mvt)/.test(r.name) && r.responseEnd <= drawn).map((r) => r.responseEnd)
		const scripts = new Map(all.filter((r) => r.name.endsWith('.js')).map((r) => [r.name, r.encodedBodySize]))
		return {drawn, tiles: Math.round(Math.max(...tiles)), worked, script: [...scripts.values()].reduce((sum, n) => sum + n, 0)}
	}, Math.round(metrics.find(({name}) => name === 'TaskDuration').value * 1000))
}

run(() => withPage({viewport: {width, height}, colorScheme: values.dark ? 'dark' : 'light', args: webGL}, async (page, complaints) => {
	const text = (id) => page.locator(`#${id}`).innerText()
	const asked = new Set()
	page.on('request', (r) => { if (new URL(r.url()).pathname.startsWith('/tiles/') && !r.url().endsWith('.json')) asked.add(r.url()) })
	// A picture of nothing but sea is small. What is clipped out has neither controls nor the panel in it.
	const pictureSize = async () => (await page.screenshot({clip: {x: 80, y: 80, width: 300, height: Math.min(300, height - 160)}})).length

	await prepareAxe(page)
	await page.goto(values.show ? `${address}#${values.show}` : address)
	await page.waitForFunction(() => document.querySelector('#who').innerText !== '…', null, patience)
	check((await text('who')).includes('not signed in'), `an anonymous visitor to be nobody, got “${await text('who')}”`)
	const map = await page.waitForFunction(() => document.body.dataset.map, null, patience)
	check(await map.jsonValue() === 'ready', `a map, got “${await text('curtain')}”`)
	check(asked.size === 0, 'no tiles before signing in')
	await accessible(page, 'signed out')
	const empty = await pictureSize()

	await page.locator(`[data-account="${values.account}"]`).click()
	await page.waitForFunction((n) => document.body.dataset.drawn && document.querySelectorAll('#tiles td').length >= 6 * n, want, patience).catch(async (e) => {
		const panel = (await text('panel')).replaceAll('\n', ' | ')
		throw new Error(`${want} tiles drawn (${e.message.split('\n')[0]}); the panel says: ${panel}`)
	})
	check(await pictureSize() > 3 * empty, 'the map to be seen')

	const origin = new URL(address).origin
	for (const url of asked)
		check(new RegExp(`^${origin}/tiles/(\\w+/)?\\d+/\\d+/\\d+(@2x)?(\\.\\w+)?(\\?v=.*)?$`).test(url), `tile URLs without a credential, got ${url}`)
	check(new RegExp(`\\b${values.account}\\b`).test(await text('who')), `the panel to name ${values.account}, got “${await text('who')}”`)
	if (values.show.includes('style=')) {
		const chosen = await page.locator('#choice :checked').getAttribute('value')
		check(values.show.endsWith(chosen.replace(':', '=')), `the style to be chosen, got ${chosen}`)
		check(await page.locator('#layer-list li').count() >= 3, 'the layers of the style')
		const kinds = await page.evaluate(() => performance.getEntriesByType('resource').map((r) => decodeURI(new URL(r.name).pathname)))
		for (const kind of [/style\.json$/, /fonts\/.*\.pbf$/, /sprites\/.*\.png$/]) check(kinds.some((path) => kind.test(path)), `${kind} to be asked for, got ${kinds}`)
	} else check(/^\d+ – \d+$/.test(await text('zooms')), `a zoom range, got “${await text('zooms')}”`)
	check(await page.locator('#trouble').isHidden(), `no trouble, got “${await page.locator('#trouble').innerText().catch(() => '')}”`)
	const rows = await page.locator('#tiles tr').evaluateAll((all) => all.map((r) => [...r.cells].map((c) => c.innerText)))
	for (const [tile, cache, status] of rows) {
		check(/^\d+\/\d+\/\d+$/.test(tile), `a row for a tile, got “${tile}”`)
		check(['hit', 'miss', 'joined', 'browser'].includes(cache), `a cache outcome for ${tile}, got “${cache}”`)
		check(status === '200' || cache === 'browser', `status 200 for ${tile}, got “${status}”`)
	}
	check(rows.some(([, cache]) => cache === 'miss' || cache === 'hit'), `Server-Timing to tell hits from misses, got ${rows.map((r) => r[1])}`)
	await page.mouse.move(width / 3, height / 2)
	await page.waitForTimeout(400) // MapLibre fades tiles in
	await page.screenshot({path: shot, ...(shot.endsWith('.jpg') ? {quality: 86} : {})})
	await accessible(page, 'signed in')

	const visit = await measure(page)
	check(visit.script > 100_000 && visit.script <= 350_000, `at most 350 kB of script, got ${visit.script} bytes`)

	const [one] = asked
	await page.locator('#sign-out').click()
	await page.waitForFunction(() => document.querySelector('#who').innerText.includes('not signed in'), null, patience)
	await page.waitForFunction(() => document.querySelector('#grant').hidden, null, patience)
	await page.mouse.move(width / 2, height - 4)
	check(await pictureSize() < 2 * empty, 'no tile to stay after signing out')
	check(await page.locator('#tiles tr').count() === 0, 'the list of tiles to be empty after signing out')
	check(await page.locator('#grant').isHidden(), 'nothing granted after signing out')
	const status = await page.evaluate((url) => fetch(url).then((r) => r.status), one)
	check(status === 401, `a tile to be refused with 401 after signing out, got ${status}`)
	check(complaints.length === 0, `no complaint of the browser's, got ${complaints[0]}`)
	console.log(`ok: ${rows.length} tiles for ${values.account}; screenshot in ${shot}`)
	console.log(`the next visit: the last tile after ${visit.tiles} ms, the map drawn after ${visit.drawn} ms, of which the page's thread worked ${visit.worked} ms; ${visit.script} bytes of script`)
}))
