// "Use it": what a client needs to show the map, to be copied.

import {$, element, get, here} from './api.js'
import {address, layers, tileAt, vector} from './map.js'

let what, signedIn
let minted // {token, expires_at}: the last path token, while it is of what is shown

const raster = (s) => s.kind === 'tileset' && !vector(s)
const clients = {
	tilejson: {name: (s) => (s.kind === 'style' ? 'the style’s address' : 'TileJSON'), text: (s) => s.url},
	leaflet: {name: () => 'Leaflet', for: raster, text: (s) => script(s, `const map = L.map('map').setView([${s.lat}, ${s.lng}], ${Math.max(s.minzoom, Math.min(s.maxzoom, Math.round(s.zoom) + 1))})
const layer = L.tileLayer('${s.template}', {minZoom: ${s.minzoom}, maxZoom: ${s.maxzoom}${s.attribution}}).addTo(map)`, 'layer.redraw()')},
	maplibre: {name: () => 'MapLibre GL JS', text: (s) => script(s, `const map = new maplibregl.Map({
  container: 'map', center: [${s.lng}, ${s.lat}], zoom: ${s.zoom},
  style: ${s.kind === 'style' ? `'${s.url}'` : style(s)},${s.open ? '' : `\n  transformRequest: (url) => url.startsWith('${s.base}') ? {url, credentials: 'include'} : {url},`}
})`, s.kind === 'style' ? '' : 'map.refreshTiles(\'map\')')},
	openlayers: {name: () => 'OpenLayers', for: (s) => s.kind === 'tileset', text: (s) => script(s, `${vector(s)
		? `${s.open ? '' : 'ol.featureloader.setWithCredentials(true)\n'}const source = new ol.source.VectorTile({format: new ol.format.MVT(), url: '${s.template}', minZoom: ${s.minzoom}, maxZoom: ${s.maxzoom}})`
		: `const source = new ol.source.XYZ({url: '${s.template}', minZoom: ${s.minzoom}, maxZoom: ${s.maxzoom}${s.open ? '' : ', crossOrigin: \'use-credentials\''}})`}
const map = new ol.Map({
  target: 'map', layers: [new ol.layer.${vector(s) ? 'VectorTile' : 'Tile'}({source})],
  view: new ol.View({center: ol.proj.fromLonLat([${s.lng}, ${s.lat}]), zoom: ${+(s.zoom + 1).toFixed(2)}}),
})`, 'source.refresh()')},
	qgis: {name: () => 'QGIS', for: (s) => s.kind === 'tileset', token: true, text: (s) => s.template},
	curl: {name: () => 'curl', token: true, text: (s) => `curl -fsS${s.open ? '' : ' -H "Authorization: Bearer $TOKEN"'} -o ${s.kind === 'style' ? 'style.json' : `tile.${s.format}`} '${s.kind === 'style' ? s.url : s.template.replace('{z}', s.minzoom).replace('{x}', s.x).replace('{y}', s.y)}'`},
}

const quoted = (text) => `'${text.replace(/[\\']/g, '\\$&').replace(/\s+/g, ' ')}'`

// script signs in before the rest, unless the address says all. again is what to do when the session had ended.
function script(s, code, again) {
	if (s.open) return code
	return `// In a <script type="module">. accessToken is the one of your login.
const {tilegate} = await import('${s.base}tilegate.mjs')
const session = tilegate({token: async () => accessToken})
await session.ready
${code}${again && `\nsession.onresume = () => ${again}`}`
}

// style is MapLibre's for a tileset: of vector tiles, lines and points.
function style(s) {
	const {encoding, tileSize = 256} = s.tilejson
	const drawn = (name, type, rest = '') => `    {id: ${quoted(name)}, type: '${type}', source: 'map'${rest}},`
	const [type, lines] = vector(s)
		? ['vector', layers.flatMap(({name}) => [
			drawn(name, 'line', `, 'source-layer': ${quoted(name)}`),
			drawn(`${name} points`, 'circle', `, 'source-layer': ${quoted(name)}, filter: ['==', ['geometry-type'], 'Point']`),
		])]
		: encoding ? ['raster-dem', [drawn('map', 'hillshade')]] : ['raster', [drawn('map', 'raster')]]
	return `{version: 8, sources: {map: {type: '${type}', url: '${s.url}'${vector(s) ? '' : `, tileSize: ${tileSize}`}}}, layers: [\n${lines.join('\n')}\n  ]}`
}

// subject is what the texts are made of: addresses, with the token in them where one is wanted.
function subject(withToken) {
	const {kind, tilejson} = what
	const url = kind === 'style' ? what.style : what.url
	const base = url.slice(0, url.lastIndexOf(kind === 'style' ? '/assets/' : '/tiles/') + 1)
	const token = withToken ? minted?.token ?? 'TOKEN' : ''
	const add = (to) => (token ? `${base}t/${token}/${to.slice(base.length)}` : to)
	const {center: [lng, lat], zoom} = address().position ?? {center: [0, 20], zoom: 1} // what is in view now
	const s = {...what, base, open: !!token || !signedIn, url: add(url), lng, lat, zoom}
	if (kind === 'tileset') {
		const {minzoom = 0, maxzoom = 22, bounds = [-180, -85, 180, 85], attribution} = tilejson
		const [x, y] = tileAt((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, minzoom)
		Object.assign(s, {minzoom, maxzoom, template: add(tilejson.tiles[0]), x, y, attribution: attribution ? `, attribution: ${quoted(attribution)}` : ''})
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
$('use').addEventListener('toggle', () => what && write(), true) // with what has been found and is in view since
$('with-token').addEventListener('change', write)
$('copy').addEventListener('click', copy)
