// The README's own snippets, in a browser that has never been here before, in front of a real tilegate:
//
//	node .ci/browser/readme.js CASE PAGE SCREENSHOT.png
//
// $PAGE is where the page is, $SPKI the hash of the key that signed their certificates, $CONTROL
// what the server tells of the requests that reached it. Nothing is intercepted: that would turn the browser's cache off.

import {check, run, webGL, withPage} from './chromium.js'

const [name, library, shot] = process.argv.slice(2)
const {PAGE: address, SPKI: spki, CONTROL: control} = process.env
const patience = {timeout: 60_000}

// requests are those that have reached tilegate since this visit began.
let earlier = 0
const requests = async () => {
	const r = await fetch(`${control}/requests`)
	if (!r.ok) throw Error(await r.text())
	return (await r.json()).slice(earlier)
}
const isTile = ({path}) => /\/tiles\/\w+\/\d+\/\d+\/\d+\.png$/.test(path)
const line = ({method, path, status}) => `${method} ${path} ${status}`

// covered is the share of the page that shows tiles, of what the background, which is magenta, leaves.
const covered = (page) => page.screenshot().then((png) => page.evaluate(async (base64) => {
	const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob())
	const copy = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
	copy.drawImage(bitmap, 0, 0)
	const {data} = copy.getImageData(0, 0, bitmap.width, bitmap.height)
	let shown = 0
	for (let i = 0; i < data.length; i += 4) shown += data[i] < 230 || data[i + 1] > 60 || data[i + 2] < 230
	return shown / (data.length / 4)
}, png.toString('base64')))

// until asks again until it holds, and tells what it was at last.
async function until(what, ask, holds) {
	const end = Date.now() + patience.timeout
	for (;;) {
		const got = await ask()
		if (holds(got)) return got
		if (Date.now() > end) throw Error(`${what}: got ${JSON.stringify(got)}`)
		await new Promise((resolve) => setTimeout(resolve, 100))
	}
}
const whole = (page, when) => until(`${when}: the map covered with tiles`, () => covered(page), (share) => share > 0.9)

// first is a first visit: every tile that the map asks for is there, and no request is refused.
async function first(page) {
	await page.goto(address)
	await whole(page, 'first visit')
	const seen = await requests()
	const refused = seen.filter((r) => r.status >= 400)
	check(refused.length === 0, `no request to be refused, got ${refused.map(line)}`)
	const drawn = seen.filter(isTile)
	check(drawn.length >= 4 && new Set(drawn.map((r) => r.path)).size === drawn.length, `each tile once, got ${drawn.map(line)}`)
	const sessions = seen.filter((r) => r.path === '/session' && r.method !== 'OPTIONS').map((r) => r.method)
	check(String(sessions) === 'POST,GET', `one sign-in and one look whether it held, got ${sessions}`)
	return seen.length
}

const cases = {
	first,

	// The device sleeps beyond the session's end: timers stop, tiles are refused, and the tab wakes.
	async lapse(page) {
		await page.addInitScript(() => {
			const real = window.setTimeout
			window.setTimeout = (f, ms, ...rest) => ms >= 3000 ? 0 : real(f, ms, ...rest) // renewals, and nothing that maps use
		})
		await first(page)
		const ends = await page.evaluate(async () => Date.parse((await session.ready).expires_at))
		await until('the end of the session', () => Date.now(), (now) => now > ends + 1000)
		let before = (await requests()).length
		await page.evaluate(() => window.move())
		const refused = await until('tiles that are refused', async () => (await requests()).slice(before).filter(isTile), (some) => some.length > 0)
		check(refused.every((r) => r.status === 401), `401 after the session's end, got ${refused.map(line)}`)
		before = (await requests()).length
		await page.evaluate(() => { document.dispatchEvent(new Event('visibilitychange', {bubbles: true})) })
		await whole(page, 'after the lapse')
		const again = (await requests()).slice(before).filter(isTile)
		check(again.length > 0 && again.every((r) => r.status === 200), `tiles with the new session, got ${again.map(line)}`)
	},

	// A script reads the map's pixels, as one that saves it as an image does.
	async canvas(page) {
		await first(page)
		const length = await page.evaluate(() => window.exportMap())
		check(length > 2000, `an image of the map, got one of ${length} bytes`)
	},

	// The browser does not keep the cookie: the page is told what to do, and no tile is asked for.
	async told(page) {
		await page.goto(address)
		const message = await page.waitForFunction(() => window.told, null, patience).then((h) => h.jsonValue())
		check(message.includes(process.env.WANT), `“${process.env.WANT}” in the reason, got “${message}”`)
		const seen = await requests()
		check(!seen.some(isTile), `no tile request, got ${seen.map(line)}`)
		check(seen.filter((r) => r.method === 'POST').length === 1, `one sign-in, got ${seen.map(line)}`)
	},

	// A page without an origin, whose tiles carry their credential in their path.
	async file(page) {
		await page.goto(address)
		await whole(page, 'opened')
		const seen = (await requests()).filter((r) => r.path.includes('/tiles/'))
		check(seen.length >= 4 && seen.every((r) => r.status === 200), `tiles, got ${seen.map(line)}`)
	},

	// tilegate's own map page, under a path of another server.
	async page(page) {
		await page.goto(`${address}#access_token=${process.env.TOKEN}`)
		await page.waitForFunction(() => document.body.dataset.drawn && document.querySelectorAll('#tiles .good').length >= 4, null, patience)
		const who = await page.locator('#who').innerText()
		check(who.includes('ada'), `the panel to name ada, got “${who}”`)
		check(await page.locator('#trouble').isHidden(), `no trouble, got “${await page.locator('#trouble').innerText().catch(() => '')}”`)
		const logo = await page.evaluate(() => document.querySelector('#panel img').naturalWidth)
		check(logo > 0, 'the mark in the panel')
		const seen = (await requests()).filter((r) => r.status >= 400)
		check(seen.length === 0, `no request to be refused, got ${seen.map(line)}`)
		await page.waitForTimeout(400) // MapLibre fades tiles in
		await page.screenshot({path: shot})
		await page.locator('#sign-out').click()
		await page.waitForFunction(() => document.querySelector('#who').innerText.includes('not signed in'), null, patience)
	},

	// A refused tile has its status in the browser's own words.
	async refused(page) {
		const failed = []
		page.on('requestfailed', (r) => failed.push(r.failure().errorText))
		const answered = []
		page.on('response', (r) => answered.push(r.status()))
		await page.goto(address)
		await until('answers', () => answered.filter((status) => status === 401).length, (n) => n >= 1)
		check(failed.length === 0, `the status and not ${failed[0]}`)
	},
}

run(() => withPage({
	viewport: {width: 500, height: 300},
	blockThirdPartyCookies: process.env.BLOCK === 'true',
	args: [
		`--ignore-certificate-errors-spki-list=${spki}`,
		'--host-resolver-rules=MAP *.test 127.0.0.1',
		...webGL, // for MapLibre
	],
}, async (page, complaints) => {
	page.setDefaultTimeout(patience.timeout)
	earlier = (await requests()).length
	try {
		await cases[name](page)
	} catch (e) {
		await page.screenshot({path: shot}).catch(() => {})
		throw Error(`${library}: ${e.message.split('\n')[0]}; the browser says: ${complaints.join(' | ')}`)
	}
	if (name !== 'page') await page.screenshot({path: shot})
	check(name === 'told' || complaints.length === 0, `no complaint of the browser's, got ${complaints[0]}`)
}))
