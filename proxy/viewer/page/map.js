// The map: MapLibre GL JS, and over it what tilegate has to say of tiles.

import {$, element, headers, here, local, warn} from './api.js'
import {load, refused, whenRefused} from './tiles.js'

const world = [-180, -85.0511, 180, 85.0511]
export const isWorld = ([w, s, e, n]) => e - w >= 359.9 && s < -85 && n > 85
const dark = matchMedia('(prefers-color-scheme: dark)')
const scheme = 'tilegate://' // of the tiles' URLs in the map's eyes: it asks us for those

let lib, map
let shown // {kind, id, format, tilejson}
let frame // the box that is granted, where it is not the world
export let layers = [] // what can be switched on and off: {name, colour, ids}

// start loads the library, ours or a CDN's, which is held to its hashes. By hand: in the page's head, a CDN that does not
// answer would hold up the rest.
export async function start() {
	await Promise.race([library(), new Promise((_, late) => setTimeout(late, 10_000, Error('no answer')))])
	const {position} = address()
	pinned = !!position
	map = new lib.Map({
		container: 'map', style: {version: 8, sources: {}, layers: []}, attributionControl: false, fadeDuration: 100,
		center: position?.center ?? [12, 28], zoom: position?.zoom ?? (innerWidth > 1100 ? 2 : 1), maxPitch: 75,
		dragRotate: true, pitchWithRotate: true, transformRequest: request, locale: {'Map.Title': 'Map'},
	})
	map.addControl(new lib.NavigationControl({visualizePitch: true}), 'top-left')
	map.addControl(new lib.AttributionControl({compact: innerWidth < 1100, customAttribution: '<a href="https://maplibre.org">MapLibre</a>'}), 'bottom-left')
	map.addControl(new lib.ScaleControl(), 'bottom-left')
	map.on('error', ({error, tile}) => { // what a tile failed by is told beside the map
		if (/^Source layer/.test(error?.message)) return // TileJSON that names no layers, or not all
		if (!tile && shown) warn('Not all of this can be drawn.', error?.message ?? '')
	})
	map.on('move', readout)
	map.on('moveend', remember)
	map.on('mousemove', (e) => readout(e))
	map.on('mouseout', () => readout())
	for (const event of ['render', 'resize']) map.on(event, draw)
	map.on('click', (e) => inspect(e.point))
	map.getCanvas().addEventListener('keydown', (e) => {
		if (e.key !== 'Enter') return
		e.preventDefault()
		inspect(map.project(map.getCenter()))
	})
	map.on('idle', () => {
		if (!shown) return
		document.body.dataset.drawn ??= Math.round(performance.now())
		ondrawn(shown)
	})
	whenRefused(() => map.triggerRepaint())
	dark.addEventListener('change', repaint)
	addEventListener('hashchange', () => {
		const to = address().position
		if (to) map.jumpTo(to)
	})
	pad()
	readout()
	$('readout').hidden = false
}

async function library() {
	const {script, scriptHash, worker, workerHash, sheet: href, sheetHash, embedded} = document.body.dataset
	const add = (name, properties) => new Promise((onload, onerror) => document.head.prepend(element(name, {...properties, onload, onerror})))
	const sheet = {rel: 'stylesheet', href}
	if (embedded === 'true') {
		[lib] = await Promise.all([import(new URL(script, document.baseURI)), add('link', sheet)])
		lib.setWorkerUrl(new URL(worker, document.baseURI).href)
	} else {
		const [code] = await Promise.all([
			fetch(worker, {integrity: workerHash, mode: 'cors'}).then((r) => r.blob()),
			add('link', {...sheet, integrity: sheetHash, crossOrigin: 'anonymous'}),
			add('script', {type: 'module', src: script, integrity: scriptHash, crossOrigin: 'anonymous'}),
		])
		lib = await import(script) // the very module that has been checked
		lib.setWorkerUrl(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})))
	}
	lib.addProtocol('tilegate', async ({url}, {signal}) => {
		const data = await load(location.origin + url.slice(scheme.length), signal)
		if (shown?.kind === 'tileset' && shown.format === 'mvt' && !shown.tilejson.vector_layers?.length) discover(data)
		return {data}
	})
}

// request decides how the map asks: for our tiles through us, for other things of ours with the caller's credential.
function request(url, type) {
	const own = local(url)
	if (!own.startsWith(here(''))) return {url}
	if (type === 'Tile') return {url: scheme + own.slice(location.origin.length)}
	return {url: own, headers: headers(), credentials: 'same-origin'}
}

// ---- What is shown

export const vector = ({format}) => ['mvt', 'pbf', 'mlt'].includes(format)
const relief = ({kind, tilejson, format}) => kind === 'tileset' && !vector({format}) && !!tilejson.encoding
export const drawable = ({kind, format}) => kind === 'style' || format !== 'json'

let pinned = false // the visit began with an address that says where
let begun // resolves when the library is there, or is not to be had
export const waitFor = (promise) => { begun = promise }

// show puts a tileset or a style on the map, or nothing. stay keeps the view.
export async function show(what, stay) {
	shown = what
	frame = undefined
	layers = []
	refused.clear()
	popup?.remove()
	await begun
	if (!map || shown !== what) return
	if (!what || !drawable(what)) return map.setStyle({version: 8, sources: {}, layers: []}, {diff: false})
	const travel = !stay && !pinned
	pinned = false
	map.setMaxZoom(24)
	if (what.kind === 'tileset') {
		const {minzoom = 0, maxzoom = 22, bounds = world} = what.tilejson
		const finer = vector(what) || relief(what) ? 0 : 1 // tiles of 256 pixels: one zoom more than the map's
		map.setMaxZoom(Math.min(24, Math.max(maxzoom - finer + (vector(what) ? 6 : 2), 4)))
		if (!isWorld(bounds)) frame = bounds
		if (travel) fit(bounds, minzoom - finer - (finer ? .49 : 0)) // images are drawn from half a zoom before
	}
	paint(travel)
	readout()
	remember()
}

// fit brings the box into the part of the map that the panel leaves free.
function fit(bounds, least) {
	if (isWorld(bounds)) return map.jumpTo({center: [12, 28], zoom: Math.max(innerWidth > 1100 ? 2 : 1, least)})
	const camera = map.cameraForBounds([[bounds[0], bounds[1]], [bounds[2], bounds[3]]], {padding: 24})
	if (camera) map.jumpTo({...camera, zoom: Math.max(camera.zoom, least), bearing: 0, pitch: 0})
}

// pad tells the map which part of it the panel covers.
export function pad() {
	if (!map) return
	const panel = $('panel').getBoundingClientRect()
	const beside = panel.left > 8 && !$('panel').classList.contains('folded')
	map.setPadding({top: 0, bottom: 0, left: 0, right: beside ? innerWidth - panel.left : 0})
	const at = map.project(map.getCenter())
	$('map').style.setProperty('--x', `${at.x}px`)
	$('map').style.setProperty('--y', `${at.y}px`)
}

export const repaint = () => { if (map && shown && drawable(shown)) paint() }

// settled resolves when the map has drawn what it was told to.
export async function settled() {
	await begun
	if (map && shown) await new Promise((done) => map.once('idle', done))
}

// paint makes the style of what is shown. travel: to where a style says that it begins.
function paint(travel) {
	if (shown.kind === 'tileset') return map.setStyle(styleOf(shown), {diff: false})
	map.setStyle(local(shown.style), {diff: false, transformStyle: (_, style) => {
		const by = new Map()
		for (const {id, type, source, 'source-layer': part} of style.layers) {
			const name = part ?? source ?? type
			by.set(name, [...by.get(name) ?? [], id])
		}
		layers = [...by].map(([name, ids]) => ({name, ids}))
		onlayers()
		return style
	}})
	if (travel) map.once('style.load', () => {
		const {center, zoom, bearing, pitch} = map.getStyle()
		if (center) map.jumpTo({center, zoom: zoom ?? map.getZoom(), bearing: bearing ?? 0, pitch: pitch ?? 0})
	})
}

let ondrawn = () => {}
export const whenDrawn = (f) => { ondrawn = f }

// copyTo draws the middle of the map into a canvas. It is for whenDrawn: after the frame, the map's canvas can be empty.
export function copyTo(canvas) {
	const from = map.getCanvas()
	const {x, y} = map.project(map.getCenter())
	const half = .7 * Math.min(x, y, from.clientWidth - x, from.clientHeight - y), scale = from.width / from.clientWidth
	if (!(half > 0)) return
	const into = canvas.getContext('2d')
	into.clearRect(0, 0, canvas.width, canvas.height)
	into.drawImage(from, (x - half) * scale, (y - half) * scale, 2 * half * scale, 2 * half * scale, 0, 0, canvas.width, canvas.height)
	canvas.classList.add('drawn')
}

let onlayers = () => {}
export const whenLayers = (f) => { onlayers = f }

// The colours of a vector set's layers: neighbours in the list are far apart.
const palette = ['#2f7ebc', '#d9782d', '#3c9a5f', '#b0489a', '#c2a01f', '#6a5acd', '#1a9a9a', '#c9485b', '#7a8b2a', '#8a6148']

function styleOf({format, tilejson}) {
	const {minzoom = 0, maxzoom = 22, bounds = world, attribution, scheme: rows, encoding, tileSize} = tilejson
	const everything = $('beyond').checked
	let template = local(tilejson.tiles[0])
	if (tilejson.scalable && devicePixelRatio > 1) template = template.replace('{y}', '{y}@2x')
	const source = {
		tiles: [template], attribution: attribution ?? '', scheme: rows ?? 'xyz',
		minzoom: everything ? 0 : minzoom, maxzoom: everything ? Math.max(maxzoom + 1, 5) : maxzoom, ...(everything ? {} : {bounds}),
	}
	if (vector({format})) {
		layers = (tilejson.vector_layers ?? []).map(({id}, i) => layerAt(id, i))
		onlayers()
		return {
			version: 8,
			sources: {tiles: {type: 'vector', ...source, ...(format === 'mlt' ? {encoding: 'mlt'} : {})}},
			layers: [
				...(layers.length ? [] : [{id: 'any', type: 'line', source: 'tiles', 'source-layer': '-'}]), // without a layer no tile is asked for
				...[0, 1, 2].flatMap((type) => layers.map((layer) => layersOf(layer)[type])), // areas below lines below points
			],
		}
	}
	if (encoding) {
		onlayers()
		const {scheme: _, ...flipped} = source // the style specification knows none of elevations
		const elevations = {type: 'raster-dem', ...flipped, encoding, tileSize: tileSize ?? 256}
		return {
			version: 8, sources: {tiles: elevations, heights: elevations},
			layers: [
				{id: 'heights', type: 'color-relief', source: 'tiles', paint: {'color-relief-color': ['interpolate', ['linear'], ['elevation'],
					-6000, '#4a7f9f', -1, '#b9d5de', 0, '#86a97c', 400, '#c8cf9d', 1200, '#d8b982', 2500, '#b18a6b', 4000, '#e9e4df', 6500, '#ffffff']}},
				{id: 'shade', type: 'hillshade', source: 'tiles', paint: {'hillshade-exaggeration': .45}},
			],
			...($('terrain').checked ? {terrain: {source: 'heights', exaggeration: 1.4}} : {}),
		}
	}
	onlayers()
	return {
		version: 8, sources: {tiles: {type: 'raster', ...source, tileSize: tileSize ?? 256}},
		layers: [{id: 'tiles', type: 'raster', source: 'tiles', paint: {'raster-brightness-max': dark.matches ? .78 : 1, 'raster-fade-duration': 120}}],
	}
}

const layersOf = ({name, colour, ids}) => ['fill', 'line', 'circle'].map((type, i) => ({id: ids[i], type, source: 'tiles', 'source-layer': name, ...looks[type](colour)}))
const layerAt = (name, i) => ({name, colour: palette[i % palette.length], ids: ['fill', 'line', 'circle'].map((type) => `${type}-${i}`)})

// discover adds the layers that a tile has, for a set whose TileJSON names none.
function discover(data) {
	const found = layerNames(new Uint8Array(data)).filter((name) => !layers.some((l) => l.name === name))
	if (!found.length) return
	for (const name of found) {
		layers.push(layerAt(name, layers.length))
		for (const layer of layersOf(layers.at(-1))) map.addLayer(layer)
	}
	onlayers()
}

// layerNames reads the names out of a vector tile: field 1 of each message in field 3 (Mapbox Vector Tile 2.1, section 4).
function layerNames(bytes) {
	let at = 0
	const varint = () => {
		let n = 0
		for (let shift = 1; at < bytes.length; shift *= 128) {
			const b = bytes[at++]
			n += (b & 127) * shift
			if (b < 128) break
		}
		return n
	}
	const fields = (end, take) => {
		while (at < end) {
			const tag = varint()
			const size = [() => (varint(), 0), () => 8, varint, undefined, undefined, () => 4][tag & 7]?.()
			if (size === undefined || at + size > end) return // not a vector tile
			const next = at + size
			if ((tag & 7) === 2) take(tag >> 3, next)
			at = next
		}
	}
	const names = []
	fields(bytes.length, (field, end) => field === 3 && fields(end, (inner, until) => inner === 1 && names.push(new TextDecoder().decode(bytes.subarray(at, until)))))
	return names
}

const wide = (least, most) => ['interpolate', ['linear'], ['zoom'], 3, least, 16, most]
const looks = {
	fill: (colour) => ({filter: ['==', ['geometry-type'], 'Polygon'], paint: {'fill-color': colour, 'fill-opacity': .28}}),
	line: (colour) => ({filter: ['!=', ['geometry-type'], 'Point'], paint: {'line-color': colour, 'line-width': wide(.8, 2), 'line-opacity': .9}}),
	circle: (colour) => ({filter: ['==', ['geometry-type'], 'Point'], paint: {
		'circle-color': colour, 'circle-radius': wide(2, 6), 'circle-stroke-color': dark.matches ? '#1a2228' : '#fff', 'circle-stroke-width': 1,
	}}),
}

export function switchLayer({ids}, on) {
	for (const id of ids) if (map.getLayer(id)) map.setLayoutProperty(id, 'visibility', on ? 'visible' : 'none')
}

export const isRelief = () => !!shown && relief(shown)
export function setTerrain(on) {
	const set = () => isRelief() && map.setTerrain(on ? {source: 'heights', exaggeration: 1.4} : null)
	if (map.isStyleLoaded()) set()
	else map.once('idle', set)
	map.easeTo({pitch: on ? 60 : 0})
}

// again asks for all tiles anew.
export function again() {
	if (shown) for (const [id, {type}] of Object.entries(map.getStyle()?.sources ?? {})) if (/^(raster|vector)/.test(type)) map.refreshTiles(id)
}

// ---- The address: #map=zoom/latitude/longitude&tileset=id

export function address() {
	const said = new URLSearchParams(location.hash.slice(1))
	const [zoom, lat, lng] = (said.get('map') ?? '').split('/').map(Number)
	const fine = zoom >= 0 && zoom <= 24 && Math.abs(lat) <= 90 && Math.abs(lng) <= 720
	return {position: fine ? {center: [lng, lat], zoom} : undefined, tileset: said.get('tileset') ?? '', style: said.get('style') ?? ''}
}

function remember() {
	if (!shown) return
	const {lng, lat} = map.getCenter().wrap()
	const digits = Math.max(1, Math.ceil(map.getZoom() / 3) + 1)
	history.replaceState(null, '', `#map=${+map.getZoom().toFixed(2)}/${lat.toFixed(digits)}/${lng.toFixed(digits)}&${shown.kind}=${encodeURIComponent(shown.id).replaceAll('%2F', '/')}`)
}

// ---- Under the pointer

export const degrees = (d, vertical, digits = 2) => `${+Math.abs(d).toFixed(digits)}°${+d.toFixed(digits) === 0 ? '' : vertical ? (d < 0 ? 'S' : 'N') : d < 0 ? 'W' : 'E'}`

// tileZoom is the zoom of the tiles that the map draws now.
function tileZoom() {
	if (shown?.kind !== 'tileset') return Math.max(0, Math.floor(map.getZoom()))
	const {minzoom = 0, maxzoom = 22, tileSize = 256} = shown.tilejson
	const z = vector(shown) ? Math.floor(map.getZoom()) : Math.round(map.getZoom() + Math.log2(512 / tileSize))
	return Math.max($('beyond').checked ? 0 : minzoom, Math.min(z, $('beyond').checked ? Math.max(maxzoom + 1, 5) : maxzoom))
}

const column = (lng, z) => (lng + 180) / 360 * 2 ** z
const row = (lat, z) => {
	const sin = Math.sin(Math.max(-85.0511, Math.min(85.0511, lat)) * Math.PI / 180)
	return (.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI)) * 2 ** z
}
const west = (x, z) => x / 2 ** z * 360 - 180
const north = (y, z) => Math.atan(Math.sinh(Math.PI * (1 - 2 * y / 2 ** z))) * 180 / Math.PI

// tileAt is the tile of a place.
export const tileAt = (lng, lat, z) => [column(lng, z), row(lat, z)].map((n) => Math.max(0, Math.min(2 ** z - 1, Math.floor(n))))

function readout(e) {
	const at = (e?.lngLat ?? map.getCenter()).wrap()
	const z = tileZoom()
	const n = 2 ** z
	$('position').textContent = `${degrees(at.lat, true, 4)} ${degrees(at.lng, false, 4)}`
	$('zoom').textContent = `zoom ${map.getZoom().toFixed(1)}`
	$('under').textContent = `tile ${z}/${Math.floor(column(at.lng, z)) % n}/${Math.min(n - 1, Math.max(0, Math.floor(row(at.lat, z))))}`
}

// ---- Drawn over the map: the granted box, refused tiles, and the edges of tiles.

const overlay = $('overlay').getContext('2d')

function draw() {
	const {clientWidth: width, clientHeight: height} = map.getContainer()
	const scale = devicePixelRatio
	if (overlay.canvas.width !== Math.round(width * scale) || overlay.canvas.height !== Math.round(height * scale)) {
		overlay.canvas.width = Math.round(width * scale)
		overlay.canvas.height = Math.round(height * scale)
	}
	overlay.setTransform(scale, 0, 0, scale, 0, 0)
	overlay.clearRect(0, 0, width, height)
	if (!shown || !drawable(shown)) return
	const look = getComputedStyle(document.body)
	const ink = (name) => look.getPropertyValue(name)
	const shape = (corners) => {
		overlay.beginPath()
		for (const corner of corners) {
			const {x, y} = map.project(corner)
			overlay.lineTo(x, y)
		}
		overlay.closePath()
	}
	const square = (x, y, z) => [[west(x, z), north(y, z)], [west(x + 1, z), north(y, z)], [west(x + 1, z), north(y + 1, z)], [west(x, z), north(y + 1, z)]]
	const view = map.getBounds()
	const copies = []
	for (let c = Math.floor((view.getWest() + 180) / 360); c <= Math.floor((view.getEast() + 180) / 360); c++) copies.push(c)

	const z = tileZoom()
	const n = 2 ** z
	for (const name of refused) {
		const [tz, x, y] = name.split('/').map(Number)
		if (tz !== z) continue
		for (const copy of copies) {
			shape(square(x + copy * n, y, z))
			overlay.fillStyle = hatch(ink('--denied'))
			overlay.fill()
			overlay.strokeStyle = ink('--denied')
			overlay.lineWidth = .5
			overlay.stroke()
		}
	}
	if ($('edges').checked) {
		const x0 = Math.floor(column(view.getWest(), z)), x1 = Math.floor(column(view.getEast(), z))
		const y0 = Math.max(0, Math.floor(row(view.getNorth(), z))), y1 = Math.min(n - 1, Math.floor(row(view.getSouth(), z)))
		if ((x1 - x0 + 1) * (y1 - y0 + 1) <= 400) {
			overlay.font = `600 11.5px ${look.fontFamily}`
			overlay.lineWidth = 1
			for (let x = x0; x <= x1; x++) for (let y = y0; y <= y1; y++) {
				shape(square(x, y, z))
				overlay.strokeStyle = ink('--accent')
				overlay.globalAlpha = .75
				overlay.stroke()
				overlay.globalAlpha = 1
				const at = map.project([west(x, z), north(y, z)])
				const text = `${z}/${(x % n + n) % n}/${y}`
				const long = overlay.measureText(text).width
				overlay.fillStyle = ink('--paper')
				overlay.globalAlpha = .85
				overlay.beginPath()
				overlay.roundRect(at.x + 4, at.y + 4, long + 10, 18, 5)
				overlay.fill()
				overlay.globalAlpha = 1
				overlay.fillStyle = ink('--ink')
				overlay.fillText(text, at.x + 9, at.y + 17)
			}
		}
	}
	if (frame) for (const copy of copies) {
		const [w, s, e, north] = frame
		shape([[w, north], [e, north], [e, s], [w, s]].map(([lng, lat]) => [lng + 360 * copy, lat]))
		overlay.strokeStyle = ink('--accent')
		overlay.lineWidth = 1.75
		overlay.setLineDash([6, 5])
		overlay.stroke()
		overlay.setLineDash([])
	}
}

const hatches = new Map()
function hatch(colour) {
	if (!hatches.has(colour)) {
		const cell = new OffscreenCanvas(14, 14)
		const c = cell.getContext('2d')
		c.strokeStyle = colour
		c.fillStyle = colour
		c.globalAlpha = .07
		c.fillRect(0, 0, 14, 14)
		c.globalAlpha = .22
		c.lineWidth = 4
		c.beginPath()
		for (const d of [-14, 0, 14]) {
			c.moveTo(d - 2, 16)
			c.lineTo(d + 16, -2)
		}
		c.stroke()
		hatches.set(colour, overlay.createPattern(cell, 'repeat'))
	}
	return hatches.get(colour)
}

export const redraw = () => map?.triggerRepaint()

// box is where the granted box is on the screen: for tests.
export const box = () => {
	if (!frame) return undefined
	const [a, b] = [map.project([frame[0], frame[3]]), map.project([frame[2], frame[1]])]
	return {left: a.x, top: a.y, right: b.x, bottom: b.y}
}

// ---- What a feature says of itself

let popup

function inspect({x, y}) {
	popup?.remove()
	if (!shown || shown.kind === 'tileset' && !vector(shown)) return
	const reach = 5
	const seen = new Set()
	const found = map.queryRenderedFeatures([[x - reach, y - reach], [x + reach, y + reach]]).filter((f) => {
		const once = JSON.stringify([f.sourceLayer, f.id, f.properties])
		return !seen.has(once) && seen.add(once)
	}).slice(0, 8)
	if (!found.length) return
	const content = element('div', {className: 'features'}, ...found.map(({sourceLayer, layer, properties, id, geometry}) => {
		const dot = element('span', {className: 'dot'})
		dot.style.background = layers.find(({ids}) => ids.includes(layer.id))?.colour ?? 'var(--accent)'
		const rows = Object.entries({...(id === undefined ? {} : {id}), ...properties}).slice(0, 40)
		return element('section', {},
			element('h3', {}, dot, sourceLayer ?? layer.id, element('small', {textContent: ` ${geometry.type}`})),
			rows.length
				? element('table', {}, element('tbody', {}, ...rows.map(([name, value]) => element('tr', {}, element('th', {scope: 'row', textContent: name}), element('td', {textContent: String(value)})))))
				: element('p', {textContent: 'No properties.'}))
	}))
	popup = new lib.Popup({maxWidth: '20rem', focusAfterOpen: true}).setLngLat(map.unproject([x, y])).setDOMContent(content).addTo(map)
	popup.on('close', () => { if (document.activeElement === document.body) map.getCanvas().focus({preventScroll: true}) })
}
