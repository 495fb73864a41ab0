// tilegate's map page in a browser, in front of a real tilegate:
//
//	node .ci/browser/page.js CASE SHOT
//
// $PAGE is where it is, $TOKEN, $OTHER and $BOXED are access tokens and $KEY an API key. $PASTE is an address of another
// origin, which answers with the page that was posted to it, and has the libraries beside it.

import {accessible, check, prepareAxe, run, webGL, withPage} from './chromium.js'

const [name, shot] = process.argv.slice(2)
const {PAGE: address, TOKEN: token, OTHER: other, BOXED: boxed, KEY: key} = process.env
const patience = {timeout: 60_000}

const text = (page, id) => page.locator(`#${id}`).innerText()
const drawn = (page) => page.waitForFunction(() => document.body.dataset.drawn, null, patience)
const who = (page, name) => page.waitForFunction((n) => document.querySelector('#who').innerText.includes(n), name, patience)
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.tagName)

// enter signs in by the form.
async function enter(page, credential) {
	await page.waitForFunction(() => document.querySelector('#who').innerText !== '…', null, patience)
	await page.evaluate(() => { document.querySelector('#paste').open = true })
	await page.locator('#token').fill(credential)
	await page.locator('#token-form button').click()
}

async function choose(page, value) {
	await page.locator(`#choice label:has([value="${value}"])`).click()
	await page.waitForFunction((v) => location.hash.includes(v.split(':').join('=')), value, patience)
}

// tiles waits for so many tiles in the list.
const tiles = (page, n) => page.waitForFunction((n) => document.querySelectorAll('#tiles .good').length >= n, n, patience)

// picture is the size of a picture of the map's middle: of one colour, it is small.
const picture = async (page) => (await page.screenshot({clip: {x: 80, y: 120, width: 400, height: 400}})).length

// until acts until something comes of it: nothing tells when a map has been drawn.
async function until(what, act, happened) {
	for (const end = Date.now() + patience.timeout; Date.now() < end;) {
		await act()
		if (await happened()) return
	}
	check(false, typeof what === 'function' ? what() : what)
}

const popup = (page) => page.waitForSelector('.maplibregl-popup', {timeout: 1_000}).then(() => true, () => false)

// library is what a page has of each, as its documentation says.
const library = {
	leaflet: '<link rel="stylesheet" href="/leaflet/leaflet.css"><script src="/leaflet/leaflet.js"></script>',
	maplibre: '<link rel="stylesheet" href="/maplibre/maplibre-gl.css"><script type="module">import * as maplibregl from "/maplibre/maplibre-gl.mjs"\nwindow.maplibregl = maplibregl</script>',
	openlayers: '<script src="/ol/ol.js"></script>',
}

// drawnShare is the share of a page's middle that shows something else than its background, magenta, and the white of a library.
const drawnShare = (page) => page.screenshot({clip: {x: 100, y: 100, width: 1000, height: 700}}).then((png) => page.evaluate(async (base64) => {
	const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob())
	const copy = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
	copy.drawImage(bitmap, 0, 0)
	const {data} = copy.getImageData(0, 0, bitmap.width, bitmap.height)
	const plain = (i, r, g, b) => Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12
	let shown = 0
	for (let i = 0; i < data.length; i += 4) shown += !plain(i, 255, 0, 255) && !plain(i, 255, 255, 255) && !plain(i, 221, 221, 221)
	return shown / (data.length / 4)
}, png.toString('base64')))

const cases = {
	// Signing in and out at the identity provider, there and back.
	async login(page) {
		await page.goto(process.env.LOGIN_PAGE)
		await page.waitForFunction(() => document.querySelector('#who').innerText !== '…', null, patience)
		await accessible(page, 'before signing in')
		await page.screenshot({path: `${shot}.png`})
		await page.locator('#login').click()
		await who(page, 'ada')
		check(await page.locator('#login').isHidden(), 'no button for signing in twice')
		check(new URL(page.url()).search === '', `nothing left in the address, got ${page.url()}`)
		const names = (await page.context().cookies()).map((c) => c.name)
		check(String(names) === 'tilegate', `the session's cookie alone, got ${names}`)
		await tiles(page, 1)
		const away = page.waitForRequest((r) => r.url().includes('/end-session'))
		await page.locator('#sign-out').click()
		await away
		await who(page, 'not signed in')
	},

	// Signing in at a provider with a form of its own, on another site: cookies have to survive the way there and back.
	async provider(page) {
		const {PROVIDER_PAGE: address, PROVIDER_USER: user, PROVIDER_PASSWORD: password, PROVIDER_SUBJECT: subject} = process.env
		await page.goto(address)
		await page.waitForFunction(() => document.querySelector('#who').innerText !== '…', null, patience)
		await page.locator('#login').click()
		for (const given of ['wrong', password]) {
			await page.locator('#username').fill(user)
			await page.locator('#password').fill(given)
			await page.screenshot({path: `${shot}-form.png`})
			await page.locator('button[type=submit]').click()
			if (given === 'wrong') await page.getByText('username or password wrong').waitFor()
		}
		await who(page, subject)
		check(page.url().startsWith(address) && new URL(page.url()).search === '', `to be back, and nothing left in the address, got ${page.url()}`)
		const names = (await page.context().cookies(address)).map((c) => c.name).sort()
		check(String(names) === 'tilegate,tilegate-renewal', `the cookies of the session and its renewal, got ${names}`)
		await drawn(page)
		await tiles(page, 1)
		await page.screenshot({path: `${shot}.png`})
		// The sessions of this test are over after some seconds.
		const renewed = await page.waitForResponse((r) => r.request().method() === 'POST' && new URL(r.url()).pathname === '/session', patience)
		check(renewed.status() === 200, `the page to renew its session, got ${renewed.status()}`)
		check((await text(page, 'who')).includes(subject), 'the session to go on')
		const away = page.waitForRequest((r) => r.url().includes('/end_session'))
		await page.locator('#sign-out').click()
		await away
		await page.waitForURL((u) => u.pathname === '/end_session', patience) // this provider knows no way back
		await page.goto(address)
		await who(page, 'not signed in')
		check((await page.context().cookies(address)).length === 0, 'no cookie after signing out')
	},

	// A vector set whose TileJSON names no layers is drawn by those that its tiles have.
	async vector(page) {
		await page.goto(address)
		await enter(page, token)
		await who(page, 'ada')
		await choose(page, 'tileset:features')
		await page.waitForFunction(() => document.querySelectorAll('#layer-list li').length === 2, null, patience)
		check((await text(page, 'layer-list')).replaceAll('\n', ' ').includes('land places'), `both layers, got “${await text(page, 'layer-list')}”`)
		const colours = await page.locator('#layer-list i').evaluateAll((all) => all.map((i) => getComputedStyle(i).backgroundColor))
		check(new Set(colours).size === 2, `distinct colours, got ${colours}`)
		await until('a popup', () => page.locator('canvas.maplibregl-canvas').click({position: {x: 600, y: 300}}), () => popup(page))
		const said = await page.locator('.features').innerText()
		check(said.includes('name') && /A (square|place)/.test(said), `a feature's properties, got “${said}”`)
		await accessible(page, 'with a popup')
		await page.screenshot({path: `${shot}.png`})
		await page.keyboard.press('Enter') // focus is on the popup's button
		await page.waitForSelector('.maplibregl-popup', {state: 'detached', ...patience})
		const before = await picture(page)
		await page.locator('#no-layers').click()
		await until('nothing to be drawn with all layers off', () => page.waitForTimeout(500), async () => await picture(page) < before)
		await page.locator('#all-layers').click()
		await page.locator('#edges').check()
		await page.waitForTimeout(500)
		await page.screenshot({path: `${shot}-edges.png`})
	},

	async style(page) {
		await page.goto(address)
		await enter(page, token)
		await who(page, 'ada')
		await choose(page, 'style:cartography/plain')
		await page.waitForFunction(() => document.querySelectorAll('#layer-list li').length === 2, null, patience)
		await tiles(page, 1)
		await page.waitForTimeout(800)
		check(await page.locator('#trouble').isHidden(), `no trouble, got “${await text(page, 'trouble').catch(() => '')}”`)
		const preview = await page.waitForFunction(() => {
			const canvas = document.querySelector('[value="style:cartography/plain"] + canvas')
			return canvas.classList.contains('drawn') && [...canvas.getContext('2d').getImageData(40, 40, 1, 1).data]
		}, null, patience).then((h) => h.jsonValue())
		check(String(preview) === '204,187,136,255' || String(preview) === '51,68,85,255', `a preview in the style's colours, got ${preview}`)
		check((await text(page, 'readout')).startsWith('20°N 10°E'), `the view that the style begins with, got “${await text(page, 'readout')}”`)
		await accessible(page, 'with a style')
		await page.screenshot({path: `${shot}.png`})
	},

	async terrain(page) {
		await page.goto(address)
		await enter(page, token)
		await who(page, 'ada')
		await tiles(page, 1)
		await page.locator('#clear').click()
		await choose(page, 'tileset:heights')
		await tiles(page, 1)
		await page.waitForTimeout(1500)
		check(await page.locator('#trouble').isHidden(), `no trouble, got “${await text(page, 'trouble').catch(() => '')}”`)
		await page.screenshot({path: `${shot}-flat.png`})
		await page.locator('#terrain').check()
		await page.waitForTimeout(1500)
		check(await page.locator('#trouble').isHidden(), `no trouble in three dimensions, got “${await text(page, 'trouble').catch(() => '')}”`)
		await page.screenshot({path: `${shot}.png`})
	},

	// A token that is refused is told beside its field, keeps its text, and leaves the session that there is.
	async refused(page) {
		await page.goto(address)
		await enter(page, 'not.a.token')
		await page.waitForSelector('#token-error:visible', patience)
		check(await page.locator('#token').inputValue() === 'not.a.token', 'the text to stay')
		check(await focused(page) === 'token', `focus on the field, got ${await focused(page)}`)
		check(await page.locator('#token').getAttribute('aria-describedby') === 'token-error', 'the field to be described by its error')
		check(await page.locator('#trouble').isHidden(), 'no trouble elsewhere')
		await accessible(page, 'with a refused token')
		await page.screenshot({path: `${shot}.png`})
		await page.locator('#token').fill(token)
		await page.locator('#token-form button').click()
		await who(page, 'ada')
		await page.waitForFunction(() => document.querySelector('#token').value === '', null, patience) // an accepted token leaves the field
		await enter(page, 'not.a.token')
		await page.waitForSelector('#token-error:visible', patience)
		check((await text(page, 'who')).includes('ada'), 'the session to go on')
		check(await page.evaluate(() => fetch('session').then((r) => r.status)) === 200, 'the cookie to be as good as before')
		await enter(page, 'tgk_none_NOSUCHKEY')
		await page.waitForFunction(() => document.querySelector('#token').value === 'tgk_none_NOSUCHKEY' && !document.querySelector('#token-error').hidden, null, patience)
		check((await text(page, 'who')).includes('ada'), 'the session to go on after a refused key')
		await enter(page, other)
		await who(page, 'bo')
	},

	// Every control by keyboard, and focus is somewhere sensible after signing in and out.
	async keyboard(page) {
		await page.goto(address)
		await page.waitForFunction(() => document.querySelector('#who').innerText !== '…', null, patience)
		for (let i = 0; i < 40 && await focused(page) !== 'token'; i++) await page.keyboard.press('Tab')
		check(await focused(page) === 'token', `to reach the field, got ${await focused(page)}`)
		await page.keyboard.insertText(token)
		await page.keyboard.press('Tab')
		await page.keyboard.press('Enter')
		await who(page, 'ada')
		await page.waitForFunction(() => document.activeElement.id === 'sign-out', null, patience)
		await tiles(page, 1)
		const reached = new Set()
		for (let i = 0; i < 60; i++) {
			reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.value || document.activeElement.className || document.activeElement.tagName))
			await page.keyboard.press('Tab')
		}
		for (const id of ['sign-out', 'tileset:colours', 'beyond', 'edges', 'reload', 'clear', 'scroller', 'fold', 'maplibregl-ctrl-zoom-in', 'maplibregl-canvas'])
			check(reached.has(id), `to reach ${id}, got ${[...reached]}`)
		await page.locator('#choice input').first().focus()
		await page.keyboard.press('ArrowDown')
		await page.waitForFunction(() => location.hash.includes('tileset=features'), null, patience)
		await page.waitForFunction(() => document.querySelectorAll('#layer-list li').length === 2, null, patience)
		await until('a popup by keyboard', async () => {
			await page.locator('canvas.maplibregl-canvas').focus()
			await page.keyboard.press('Enter')
		}, () => popup(page))
		await page.keyboard.press('Enter')
		check(await focused(page) !== 'BODY', `focus to come back from the popup, got ${await focused(page)}`)
		await page.locator('#sign-out').focus()
		await page.keyboard.press('Enter')
		await who(page, 'not signed in')
		await page.waitForFunction(() => document.activeElement.id === 'token', null, patience)
	},

	// The address says what is shown and where, and a visit with it begins there.
	async address(page) {
		await page.goto(`${address}#map=3.5/47.1/8.2&tileset=features`)
		await enter(page, token)
		await who(page, 'ada')
		await drawn(page)
		check(await page.locator('[value="tileset:features"]').isChecked(), 'the tileset of the address')
		await page.locator('.maplibregl-ctrl-zoom-in').click()
		await page.waitForFunction(() => /#map=4\.5\/47\.1\d*\/8\.2\d*&tileset=features$/.test(location.hash), null, patience)
		check(!/ey|tgk/.test(await page.evaluate(() => location.href)), 'no credential in the address')
	},

	// What is copied works as it is.
	async use(page) {
		await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
		await page.goto(address)
		await enter(page, token)
		await who(page, 'ada')
		await choose(page, 'tileset:features')
		await page.locator('#use summary').click()
		const copy = async (client, withToken) => {
			await page.locator('#client').selectOption(client)
			await page.locator('#with-token').setChecked(withToken)
			await page.locator('#copy').click()
			await page.waitForFunction(() => document.querySelector('#copied').textContent.startsWith('Copied.'), null, patience)
			return page.evaluate(() => navigator.clipboard.readText())
		}
		const origin = new URL(address).origin
		for (const client of ['tilejson', 'qgis', 'curl']) {
			const [url] = (await copy(client, true)).match(/https?:[^'"\s]+/)
			check(url.startsWith(`${origin}/t/`), `${client}: a token in its path, got ${url}`)
			const answer = await fetch(url.replace('{z}', 0).replace('{x}', 0).replace('{y}', 0))
			check(answer.status === 200, `${client}: 200 without signing in, got ${answer.status}`)
		}
		check(!(await copy('maplibre', false)).includes('/t/'), 'no token where none is wanted')
		check((await copy('maplibre', false)).includes('tilegate.mjs'), 'signing in where no token is')
		check((await copy('openlayers', true)).includes('ol.source.VectorTile'), 'vector tiles for OpenLayers')
		check(await page.locator('#client option[value=leaflet]').count() === 0, 'no vector tiles for Leaflet')
		await accessible(page, 'with something to copy')
		await page.screenshot({path: `${shot}.png`})
		await choose(page, 'style:cartography/plain')
		const style = await copy('tilejson', true)
		const answer = await fetch(style)
		check(answer.status === 200 && (await answer.json()).sources.f.url.includes('/t/'), `a style with the token in it from ${style}, got ${answer.status}`)
	},

	// The texts for libraries, each pasted into a page of another origin that has the library and nothing else: with a token
	// in the address and no cookie, and with a session. Every tile that the library asks for is there, and the map shows.
	async pasted(page) {
		await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
		await page.goto(`${address}#map=4.2/47/9&tileset=colours`)
		await enter(page, token)
		await who(page, 'ada')
		await page.locator('#use summary').click()
		const texts = []
		for (const [map, clients] of [['tileset:colours', ['leaflet', 'maplibre', 'openlayers']], ['tileset:features', ['maplibre', 'openlayers']], ['style:cartography/plain', ['maplibre']]]) {
			await choose(page, map)
			if (map === 'tileset:features') await page.waitForFunction(() => document.querySelectorAll('#layer-list li').length === 2, null, patience)
			for (const client of clients) for (const withToken of [true, false]) {
				await page.locator('#client').selectOption(client)
				await page.locator('#with-token').setChecked(withToken)
				await page.locator('#copy').click()
				await page.waitForFunction(() => document.querySelector('#copied').textContent.startsWith('Copied.'), null, patience)
				texts.push({map, client, withToken, text: await page.evaluate(() => navigator.clipboard.readText())})
			}
		}
		await page.context().clearCookies()
		const origin = new URL(address).origin
		for (const {map, client, withToken, text} of texts) {
			const what = `${client}, ${map}, ${withToken ? 'token' : 'session'}`
			check(text.includes('/t/') === withToken && text.includes('tilegate.mjs') === !withToken, `${what}: one way to be known, got ${text}`)
			await fetch(process.env.PASTE, {method: 'POST', body: `<!doctype html><meta charset="utf-8"><title>${what}</title><link rel="icon" href="data:,">
<style>html, body, #map { height: 100%; margin: 0; background: #f0f }</style><div id="map"></div>
${library[client]}
<script>const accessToken = '${token}'</script>
<script type="module">
${text}
</script>`})
			const answers = [], errors = []
			const fresh = await page.context().newPage()
			await (await page.context().newCDPSession(fresh)).send('Network.clearBrowserCache') // what another text was sent
			fresh.on('response', (r) => { if (r.url().startsWith(origin) && r.request().method() !== 'OPTIONS') answers.push({path: new URL(r.url()).pathname, status: r.status()}) })
			fresh.on('pageerror', (e) => errors.push(e.message))
			await fresh.goto(process.env.PASTE)
			const isTile = ({path}) => /\/tiles\/\w+\/\d+\/\d+\/\d+\.\w+$/.test(path)
			await until(() => `${what}: the map to show, got ${answers.map(({path, status}) => `${path} ${status}`)} ${errors}`, () => fresh.waitForTimeout(300), async () => answers.some(isTile) && await drawnShare(fresh) > (map === 'tileset:features' ? .002 : .02))
			check(answers.every(({status}) => status === 200), `${what}: nothing to be refused, got ${JSON.stringify(answers)}`)
			check(errors.length === 0, `${what}: no error, got ${errors}`)
			check((await page.context().cookies()).length === (withToken ? 0 : 1), `${what}: a cookie with a session alone`)
			await fresh.screenshot({path: `${shot}-${client}-${map.replace(/\W/g, '-')}.png`})
			await fresh.close()
			await page.context().clearCookies()
		}
	},

	// An API key makes no session: the page sends it along.
	async apikey(page) {
		const urls = []
		page.on('request', (r) => urls.push(r.url()))
		await page.goto(address)
		await enter(page, key)
		await who(page, 'API key')
		await tiles(page, 1)
		check(!urls.some((u) => u.includes(key)), 'the key in no address')
		check((await page.context().cookies()).length === 0, 'no cookie')
		await page.locator('#sign-out').click()
		await who(page, 'not signed in')
		await page.waitForFunction(() => document.querySelector('#grant').hidden, null, patience)
	},

	// In each size the granted box is beside the panel, and axe finds nothing, in the light and in the dark.
	async sizes(page) {
		await page.goto(address)
		await enter(page, boxed)
		await who(page, 'eve')
		for (const [width, height] of [[1400, 900], [820, 1180], [844, 390], [390, 844]]) {
			for (const colorScheme of ['light', 'dark']) {
				await page.emulateMedia({colorScheme})
				await page.setViewportSize({width, height})
				await page.goto(address.replace(/\/$/, '/?') + width + colorScheme)
				await drawn(page)
				const {box, panel} = await page.evaluate(async () => {
					const {box} = await import(new URL('viewer/map.js', location.origin + location.pathname))
					const {left, top, right, bottom} = document.querySelector('#panel').getBoundingClientRect()
					return {box: box(), panel: {left, top, right, bottom}}
				})
				const at = `${width}×${height} ${colorScheme}: box ${JSON.stringify(box)}, panel ${JSON.stringify(panel)}`
				check(box.left >= 0 && box.top >= 0 && box.right <= width && box.bottom <= height, `the box on the screen, got ${at}`)
				check(box.right <= panel.left || box.bottom <= panel.top, `the box beside the panel, got ${at}`)
				await accessible(page, `${width}×${height} ${colorScheme}`)
				await page.screenshot({path: `${shot}-${width}-${colorScheme}.png`})
			}
		}
	},
}

run(() => withPage({viewport: {width: 1400, height: 900}, args: webGL}, async (page, complaints) => {
	page.setDefaultTimeout(patience.timeout)
	await prepareAxe(page)
	try {
		await cases[name](page)
	} catch (e) {
		await page.screenshot({path: `${shot}-failed.png`}).catch(() => {})
		throw Error(`${e.message.split('\n')[0]}; the browser says: ${complaints.join(' | ')}`)
	}
	check(complaints.length === 0, `no complaint of the browser's, got ${complaints[0]}`)
}))
