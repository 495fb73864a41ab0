// Opens the demo's page, signs in, waits for the map, looks at what the panel says, takes a screenshot, signs out, and
// sees that nothing is left:
//
//	node .ci/browser/demo.js http://127.0.0.1:8080/ shot.png [--account ada] [--tiles 12] [--size 1280x800] [--dark]

import {parseArgs} from 'node:util'
import {check, run, withPage} from './chromium.js'

const {values, positionals: [address, shot]} = parseArgs({
	allowPositionals: true,
	options: {
		account: {type: 'string', default: 'ada'},
		tiles: {type: 'string', default: '12'},
		size: {type: 'string', default: '1280x800'},
		dark: {type: 'boolean', default: false},
	},
})
if (!address || !shot) {
	console.error('usage: node demo.js URL SCREENSHOT.png [--account NAME] [--tiles N] [--size WIDTHxHEIGHT] [--dark]')
	process.exit(2)
}
const [width, height] = values.size.split('x').map(Number)
const want = Number(values.tiles)
const patience = {timeout: 30_000}

const drawnTiles = () => [...document.querySelectorAll('img.leaflet-tile')].filter((i) => i.complete && i.naturalWidth > 1)

run(() => withPage({viewport: {width, height}, colorScheme: values.dark ? 'dark' : 'light'}, async (page, complaints) => {
	const text = (id) => page.locator(`#${id}`).innerText()
	const drawn = () => page.evaluate(`(${drawnTiles})().map((i) => i.src)`)

	await page.goto(address)
	await page.waitForFunction(() => document.querySelector('#who').innerText !== '…', null, patience)
	check((await text('who')).includes('not signed in'), `an anonymous visitor to be nobody, got “${await text('who')}”`)
	await page.locator('#curtain').waitFor({state: 'hidden', ...patience}).catch(async () => {
		throw new Error(`no map: ${await text('curtain')}`)
	})
	check((await drawn()).length === 0, 'no tiles before signing in')

	await page.locator(`[data-account="${values.account}"]`).click()
	await page.waitForFunction(`(${drawnTiles})().length >= ${want}`, null, patience).catch(async () => {
		const panel = (await text('panel')).replaceAll('\n', ' | ')
		throw new Error(`${want} tiles drawn within 30 s, got ${(await drawn()).length}; the panel says: ${panel}`)
	})
	await page.waitForFunction(`document.querySelectorAll('#tiles tr td').length >= 6 * ${want}`, null, patience)

	const origin = new URL(address).origin
	for (const url of await drawn())
		check(new RegExp(`^${origin}/tiles/(\\w+/)?\\d+/\\d+/\\d+(\\.\\w+)?(\\?v=.*)?$`).test(url), `tile URLs without a credential, got ${url}`)
	check(new RegExp(`\\b${values.account}\\b`).test(await text('who')), `the panel to name ${values.account}, got “${await text('who')}”`)
	check(/^\d+ – \d+$/.test(await text('zooms')), `a zoom range, got “${await text('zooms')}”`)
	check(await page.locator('#trouble').isHidden(), `no trouble, got “${await page.locator('#trouble').innerText().catch(() => '')}”`)
	const rows = await page.locator('#tiles tr').evaluateAll((all) => all.map((r) => [...r.cells].map((c) => c.innerText)))
	for (const [tile, cache, status] of rows) {
		check(/^\d+\/\d+\/\d+$/.test(tile), `a row for a tile, got “${tile}”`)
		check(['hit', 'miss', 'joined', 'browser'].includes(cache), `a cache outcome for ${tile}, got “${cache}”`)
		check(status === '200' || cache === 'browser', `status 200 for ${tile}, got “${status}”`)
	}
	check(rows.some(([, cache]) => cache === 'miss' || cache === 'hit'), `Server-Timing to tell hits from misses, got ${rows.map((r) => r[1])}`)
	await page.waitForTimeout(400) // Leaflet fades tiles in
	await page.screenshot({path: shot})

	const [one] = await drawn()
	await page.locator('#sign-out').click()
	await page.waitForFunction(() => document.querySelector('#who').innerText.includes('not signed in'), null, patience)
	check((await drawn()).length === 0, 'no tile to stay after signing out')
	check(await page.locator('#tiles tr').count() === 0, 'the list of tiles to be empty after signing out')
	check(await page.locator('#grant').isHidden(), 'nothing granted after signing out')
	const status = await page.evaluate((url) => fetch(url).then((r) => r.status), one)
	check(status === 401, `a tile to be refused with 401 after signing out, got ${status}`)
	check(complaints.length === 0, `no complaint of the browser's, got ${complaints[0]}`)
	console.log(`ok: ${rows.length} tiles for ${values.account}; screenshot in ${shot}`)
}))
