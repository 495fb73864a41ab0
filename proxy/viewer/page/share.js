// "Use it": what a client needs to show the map, to be copied.

import {$, element, get, here} from './api.js'
import {tileAt, vector} from './map.js'

let what, signedIn
let minted // {token, expires_at}: the last path token, while it is of what is shown

const leaflet = (s) => s.kind === 'tileset' && !vector(s)
const clients = {
	tilejson: {name: (s) => (s.kind === 'style' ? 'the style’s address' : 'TileJSON'), text: (s) => s.url},
	leaflet: {name: () => 'Leaflet', for: leaflet, text: (s) => signed(s, `const layer = L.tileLayer('${s.template}', {minZoom: ${s.minzoom}, maxZoom: ${s.maxzoom}})`, 'layer.addTo(map)', 'layer.redraw()')},
	maplibre: {name: () => 'MapLibre GL JS', text: (s) => signed(s, '', s.kind === 'style'
		? `const map = new maplibregl.Map({\n  container: 'map', style: '${s.url}',${cookie(s)}\n})`
		: `map.addSource('${s.id}', {type: '${vector(s) ? 'vector' : s.tilejson.encoding ? 'raster-dem' : 'raster'}', url: '${s.url}'${vector(s) ? '' : ', tileSize: 256'}})${s.open ? '' : `\n// The map is made with the option${cookie(s)}`}`, `map.refreshTiles('${s.id}')`)},
	openlayers: {name: () => 'OpenLayers', for: (s) => s.kind === 'tileset', text: (s) => signed(s, vector(s)
		? `const source = new ol.source.VectorTile({format: new ol.format.MVT(), url: '${s.template}', maxZoom: ${s.maxzoom}})`
		: `const source = new ol.source.XYZ({url: '${s.template}', maxZoom: ${s.maxzoom}${s.open ? '' : `, crossOrigin: 'use-credentials'`}})`,
	`map.addLayer(new ol.layer.${vector(s) ? 'VectorTile' : 'Tile'}({source}))`, 'source.refresh()')},
	qgis: {name: () => 'QGIS', for: (s) => s.kind === 'tileset', token: true, text: (s) => s.template},
	curl: {name: () => 'curl', token: true, text: (s) => `curl -fsS${s.open ? '' : ' -H "Authorization: Bearer $TOKEN"'} -o ${s.kind === 'style' ? 'style.json' : `tile.${s.format}`} '${s.kind === 'style' ? s.url : s.template.replace('{z}', s.minzoom).replace('{x}', s.x).replace('{y}', s.y)}'`},
}

const cookie = (s) => (s.open ? '' : `\n  transformRequest: (url) => url.startsWith('${s.base}') ? {url, credentials: 'include'} : {url},`)

// signed puts the signing-in before what needs it, unless the address says all.
function signed(s, first, then, again) {
	const begin = first ? first + '\n' : ''
	if (s.open) return begin + then
	return `// <script src="${s.base}tilegate.js"></script>\nconst session = tilegate({token: async () => accessToken})\n${begin}session.ready.then(() => {\n  ${then.replaceAll('\n', '\n  ')}\n})${s.kind === 'style' ? '' : `\nsession.onresume = () => ${again}`}`
}

// subject is what the texts are made of: addresses, with the token in them where one is wanted.
function subject(withToken) {
	const {kind, tilejson} = what
	const url = kind === 'style' ? what.style : what.url
	const base = url.slice(0, url.lastIndexOf(kind === 'style' ? '/assets/' : '/tiles/') + 1)
	const token = withToken ? minted?.token ?? 'TOKEN' : ''
	const add = (address) => (token ? `${base}t/${token}/${address.slice(base.length)}` : address)
	const s = {...what, base, open: !!token || !signedIn, url: add(url)}
	if (kind === 'tileset') {
		const {minzoom = 0, maxzoom = 22, bounds = [-180, -85, 180, 85]} = tilejson
		const [x, y] = tileAt((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, minzoom)
		Object.assign(s, {minzoom, maxzoom, template: add(tilejson.tiles[0]), x, y})
	}
	return s
}

// share is told what is on show, and whether somebody is signed in: what is seen by nobody needs no token.
export function share(shown, session) {
	what = shown
	signedIn = session
	minted = undefined
	$('use').hidden = !shown
	if (!shown) return
	const chosen = $('client').value
	$('client').replaceChildren(...Object.entries(clients).filter(([, c]) => !c.for || c.for(shown)).map(([value, c]) => element('option', {value, textContent: c.name(shown)})))
	if (clients[chosen] && [...$('client').options].some((o) => o.value === chosen)) $('client').value = chosen
	choose()
}

function choose() {
	const client = clients[$('client').value]
	$('with-token').checked = signedIn && !!client.token
	$('with-token').disabled = !signedIn
	write()
}

function write() {
	$('copied').textContent = ''
	$('snippet').textContent = clients[$('client').value].text(subject($('with-token').checked))
}

async function copy() {
	try {
		if ($('with-token').checked && !(minted && Date.parse(minted.expires_at) > Date.now() + 60_000)) {
			const body = what.kind === 'tileset' ? JSON.stringify({tilesets: [what.id]}) : '{}'
			minted = await get(here('tokens'), {method: 'POST', body, headers: {'Content-Type': 'application/json'}})
		}
	} catch (e) {
		$('copied').textContent = `No token was made. ${e.message || `HTTP status ${e.status}.`}`
		return
	}
	write()
	const until = $('with-token').checked ? ` The token ends at ${new Date(minted.expires_at).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'})}.` : ''
	try {
		await navigator.clipboard.writeText($('snippet').textContent)
		$('copied').textContent = `Copied.${until}`
	} catch {
		getSelection().selectAllChildren($('snippet')) // over plain http there is no clipboard
		$('copied').textContent = `Selected: press Ctrl+C.${until}`
	}
}

$('client').addEventListener('change', choose)
$('with-token').addEventListener('change', write)
$('copy').addEventListener('click', copy)
