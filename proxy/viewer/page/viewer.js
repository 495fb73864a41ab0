// The map page: it signs in, lists what may be seen, shows it on the map, and tells beside it what became of each tile.

import {$, ask, calm, element, get, here, knowOrigin, local, reason, trouble, useKey} from './api.js'
import * as map from './map.js'
import {share} from './share.js'
import {clearTiles, forget, refused} from './tiles.js'

// ---- Who am I

let keeper // of the session, from /tilegate.js
let renewer // the same for a session that began at /login
let session = null // {subject, tilesets, expires_at}; with an API key there is no end
let account = '' // the demo account that is signed in

// signIn begins a session with what token returns. One that is refused leaves the session that there is.
function signIn(token, name, onrefused = (e) => trouble(e.status, e.hint ?? e.message)) {
	return new Promise((done) => {
		const next = tilegate({
			token,
			async onchange(now) {
				if (!now) return // signOut goes on
				const other = keeper !== next
				if (other) {
					keeper?.stop()
					renewer?.stop()
					keeper = next
					account = name
					useKey('')
				}
				calm()
				show(now)
				if (other) await loadCatalog()
				else if (refused.size) again()
				done(true)
			},
			async onerror(e) {
				if (keeper !== next) {
					next.stop()
					onrefused(e)
					return done(false)
				}
				trouble(e.status, e.hint ?? e.message)
				if (e.retry) return
				// Refused: what counts is what the cookie of before still says.
				keeper.stop()
				keeper = undefined
				await look()
			},
		})
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
	if ($('login') && !keeper) renewByCookie()
	await loadCatalog()
}

// renewByCookie keeps a session of /login alive, also one that ended while the page was away. A provider that does not renew it
// says so: then the session ends when it ends.
function renewByCookie() {
	renewer?.stop()
	const own = renewer = tilegate({
		async onchange(now) {
			const back = !session
			show(now)
			if (back) await loadCatalog()
			else if (refused.size) again()
		},
		onerror(e) {
			if (!e.retry) own.stop()
		},
	})
}

async function signOut() {
	renewer?.stop()
	const key = session && !session.expires_at
	if ($('login') && !keeper && !key) return location.assign(here('logout')) // the provider's session ends with ours
	try {
		if (!key) await (keeper?.signOut() ?? ask(here('session'), {method: 'DELETE'}))
	} catch (e) {
		return trouble(e.status ?? 0, e.message)
	}
	keeper = undefined
	useKey('')
	calm()
	show(null)
	await loadCatalog()
	;(document.querySelector('[data-account]') ?? $('token')).focus()
}

function show(now) {
	session = now
	if (!keeper) account = ''
	if (!now) clearTiles()
	sessionStorage.setItem('account', account)
	for (const b of document.querySelectorAll('[data-account]')) b.ariaPressed = String(b.dataset.account === account)
	$('sign-out').hidden = !now
	if ($('login')) $('login').hidden = !!now
	tick()
}

function tick() {
	if (!session) {
		const nobody = 'Nobody: not signed in.'
		if ($('who').textContent !== nobody) $('who').replaceChildren(nobody)
		return
	}
	if (!$('who').querySelector('time')) $('who').replaceChildren(element('b'), element('small', {}, element('span'), element('time')))
	// The rest changes seldom: a screen reader hears it once. The clock stays out of what is announced.
	const [name, about, clock] = ['b', 'span', 'time'].map((tag) => $('who').querySelector(tag))
	const granted = `Tilesets: ${session.tilesets?.length ? session.tilesets.join(', ') : 'none'}`
	if (name.textContent !== session.subject) name.textContent = session.subject
	if (about.textContent !== granted) about.textContent = granted
	clock.ariaHidden = 'true'
	if (!session.expires_at) return void (clock.textContent = 'This page sends the key with each request')
	const left = Math.max(0, Math.round((Date.parse(session.expires_at) - Date.now()) / 1000))
	const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`
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

// pasted tells beside the field what is wrong with its text, which stays.
function pasted(status, detail) {
	const [title, text] = reason(status, detail)
	$('token-error').textContent = `${status === 401 ? 'Not accepted.' : title} ${text}`
	$('token-error').hidden = false
	$('token').ariaInvalid = 'true'
	$('token').setAttribute('aria-describedby', 'token-error')
	$('token').focus()
}

function unpasted() {
	$('token-error').hidden = true
	$('token').ariaInvalid = null
	$('token').removeAttribute('aria-describedby')
}

// withKey tries an API key, which goes with each request in place of a session.
async function withKey(key) {
	let found
	try {
		found = await get(here('catalog'), {headers: {'X-API-Key': key}})
	} catch (e) {
		pasted(e.status, e.message)
		return false
	}
	keeper?.stop()
	keeper = undefined
	useKey(key)
	calm()
	show({subject: 'An API key', tilesets: found.tilesets.map(({id}) => id)})
	await loadCatalog()
	return true
}

for (const b of document.querySelectorAll('[data-account]')) b.addEventListener('click', () => signIn(accountToken(b.dataset.tokenUrl), b.dataset.account))
$('token').addEventListener('input', unpasted)
$('token-form').addEventListener('submit', async (e) => {
	e.preventDefault()
	unpasted()
	const token = $('token').value.trim().replace(/^Bearer\s+/i, '')
	if (!token) return pasted(401, 'There is no token in the field.')
	// A token has three parts with dots between them, and a key has none.
	const done = await (token.includes('.') ? signIn(async () => token, '', (refusal) => pasted(refusal.status, refusal.message)) : withKey(token))
	if (!done) return
	$('token-form').reset()
	$('sign-out').focus()
})
$('sign-out').addEventListener('click', signOut)

// ---- What may I see

let entries = [] // {kind, id, name, format, url} of each tileset and style
let asked = 0 // how often something was chosen: what comes too late is not shown

async function loadCatalog() {
	let tilesets = [], styles = []
	try {
		const found = await get(here('catalog'))
		tilesets = found.tilesets
		styles = found.styles ?? []
	} catch (e) {
		if (e.status !== 401) trouble(e.status, e.message)
	}
	const any = tilesets[0]?.tilejson ?? styles[0]?.style
	if (any) knowOrigin(any)
	const chosen = $('choice').querySelector(':checked')?.value
	const {tileset, style} = map.address()
	entries = [
		...tilesets.map(({id, name, format, tilejson}) => ({kind: 'tileset', id, name: name || id, format, url: tilejson})),
		...styles.map(({id, name, style: url}) => ({kind: 'style', id, name: name || id, format: 'style', style: url})),
	]
	const start = entries.find((e) => key(e) === chosen) ?? entries.find((e) => e.kind === 'style' ? e.id === style : e.id === tileset) ?? entries[0]
	const focused = $('choice').contains(document.activeElement)
	$('choice').replaceChildren(...entries.map((e) => {
		const input = element('input', {type: 'radio', name: 'map', value: key(e), checked: e === start})
		input.addEventListener('change', () => choose(e))
		return element('label', {}, input, element('canvas', {className: `preview ${e.kind} ${map.vector(e) ? 'vector' : ''}`, width: 80, height: 80, ariaHidden: 'true'}),
			element('span', {}, element('b', {textContent: e.name}), element('small', {textContent: e.kind === 'style' ? `style · ${e.id}` : `${e.id} · ${e.format}`})))
	}))
	if (focused) $('choice').querySelector(':checked')?.focus()
	$('grant').hidden = !entries.length
	$('nothing').hidden = !!entries.length
	$('nothing').textContent = session ? 'Nothing: no tileset is granted.' : 'Nothing, until signed in.'
	await choose(start, !!chosen && key(start ?? {}) === chosen)
	preview()
}

const key = ({kind, id}) => `${kind}:${id}`

// choose puts an entry on the map. stay keeps the view.
async function choose(entry, stay = false) {
	const turn = ++asked
	let shown = entry && {...entry}
	if (entry?.kind === 'tileset') {
		try {
			shown.tilejson = await describe(entry)
		} catch (e) {
			shown = undefined
			if (turn === asked) trouble(e.status, e.message)
		}
	}
	if (turn !== asked) return
	const {minzoom = 0, maxzoom = 30, bounds} = shown?.tilejson ?? {}
	$('zooms').textContent = `${minzoom} – ${maxzoom}`
	$('bounds').textContent = !bounds || map.isWorld(bounds) ? 'the whole world' : bounds.map((d, i) => map.degrees(d, i % 2)).join(', ')
	$('format').textContent = shown?.format ?? ''
	$('grant').classList.toggle('styled', shown?.kind === 'style')
	forget()
	$('terrain').checked = false
	share(shown, !!session?.expires_at)
	await map.show(shown, stay)
	if (turn !== asked) return
	$('relief').hidden = !map.isRelief()
	if (shown?.kind !== 'style') listLayers()
	tellCurtain(shown)
}

const described = new WeakMap()
function describe(entry) {
	if (!described.has(entry)) described.set(entry, get(local(entry.url)).catch((e) => {
		described.delete(entry)
		throw e
	}))
	return described.get(entry)
}

function tellCurtain(shown) {
	if (document.body.dataset.map !== 'ready') return
	$('curtain').hidden = !!shown && map.drawable(shown)
	if (shown) $('curtain').textContent = 'This tileset holds data, and no picture: there is nothing to draw.'
	else $('curtain').textContent = session ? 'There is nothing here that this account may see.' : 'The tiles are private. Sign in to see them.'
}

// preview draws a small picture of each set of images, once the map has what it needs.
async function preview() {
	await map.settled()
	for (const [i, entry] of entries.slice(0, 24).entries()) {
		const canvas = $('choice').querySelectorAll('canvas')[i]
		if (entry.kind !== 'tileset' || map.vector(entry) || !map.drawable(entry)) continue
		try {
			const {minzoom = 0, bounds = [-180, -85, 180, 85], tiles} = await describe(entry)
			const [x, y] = map.tileAt((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, minzoom)
			const answer = await ask(local(tiles[0].replace('{z}', minzoom).replace('{x}', x).replace('{y}', y)), {cache: 'default'})
			const image = await createImageBitmap(await answer.blob())
			canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height)
			canvas.classList.add('drawn')
		} catch {
			// the list does without
		}
	}
}

// For vector tiles and styles, the preview is what the map has drawn of them.
map.whenDrawn((shown) => {
	const canvas = $('choice').querySelector(`[value="${CSS.escape(key(shown))}"] + .preview`)
	if (canvas && (shown.kind === 'style' || map.vector(shown))) map.copyTo(canvas)
})

// ---- Layers

function listLayers() {
	$('layers').hidden = !map.layers.length
	$('layer-list').replaceChildren(...map.layers.map((layer) => {
		const input = element('input', {type: 'checkbox', checked: true})
		input.addEventListener('change', () => map.switchLayer(layer, input.checked))
		const swatch = element('i')
		if (layer.colour) swatch.style.background = layer.colour
		return element('li', {}, element('label', {className: 'check'}, input, ...(layer.colour ? [swatch] : []), layer.name))
	}))
}
map.whenLayers(listLayers)

function switchAll(on) {
	for (const [i, input] of $('layer-list').querySelectorAll('input').entries()) {
		input.checked = on
		map.switchLayer(map.layers[i], on)
	}
}
$('all-layers').addEventListener('click', () => switchAll(true))
$('no-layers').addEventListener('click', () => switchAll(false))

// ---- The rest of the panel

function again() {
	forget()
	map.again()
}
$('reload').addEventListener('click', () => {
	calm()
	again()
})
$('beyond').addEventListener('change', () => {
	forget()
	map.repaint()
})
$('edges').addEventListener('change', map.redraw)
$('terrain').addEventListener('change', () => map.setTerrain($('terrain').checked))
$('fold').addEventListener('click', () => {
	$('fold').ariaExpanded = String(!$('panel').classList.toggle('folded'))
	map.pad()
})
addEventListener('resize', map.pad)

// ---- Begin: with a token from the address, which loses it at once; with the session that a cookie keeps; or as nobody.

const given = new URLSearchParams(location.hash.slice(1)).get('access_token')
if (given) history.replaceState(null, '', location.pathname + location.search)

performance.setResourceTimingBufferSize?.(1000)
setInterval(tick, 1000)
$('borrowed').hidden = document.body.dataset.embedded === 'true'

// The library loads while we sign in; what is chosen first waits for it.
const started = map.start().then(() => { document.body.dataset.map = 'ready' }, () => {
	document.body.dataset.map = 'missing'
	const {script, embedded} = document.body.dataset
	$('curtain').replaceChildren(
		element('b', {textContent: 'The map cannot be drawn. '}),
		embedded === 'true'
			? 'Either this server did not deliver its map library, or the browser has no WebGL 2. Reload the page; if that does not help, look at the server’s log.'
			: element('span', {}, `This program was built without MapLibre, and ${new URL(script).host} cannot be reached or sent other bytes than expected. Run `,
				element('code', {textContent: 'make viewer'}), ', build again, and reload. Signing in, and all else in the panel, works meanwhile.'))
})
map.waitFor(started)
const remembered = document.querySelector(`[data-account="${CSS.escape(sessionStorage.getItem('account') ?? '')}"]`)
const begun = given ? await signIn(async () => given, '') : remembered && await signIn(accountToken(remembered.dataset.tokenUrl), remembered.dataset.account)
if (!begun) await look()
await started
