// The map page: it signs in, shows the map, and tells beside it what became of each tile.

const $ = (id) => document.getElementById(id)
const element = (name, properties = {}, ...children) => {
	const e = Object.assign(document.createElement(name), properties)
	e.append(...children)
	return e
}

// ---- Trouble: the one place that says what is wrong, and what to do.

const advice = {
	0: ['No answer.', 'The server cannot be reached. Is it running?'],
	401: ['No valid credential.', 'The session has ended, or the browser did not keep its cookie. Sign in again.'],
	403: ['Not for you.', 'What this account may see does not cover this.'],
	404: ['No such tile.', 'Nothing is stored there.'],
	429: ['Too many requests.', 'Wait a moment, then ask again.'],
	502: ['The bucket refused, or gave a wrong answer.', 'The server’s log says why; “tilegate check --online” tries the bucket.'],
	503: ['Not ready.', 'The server is overloaded, or has no valid credentials for the bucket. It will answer again when it can.'],
	504: ['The bucket did not answer in time.', 'Ask again; the server’s log says more.'],
}

function trouble(status, detail) {
	const [title, hint] = advice[status] ?? [`HTTP status ${status}.`, 'The server’s log says more.']
	warn(title, detail || hint)
}

function warn(title, text) {
	$('trouble').firstElementChild.textContent = title
	$('trouble').lastElementChild.textContent = text
	$('trouble').hidden = false
}

const calm = () => { $('trouble').hidden = true }

// here is the address of one of our routes: this file is in viewer/, beside them.
const here = (route) => new URL('../' + route, import.meta.url)

// get fetches JSON of ours; a refusal carries its status and what the server said of it (RFC 9457).
async function get(url) {
	let answer
	try {
		answer = await fetch(url, {credentials: 'same-origin', cache: 'no-store'})
	} catch {
		throw Object.assign(Error(''), {status: 0})
	}
	const body = await answer.json().catch(() => ({}))
	if (!answer.ok) throw Object.assign(Error(body.detail ?? ''), {status: answer.status})
	return body
}

// ---- Who am I

let keeper // of the session, from /tilegate.js
let session = null
let account = '' // the demo account that is signed in

function signIn(token, name) {
	calm()
	keeper?.stop()
	account = name
	keeper = tilegate({
		token,
		onchange(now) {
			if (!now) return // signOut goes on
			const other = now.subject !== session?.subject
			calm()
			show(now)
			if (other) loadCatalog()
			else if (failures) layer?.redraw()
		},
		async onerror(e) {
			trouble(e.status, e.hint ?? e.message)
			if (e.retry) return
			// Refused: what counts is what the cookie of before still says.
			keeper.stop()
			keeper = undefined
			await look()
		},
	})
}

// look tells who the cookie says we are.
async function look() {
	try {
		show(await get(here('session')))
	} catch (e) {
		show(null)
		if (e.status !== 401) trouble(e.status, e.message)
	}
	await loadCatalog()
}

async function signOut() {
	try {
		await (keeper?.signOut() ?? endSession())
	} catch (e) {
		return trouble(e.status ?? 0)
	}
	keeper = undefined
	calm()
	show(null)
	await loadCatalog()
}

// endSession ends one that an earlier visit began.
async function endSession() {
	const answer = await fetch(here('session'), {method: 'DELETE'})
	if (!answer.ok) throw Object.assign(Error(''), {status: answer.status})
}

function show(now) {
	session = now
	if (!keeper) account = ''
	if (!now) {
		current = undefined
		draw()
		clearTiles()
	}
	sessionStorage.setItem('account', account)
	for (const b of document.querySelectorAll('[data-account]')) b.ariaPressed = String(b.dataset.account === account)
	$('sign-out').hidden = !now
	tick()
}

function tick() {
	if (!session) return $('who').replaceChildren('Nobody: not signed in.')
	const left = Math.max(0, Math.round((Date.parse(session.expires_at) - Date.now()) / 1000))
	const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`
	if (!$('who').querySelector('time')) $('who').replaceChildren(element('b'), element('small', {}, element('span'), element('time')))
	// The rest changes seldom: a screen reader hears it once. The clock stays out of what is announced.
	const [name, about, clock] = ['b', 'span', 'time'].map((tag) => $('who').querySelector(tag))
	const granted = session.tilesets?.length ? session.tilesets.join(', ') : 'none'
	if (name.textContent !== session.subject) name.textContent = session.subject
	if (about.textContent !== `Tilesets: ${granted}`) about.textContent = `Tilesets: ${granted}`
	clock.ariaHidden = 'true'
	clock.textContent = keeper ? `The session renews itself, ${time} left` : `The session ends in ${time}`
}

const accountToken = (url) => async () => {
	let answer
	try {
		answer = await fetch(url, {cache: 'no-store'})
	} catch {
		throw Object.assign(Error(''), {status: 0, hint: `The token issuer at ${new URL(url).host} cannot be reached from this page. Open the page by the address that the server printed.`})
	}
	if (!answer.ok) throw Object.assign(Error(''), {status: answer.status, hint: 'The token issuer gave no token for this account.'})
	return (await answer.json()).access_token
}

for (const b of document.querySelectorAll('[data-account]'))
	b.addEventListener('click', () => signIn(accountToken(b.dataset.tokenUrl), b.dataset.account))
$('token-form').addEventListener('submit', (e) => {
	e.preventDefault()
	const token = $('token').value.trim().replace(/^Bearer\s+/i, '')
	$('token-form').reset()
	signIn(async () => token, '')
})
$('sign-out').addEventListener('click', signOut)

// ---- What may I see

let tilesets = []
let current // the TileJSON on show

async function loadCatalog() {
	let found
	try {
		found = (await get(here('catalog'))).tilesets
	} catch (e) {
		if (e.status === 404) found = [{id: '', name: 'default'}]
		else {
			found = []
			if (e.status !== 401) trouble(e.status, e.message)
		}
	}
	tilesets = found
	const chosen = $('tileset').value
	$('tileset').replaceChildren(...tilesets.map((t) => element('option', {value: t.id, textContent: t.name || t.id})))
	if (tilesets.some((t) => t.id === chosen)) $('tileset').value = chosen
	$('choice').hidden = tilesets.length < 2
	$('grant').hidden = !tilesets.length
	$('nothing').hidden = !!tilesets.length
	$('nothing').textContent = session ? 'Nothing: no tileset is granted.' : 'Nothing, until signed in.'
	await choose()
}

async function choose() {
	const tileset = tilesets.find((t) => t.id === $('tileset').value)
	current = undefined
	if (tileset) {
		try {
			current = tileset.tilejson ? await get(local(tileset.tilejson)) : {tiles: [here('tiles/').pathname + '{z}/{x}/{y}.png']}
		} catch (e) {
			trouble(e.status, e.message)
		}
	}
	if (current) {
		const {minzoom = 0, maxzoom = 30, bounds = world} = current
		$('zooms').textContent = `${minzoom} – ${maxzoom}`
		$('bounds').textContent = isWorld(bounds) ? 'the whole world' : bounds.map((d, i) => degrees(d, i % 2)).join(', ')
		$('format').textContent = tileset.format || 'png'
	}
	draw()
}

$('tileset').addEventListener('change', choose)
$('beyond').addEventListener('change', () => draw())

// local takes the origin off our own absolute URLs: the page may have been opened by another name of the server.
const local = (url) => url.replace(/^https?:\/\/[^/]+/, '')
const world = [-180, -85.0511, 180, 85.0511]
const isWorld = ([w, s, e, n]) => e - w >= 359.9 && s < -85 && n > 85
const degrees = (d, vertical) => `${Math.abs(Math.round(d * 100) / 100)}°${d === 0 ? '' : vertical ? (d < 0 ? 'S' : 'N') : d < 0 ? 'W' : 'E'}`

// ---- The map

let map, layer, frame

async function start() {
	try {
		await loadLeaflet()
	} catch {
		const {leaflet, embedded} = document.body.dataset
		document.body.dataset.map = 'missing'
		$('curtain').replaceChildren(
			element('b', {textContent: 'The map library cannot be loaded. '}),
			embedded === 'true'
				? 'This server holds Leaflet, but did not deliver it. Reload the page; if that does not help, look at the server’s log.'
				: element('span', {}, `This build does not contain Leaflet, and ${new URL(leaflet).host} cannot be reached or sent other bytes than expected. Run `,
					element('code', {textContent: 'npm ci --prefix proxy/viewer'}), ', build again, and reload. Signing in, and all else in the panel, works meanwhile.'))
		return
	}
	document.body.dataset.map = 'ready'
	map = L.map('map', {zoomControl: false, worldCopyJump: true, center: [28, 12], zoom: innerWidth > 1100 ? 3 : 2, maxZoom: 30})
	map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>')
	map.attributionControl.setPosition('bottomleft')
	L.control.zoom({position: 'topleft'}).addTo(map)
	L.control.scale({position: 'bottomleft', imperial: false}).addTo(map)
}

// loadLeaflet adds its script and style, ours or a CDN's, both held to their hashes. By hand: in the page's head, a CDN
// that does not answer would hold up the rest.
function loadLeaflet() {
	const {leaflet, script, style} = document.body.dataset
	const load = (name, properties) => new Promise((onload, onerror) =>
		document.head.prepend(element(name, {...properties, crossOrigin: 'anonymous', onload, onerror})))
	return Promise.race([
		Promise.all([
			load('link', {rel: 'stylesheet', href: leaflet + 'leaflet.css', integrity: style}),
			load('script', {src: leaflet + 'leaflet.js', integrity: script}),
		]),
		new Promise((_, late) => setTimeout(late, 10_000)),
	])
}

// draw puts the current tileset on the map. The URL of a tile is the same whoever is signed in.
function draw() {
	layer?.remove()
	frame?.remove()
	layer = frame = undefined
	failures = explained = 0
	if (!map) return
	$('curtain').hidden = !!current
	$('curtain').textContent = session ? 'There is nothing here that this account may see.' : 'The tiles are private. Sign in to see them.'
	if (!current) return
	if (['mvt', 'pbf', 'mlt', 'json'].includes($('format').textContent)) {
		return warn('Not shown here.', 'This page draws images, and this tileset holds vector tiles or data. MapLibre GL JS draws those.')
	}
	const {minzoom = 0, maxzoom = 18, bounds = world} = current
	const box = L.latLngBounds([bounds[1], bounds[0]], [bounds[3], bounds[2]])
	const everything = $('beyond').checked
	layer = L.tileLayer(local(current.tiles[0]), {
		attribution: current.attribution,
		...(everything ? {} : {minZoom: minzoom, maxNativeZoom: maxzoom, maxZoom: maxzoom, bounds: isWorld(bounds) ? undefined : box}),
	})
	layer.on({tileloadstart: asked, tileload: settled, tileerror: settled})
	map.setMinZoom(everything ? 0 : minzoom)
	map.setMaxZoom(everything ? Math.max(maxzoom + 1, 5) : maxzoom)
	if (!isWorld(bounds)) {
		frame = L.rectangle(box, {color: '#2d6a84', weight: 1.5, dashArray: '5 5', fill: false, interactive: false}).addTo(map)
		if (!map.getBounds().intersects(box)) map.fitBounds(box, {paddingBottomRight: [innerWidth > 736 ? 380 : 0, 0]})
	}
	layer.addTo(map)
}

// ---- Tiles: an image element tells a script neither status nor headers, but Resource Timing does, Server-Timing included.

const outcomes = {
	hit: 'from tilegate’s memory', browser: 'from the browser’s own cache', stale: 'from memory, refreshed behind',
	joined: 'shared another’s fetch', miss: 'fetched from S3', served: 'served', denied: 'denied', absent: 'no such tile', failed: 'failed',
}
const kept = 150 // rows

let counts = {}
let times = []
let bytes = 0
let failures = 0 // since the map was drawn
let explained = 0 // the status that the panel tells of
const begun = new Map() // URL to when it was asked for
const waiting = new Map() // URL to the row that its timing will fill
const timings = new Map() // URL to its last timing

const absolute = (src) => new URL(src, location).href

function asked({tile}) {
	begun.set(absolute(tile.src), performance.now())
}

function settled({type, tile}) {
	const url = absolute(tile.src)
	if (!begun.has(url)) return // the empty image that takes a dropped tile's place
	const row = {url, ok: type === 'tileload', since: begun.get(url), line: element('tr')}
	begun.delete(url)
	if (!row.ok) {
		tile.classList.add('refused')
		tile.src = L.Util.emptyImageUrl // without the browser's sign for a broken image
	}
	$('tiles').prepend(row.line)
	while ($('tiles').rows.length > kept) $('tiles').lastElementChild.remove()
	$('scroller').hidden = false
	const timing = timings.get(url)
	if (timing && timing.startTime >= row.since - 5) return fill(row, timing)
	waiting.set(url, row)
	// No entry at all: the image came out of the page's memory.
	setTimeout(() => waiting.get(url) === row && fill(row), 1000)
}

new PerformanceObserver((list) => {
	for (const timing of list.getEntries()) {
		if (timing.initiatorType !== 'img') continue
		timings.set(timing.name, timing)
		if (timings.size > 1000) timings.delete(timings.keys().next().value)
		if (waiting.has(timing.name)) fill(waiting.get(timing.name), timing)
	}
}).observe({type: 'resource', buffered: true})

function outcomeOf({ok}, timing) {
	const status = timing?.responseStatus
	if (status === 401 || status === 403) return 'denied'
	if (status === 404 || status === 204) return 'absent'
	if (!ok) return 'failed'
	if (!timing || timing.transferSize === 0) return 'browser'
	const cache = timing.serverTiming.find((t) => t.name === 'cache')?.description
	return outcomes[cache] ? cache : 'served'
}

function fill(row, timing) {
	waiting.delete(row.url)
	const outcome = outcomeOf(row, timing)
	const parts = new Map(outcome === 'browser' ? [] : timing?.serverTiming.map((t) => [t.name, t.duration]))
	counts[outcome] = (counts[outcome] ?? 0) + 1
	if (timing) times.push(timing.duration)
	bytes += timing?.transferSize ?? 0
	const number = (n, digits = 0) => (n === undefined ? '' : n.toFixed(digits))
	const [, z, x, y] = row.url.match(/(\d+)\/(\d+)\/(\d+)[^/]*$/) ?? [, '?', '?', '?']
	row.line.title = [outcomes[outcome], ...[...parts].map(([name, ms]) => `${name} ${ms} ms`)].join(' · ')
	row.line.replaceChildren(...[
		`${z}/${x}/${y}`,
		element('span', {}, element('span', {className: `dot ${outcome}`}), outcome),
		timing?.responseStatus || '',
		outcome === 'miss' || outcome === 'joined' ? number(parts.get('origin'), 1) : '',
		number(timing?.duration),
		number(timing?.encodedBodySize ? timing.encodedBodySize / 1000 : undefined, 1),
	].map((content) => element('td', {}, content)))
	if (!row.ok) explain(row.url, timing?.responseStatus)
	summarize()
}

// explain asks once more for a tile that failed, as a script may read the reason; once for each kind of failure.
async function explain(url, status) {
	failures++
	if (status && status === explained || status === 404 || status === 204) return
	explained = status ?? -1
	try {
		const answer = await fetch(url, {cache: 'no-store', headers: {Range: 'bytes=0-0'}})
		if (answer.ok) return
		const problem = await answer.json().catch(() => ({}))
		trouble(answer.status, problem.detail)
	} catch {
		trouble(0)
	}
}

let scheduled = false
function summarize() {
	if (scheduled) return
	scheduled = true
	requestAnimationFrame(() => {
		scheduled = false
		const seen = Object.keys(outcomes).filter((o) => counts[o])
		const total = seen.reduce((sum, o) => sum + counts[o], 0)
		$('bar').replaceChildren(...seen.map((o) => {
			const part = element('i', {className: o})
			part.style.flexGrow = counts[o]
			return part
		}))
		$('bar').ariaLabel = total ? seen.map((o) => `${counts[o]} ${o}`).join(', ') : 'No tiles yet'
		$('legend').replaceChildren(...seen.map((o) =>
			element('li', {title: outcomes[o]}, element('span', {className: `dot ${o}`}), element('b', {textContent: counts[o]}), ` ${o}`)))
		const median = times.toSorted((a, b) => a - b)[times.length >> 1]
		$('summary').textContent = total
			? `${total} tile${total === 1 ? '' : 's'}` + (median === undefined ? '' : `, half of them within ${median.toFixed(0)} ms`) + `, ${(bytes / 1000).toFixed(0)} kB over the network`
			: 'No tiles yet.'
	})
}

function clearTiles() {
	counts = {}
	times = []
	bytes = explained = 0
	waiting.clear()
	$('tiles').replaceChildren()
	$('scroller').hidden = true
	summarize()
}

$('clear').addEventListener('click', clearTiles)
$('reload').addEventListener('click', () => {
	calm()
	explained = failures = 0
	layer?.redraw()
})
$('fold').addEventListener('click', () => {
	$('fold').ariaExpanded = String(!$('panel').classList.toggle('folded'))
	map?.invalidateSize()
})

// ---- Begin: with a token from the address, which loses it at once; with the session that a cookie keeps; or as nobody.

const given = new URLSearchParams(location.hash.slice(1)).get('access_token')
if (given) history.replaceState(null, '', location.pathname + location.search)

performance.setResourceTimingBufferSize?.(1000)
setInterval(tick, 1000)
start().then(draw)
const remembered = document.querySelector(`[data-account="${CSS.escape(sessionStorage.getItem('account') ?? '')}"]`)
if (given) signIn(async () => given, '')
else if (remembered) signIn(accountToken(remembered.dataset.tokenUrl), remembered.dataset.account)
else await look()
