import {addProtocol, Map} from '/maplibre/maplibre-gl.mjs'
import {begin, server} from './app.js'

// A vector archive in MapLibre: by its tiles, as TileJSON names them, or by ranges of the file, with pmtiles.js.
let map
const protocol = new pmtiles.Protocol()
addProtocol('pmtiles', protocol.tile)

await begin({
	async open({template, tilejson}) {
		map?.remove()
		if (!tilejson) protocol.add(new pmtiles.PMTiles(new pmtiles.FetchSource(template, undefined, 'include')))
		map = new Map({
			container: 'map', center: [10, 50], zoom: 3,
			style: {
				version: 8,
				sources: {countries: {type: 'vector', url: tilejson || `pmtiles://${template}`}},
				layers: [{id: 'land', type: 'fill', source: 'countries', 'source-layer': 'countries', paint: {'fill-color': '#86a'}}],
			},
			fadeDuration: 0,
			transformRequest: (url) => url.startsWith(server) ? {url, credentials: 'include'} : {url},
		})
		map.on('error', () => {})
		await map.once('idle')
	},
	async go(lng, lat) {
		map.jumpTo({center: [lng, lat]})
		await map.once('idle')
	},
	// named are the countries that are drawn in the middle of the map.
	named: () => map.queryRenderedFeatures(map.project(map.getCenter())).map((f) => f.properties.name),
	covered: () => 0,
	async close() { map.remove() },
})
